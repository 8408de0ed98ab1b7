//! Cells, the centre of mass, and the ground floor: rotations, random numbers, units.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{lattice, numbers, thermal};
use flashmd::State;
use flashmd::linalg::{Mat3, Vec3, add, det, dot, norm, scale, sub};
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;
use flashmd::state::CentreOfMass;
use flashmd::units::{FS, KB};
use flashmd::{Cell, Error};
use proptest::prelude::*;

/// Mostly lengths of chemistry, now and then anything.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![8 => -12.0..12.0f64, 1 => prop::num::f64::ANY, 1 => (-320..308i32).prop_map(|e| 10f64.powi(e))]
}

fn vector() -> impl Strategy<Value = Vec3> {
    prop::array::uniform3(number())
}

fn matrix() -> impl Strategy<Value = Mat3> {
    prop::array::uniform3(vector())
}

fn argon(kelvin: f64) -> State {
    let mut state = lattice(4, 3.9, 0.02, [39.948, 39.948], 3);
    thermal(&mut state, kelvin, &mut numbers(4));
    state
}

#[test]
fn the_centre_of_mass_moves_uniformly_whatever_the_propagator_did() {
    let mut state = argon(80.0);
    state.momenta.iter_mut().for_each(|p| p[1] -= 0.3);
    let centre = CentreOfMass::of(&state);
    let momentum = state.total_momentum();
    let mut stream = numbers(8);
    state.momenta.iter_mut().for_each(|p| *p = stream.normal3());
    centre.restore_momentum(&mut state);
    assert!(norm(sub(state.total_momentum(), momentum)) < 1e-10);
    let mut moved: Vec<Vec3> = state.positions.iter().map(|_| stream.normal3()).collect();
    centre.restore_drift(&mut moved, &state.masses, 2.5);
    let centre_moved =
        moved.iter().zip(&state.masses).fold([0.0; 3], |s, (&d, &m)| flashmd::linalg::add(s, scale(m, d)));
    assert!(norm(sub(centre_moved, scale(2.5, momentum))) < 1e-9);
}

#[test]
fn rotations_are_orthogonal_uniform_and_half_of_them_improper() {
    const DRAWS: u64 = 20_000;
    let (mut improper, mut sum, mut third) = (0.0, [[0.0; 3]; 3], [0usize; 10]);
    for step in 0..DRAWS {
        let rotation = Rotation::random(&mut Stream::new(42, Purpose::Rotation, step));
        let m = rotation.matrix();
        for a in 0..3 {
            for b in 0..3 {
                let wanted = if a == b { 1.0 } else { 0.0 };
                assert!((dot(m[a], m[b]) - wanted).abs() < 1e-12);
                sum[a][b] += m[a][b];
            }
        }
        improper += if det(m) < 0.0 { 1.0 } else { 0.0 };
        // The image of an axis is uniform on the sphere, so its height is uniform in [−1, 1].
        third[((0.5 * (m[2][2] + 1.0) * 10.0) as usize).min(9)] += 1;
        let v = [0.3, -1.2, 2.2];
        assert!(norm(sub(rotation.undo(rotation.apply(v)), v)) < 1e-12);
    }
    let n = DRAWS as f64;
    assert!((improper - n / 2.0).abs() < 4.0 * (n / 4.0).sqrt());
    let expected = n / 10.0;
    let chi2: f64 = third.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    assert!(chi2 < 27.88, "χ² = {chi2:.1} with 9 degrees of freedom, 99.9 %");
    assert!(sum.iter().flatten().all(|s| (s / n).abs() < 4.0 / (3.0 * n).sqrt()));
    // Angle of the proper part: P(θ) = (1 − cos θ)/π, so E[trace] = 0 and E[trace²] = 1.
    let traces = (0..DRAWS).map(|step| {
        let m = *Rotation::random(&mut Stream::new(43, Purpose::Rotation, step)).matrix();
        det(&m) * (m[0][0] + m[1][1] + m[2][2])
    });
    let square = traces.map(|t| t * t).sum::<f64>() / n;
    assert!((square - 1.0).abs() < 0.05, "E[trace²] = {square}");
}

#[test]
fn streams_differ_by_seed_purpose_and_step() {
    let first = |seed, purpose, step| Stream::new(seed, purpose, step).uniform();
    let base = first(1, Purpose::StochasticNoise, 1);
    assert_eq!(base, first(1, Purpose::StochasticNoise, 1));
    for other in
        [first(2, Purpose::StochasticNoise, 1), first(1, Purpose::Rotation, 1), first(1, Purpose::StochasticNoise, 2)]
    {
        assert_ne!(base, other);
    }
}

#[test]
fn units_are_those_of_ase() {
    // ase.units of ASE 3.29, CODATA 2014.
    assert_eq!((FS, KB), (0.09822694788464063, 8.617330337217213e-05));
}

const CASES: u32 = 2000;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cell_wraps_or_is_refused(matrix in matrix(), pbc: [bool; 3], point in vector()) {
        match Cell::new(matrix, pbc) {
            Err(error) => prop_assert!(matches!(error, Error::Input(_))),
            Ok(cell) => {
                prop_assert!((0..3).all(|k| cell.height(k).is_finite() && cell.height(k) > 0.0));
                prop_assert!(cell.volume().is_finite());
                if (0..3).all(|k| cell.coordinate(point, k).abs() < 1e6) {
                    let wrapped = cell.wrap(point);
                    prop_assert_eq!(cell.wrap(wrapped).map(f64::is_finite), [true; 3]);
                    let travel = cell.translation(cell.image_of(point));
                    let blur = 1e-14 * (norm(point) + norm(travel));
                    prop_assert!(norm(sub(add(wrapped, travel), point)) <= blur);
                }
            }
        }
    }
}
