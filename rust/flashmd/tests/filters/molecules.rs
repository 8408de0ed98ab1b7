//! Molecules, and the pressure of scaling them.

use crate::common::{AnalyticEnergy, LennardJones, lattice, numbers, thermal};
use flashmd::filters::barostat::{Dilation, pressure};
use flashmd::filters::molecules::Molecules;
use flashmd::linalg::{Vec3, det, norm, sub};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::units::KB;
use flashmd::{Cell, State};

const KELVIN: f64 = 300.0;

#[test]
fn pressure_is_the_derivative_of_the_free_energy_by_the_volume() {
    // −dH/dV of a dilation of molecules, positions × f and momenta / f, by central differences, and k_B·T/V.
    let (mut state, molecules) = water_like();
    let mut surface = AnalyticEnergy(LennardJones::new(0.0104, 3.4, 7.0));
    let forces = surface.evaluate(&state).unwrap();
    let thermal = KB * KELVIN;
    let got = pressure(&state, &molecules, &forces, thermal).unwrap();
    let volume = det(state.cell.matrix());
    state.momenta.iter_mut().for_each(|p| p[0] += 0.2);
    for k in 0..3 {
        let mut at = |step: f64| {
            let mut moved = state.clone();
            let dilation = Dilation(std::array::from_fn(|c| if c == k { 1.0 + step } else { 1.0 }));
            dilation.scale_positions(&mut moved, &molecules).unwrap();
            dilation.scale_momenta(&mut moved, &molecules);
            moved.kinetic_energy() + surface.energy(&moved).unwrap()
        };
        let slope = (at(1e-5) - at(-1e-5)) / (2e-5 * volume);
        let wanted = -slope + thermal / volume;
        assert!((got[k] / wanted - 1.0).abs() < 1e-5, "axis {k}: {} against {wanted}", got[k]);
    }
}

/// 27 diatomics in a periodic box, some of them across its faces, atoms in arbitrary images.
fn water_like() -> (State, Molecules) {
    let centres = lattice(3, 9.0, 0.3, [1.0, 1.0], 2);
    let mut stream = numbers(4);
    let (mut positions, mut masses): (Vec<Vec3>, Vec<f64>) = (Vec::new(), Vec::new());
    for &centre in &centres.positions {
        let arm = stream.normal3();
        for (sign, mass) in [(0.5, 16.0), (-0.5, 1.0)] {
            let image = [1i64, 2, 3].map(|_| (5.0 * stream.uniform()) as i64 - 2);
            let q: Vec3 = std::array::from_fn(|c| centre[c] + sign * 3.3 * arm[c] / norm(arm));
            positions.push(flashmd::linalg::add(q, centres.cell.translation(image)));
            masses.push(mass);
        }
    }
    let n = positions.len();
    let mut state = State::new(positions, vec![[0.0; 3]; n], masses, vec![1; n], centres.cell.clone()).unwrap();
    thermal(&mut state, KELVIN, &mut numbers(5));
    let molecules = Molecules::find(&state, &vec![1.35; n]).unwrap();
    assert_eq!(molecules.count, 27);
    (state, molecules)
}

#[test]
fn molecules_are_found_whole_and_scaled_without_stretching_a_bond() {
    let (state, molecules) = water_like();
    let whole = |s: &State, i: usize| flashmd::linalg::add(s.positions[i], s.cell.translation(molecules.shifts[i]));
    for pair in 0..27 {
        assert_eq!(molecules.of[2 * pair], molecules.of[2 * pair + 1]);
        assert!((norm(sub(whole(&state, 2 * pair), whole(&state, 2 * pair + 1))) - 3.3).abs() < 1e-9);
    }
    let mut moved = state.clone();
    Dilation([1.01, 0.99, 1.02]).scale_positions(&mut moved, &molecules).unwrap();
    for pair in 0..27 {
        assert!((norm(sub(whole(&moved, 2 * pair), whole(&moved, 2 * pair + 1))) - 3.3).abs() < 1e-9);
    }
    let (before, after) = (molecules.centres(&state), molecules.centres(&moved));
    for (a, b) in before.iter().zip(&after) {
        assert!(norm(sub(b.position, [1.01 * a.position[0], 0.99 * a.position[1], 1.02 * a.position[2]])) < 1e-9);
    }
}

#[test]
fn a_network_without_end_stays_in_atoms_and_a_gas_too() {
    let crystal = lattice(3, 2.0, 0.0, [1.0, 1.0], 1);
    assert_eq!(Molecules::find(&crystal, &vec![0.9; 27]).unwrap().count, 27, "bonded to its own image");
    assert_eq!(Molecules::find(&crystal, &vec![0.1; 27]).unwrap().count, 27, "no bonds");
    let mut cluster = crystal.clone();
    cluster.cell = Cell::open();
    assert_eq!(Molecules::find(&cluster, &vec![0.9; 27]).unwrap().count, 1, "a cluster is one molecule");
    assert!(Molecules::find(&crystal, &[1.0]).is_err() && Molecules::find(&crystal, &vec![f64::NAN; 27]).is_err());
}
