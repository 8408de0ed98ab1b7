//! Energy rescaling.

use crate::common::{AnalyticEnergy, FreeFlight, Recorder, Rollout, Verlet, lattice, numbers, thermal};
use crate::sampling::{argon, lj, run_system, thermostatted};
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, RescalingStatistics, Scope};
use flashmd::linalg::{norm, sub};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::{Outcome, Propagator};
use flashmd::run::System;
use flashmd::{Error, State};

#[test]
fn rescaling_holds_the_energy_that_a_bad_propagator_loses() {
    let mut system = System::new(argon(80.0));
    system.rescaling = Some(Rescaling::default());
    let mut surface = AnalyticEnergy(lj());
    let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 0.999 };
    let options = Rollout { steps: 200, interval: 1, energy: Some(&mut surface), ..Rollout::default() };
    let (_, statistics, kept) = run_system(options, &mut system, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    for frame in &kept.frames {
        assert!((frame.conserved.unwrap() / h0 - 1.0).abs() < 1e-9);
    }
    let rescale = statistics.rescaling;
    assert_eq!((rescale.count, rescale.skipped, rescale.clamped), (200, 0, 0));
    assert!(rescale.alpha_min > 1.0 && rescale.alpha_max < 1.01, "{rescale:?}");
}

#[test]
fn rescaling_does_not_fight_the_thermostat() {
    let mut system = thermostatted(&argon(40.0), 90.0, 100.0, 8.0, 7);
    system.rescaling = Some(Rescaling::default());
    let mut surface = AnalyticEnergy(lj());
    let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 1.0 };
    let options = Rollout { steps: 300, interval: 1, energy: Some(&mut surface), ..Rollout::default() };
    let (_, statistics, kept) = run_system(options, &mut system, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    for frame in &kept.frames {
        assert!((frame.conserved.unwrap() / h0 - 1.0).abs() < 1e-9, "H minus heat is kept");
    }
    let last = kept.frames.last().unwrap();
    let gained = last.kinetic + last.potential.unwrap() - kept.frames[0].kinetic - kept.frames[0].potential.unwrap();
    assert!(
        (gained - statistics.heat).abs() < 1e-9 && statistics.heat > 0.3,
        "the thermostat heats: {} eV",
        statistics.heat
    );
}

/// Scales the momenta of `state` so that K + V is `target`, or says why not.
fn rescale_to(state: &mut State, target: f64, potential: f64) -> flashmd::Result<()> {
    Rescaling::default().apply(state, target, potential, &mut RescalingStatistics::default())
}

#[test]
fn rescaling_raises_where_it_is_impossible() {
    let mut state = argon(80.0);
    let (kinetic, before) = (state.kinetic_energy(), state.momenta.clone());
    for (target, potential) in [(0.0, kinetic), (kinetic, 0.9 * kinetic), (10.0 * kinetic, 0.0)] {
        let error = rescale_to(&mut state, target, potential).unwrap_err();
        assert!(matches!(&error, Error::Stability(_)) && error.to_string().contains("rescale_energy"), "{error}");
        assert_eq!(state.momenta, before, "a failed rescaling changes nothing");
    }
    state.momenta.fill([0.0; 3]);
    assert!(rescale_to(&mut state, 1.0, 0.0).is_err(), "no momenta to scale");
    let mut one = lattice(1, 5.0, 0.0, [1.0, 1.0], 0);
    assert!(rescale_to(&mut one, 1.0, 0.0).is_err(), "one atom has no internal motion");
}

#[test]
fn rescaling_leaves_the_centre_of_mass_alone() {
    let mut state = argon(80.0);
    state.momenta.iter_mut().for_each(|p| p[0] += 2.0);
    let (momentum, target) = (state.total_momentum(), 1.05 * state.kinetic_energy());
    rescale_to(&mut state, target, 0.0).unwrap();
    assert!((state.kinetic_energy() / target - 1.0).abs() < 1e-12);
    assert!(norm(sub(state.total_momentum(), momentum)) < 1e-10);
}

#[test]
fn rescaling_without_an_energy_is_an_input_error() {
    let mut system = System::new(argon(80.0));
    system.rescaling = Some(Rescaling::default());
    let options = Rollout { steps: 1, ..Rollout::default() };
    let error = options.run_one(&mut system, &mut FreeFlight { stride_fs: 1.0 }, &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, Error::Input(_)), "{error}");
}

fn two_species(kelvin: f64) -> State {
    let mut state = lattice(3, 3.0, 0.0, [1.0, 16.0], 5);
    thermal(&mut state, kelvin, &mut numbers(6));
    state
}

fn group_kinetic(state: &State, labels: &[u32], group: u32) -> f64 {
    let energies = state.internal_momenta().zip(&state.masses).map(|(p, m)| flashmd::linalg::dot(p, p) / (2.0 * m));
    energies.zip(labels).filter(|(_, g)| **g == group).map(|(k, _)| k).sum()
}

#[test]
fn groups_share_a_missing_energy_by_their_degrees_of_freedom() {
    let mut state = two_species(300.0);
    // Light atoms far too hot: a global factor would give them most of what is missing.
    for i in (0..27).step_by(2) {
        state.momenta[i] = state.momenta[i].map(|p| 2.0 * p);
    }
    let labels: Vec<u32> = (0..27).map(|i| i % 2).collect();
    let excess = state.centre_of_mass_velocity();
    for i in 0..27 {
        state.momenta[i] = sub(state.momenta[i], flashmd::linalg::scale(state.masses[i], excess));
    }
    let (k0, light, heavy) =
        (state.internal_kinetic_energy(), group_kinetic(&state, &labels, 0), group_kinetic(&state, &labels, 1));
    let heat = 0.05 * k0;
    let policy = Rescaling::new(Scope::Groups(labels.clone()), 0.25, BeyondLimit::Stop).unwrap();
    policy.apply(&mut state, k0 + heat, 0.0, &mut RescalingStatistics::default()).unwrap();
    assert!((state.internal_kinetic_energy() / (k0 + heat) - 1.0).abs() < 1e-12, "the total is exact");
    assert!(norm(state.total_momentum()) < 1e-10);
    let gained = (group_kinetic(&state, &labels, 0) - light, group_kinetic(&state, &labels, 1) - heavy);
    // 3(N_g − M_g/M): 14 light atoms of 1 u, 13 heavy ones of 16 u.
    let (a, b) = (14.0 - 14.0 / 222.0, 13.0 - 208.0 / 222.0);
    assert!((gained.0 / gained.1 / (a / b) - 1.0).abs() < 0.1, "{gained:?} against {a} : {b}");
}

#[test]
fn policies_beyond_the_limit_are_counted_and_the_debt_is_paid_later() {
    let start = two_species(300.0);
    let k0 = start.internal_kinetic_energy();
    let apply = |fallback, target: f64| {
        let (mut state, mut counted) = (start.clone(), RescalingStatistics::default());
        let done = Rescaling::new(Scope::Global, 0.1, fallback).unwrap().apply(&mut state, target, 0.0, &mut counted);
        (done, state.internal_kinetic_energy() / k0, counted)
    };
    assert!(apply(BeyondLimit::Stop, 2.0 * k0).0.is_err());
    let (done, ratio, counted) = apply(BeyondLimit::Skip, 2.0 * k0);
    assert!(done.is_ok() && ratio == 1.0 && (counted.count, counted.skipped, counted.clamped) == (0, 1, 0));
    for (target, alpha) in [(2.0 * k0, 1.1f64), (0.1 * k0, 0.9), (-3.0, 0.9)] {
        let (done, ratio, counted) = apply(BeyondLimit::Clamp, target);
        assert!(done.is_ok() && (ratio - alpha * alpha).abs() < 1e-12, "target {target}: {ratio}");
        assert_eq!((counted.count, counted.skipped, counted.clamped), (1, 0, 1));
    }
    // A propagator that loses a third of the momenta at one stride: clamping pays the debt over the next ones.
    let mut system = System::new(start.clone());
    system.rescaling = Some(Rescaling::new(Scope::Global, 0.1, BeyondLimit::Clamp).unwrap());
    let mut surface = Nothing;
    let options = Rollout { steps: 10, interval: 1, energy: Some(&mut surface), ..Rollout::default() };
    let mut recorder = Recorder::default();
    options.run_one(&mut system, &mut Stumbles, &mut recorder).unwrap();
    assert!(recorder.frames[3].kinetic < 0.6 * k0);
    assert!((recorder.frames[10].kinetic / k0 - 1.0).abs() < 1e-9 && system.statistics.rescaling.clamped > 1);
    for limit in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(Rescaling::new(Scope::Global, limit, BeyondLimit::Stop).is_err());
    }
}

/// No potential energy.
struct Nothing;

impl PotentialEnergy for Nothing {
    fn energy(&mut self, _: &State) -> flashmd::Result<f64> {
        Ok(0.0)
    }
}

/// Loses a third of the momenta at its third stride.
struct Stumbles;

impl Propagator for Stumbles {
    fn stride_fs(&self) -> f64 {
        1.0
    }

    fn advance(&mut self, states: &mut [&mut State]) -> flashmd::Result<Vec<Outcome>> {
        for state in states.iter_mut().filter(|state| state.step == 2) {
            state.momenta.iter_mut().flatten().for_each(|p| *p *= 0.66);
        }
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }
}
