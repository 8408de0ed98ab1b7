//! Runs of propagators that need no network.

use crate::common::{
    AnalyticEnergy, FreeFlight, Harmonic, LennardJones, Recorder, Rollout, Verlet, lattice, numbers, thermal,
};
use flashmd::State;
use flashmd::filters::thermostat::{Langevin, Thermostat};
use flashmd::linalg::{norm, scale, sub};
use flashmd::propagators::{Outcome, Propagator};
use flashmd::run::{Report, RunStatistics, System};
use flashmd::units::FS;

fn run(options: Rollout<'_>, state: &mut State, propagator: &mut dyn Propagator) -> (Report, Recorder) {
    let mut system = System::new(state.clone());
    let (report, _, recorder) = run_system(options, &mut system, propagator);
    *state = system.state;
    (report, recorder)
}

fn run_system(
    options: Rollout<'_>,
    system: &mut System,
    propagator: &mut dyn Propagator,
) -> (Report, RunStatistics, Recorder) {
    let mut recorder = Recorder::default();
    let report = options.run_one(system, propagator, &mut recorder).unwrap();
    assert!(system.is_alive(), "{:?}", system.failure);
    (report, system.statistics, recorder)
}

/// `state` in a Langevin thermostat.
fn thermostatted(state: &State, kelvin: f64, time_constant_fs: f64, stride_fs: f64, seed: u64) -> System {
    let mut system = System::new(state.clone());
    system.state.key = seed.into();
    system.thermostat = Some(Thermostat::Langevin(Langevin::new(kelvin, time_constant_fs, stride_fs).unwrap()));
    system
}

fn crystal(kelvin: f64) -> (State, Harmonic) {
    let mut state = lattice(3, 2.5, 0.0, [1.0, 16.0], 1);
    let sites = state.positions.clone();
    thermal(&mut state, kelvin, &mut numbers(2));
    (state, Harmonic { sites, k: 3.0 })
}

fn argon(kelvin: f64) -> State {
    let mut state = lattice(4, 3.9, 0.02, [39.948, 39.948], 3);
    thermal(&mut state, kelvin, &mut numbers(4));
    state
}

fn lj() -> LennardJones {
    LennardJones::new(0.0104, 3.4, 7.0)
}

#[test]
fn free_flight_goes_straight_and_keeps_the_frames_asked_for() {
    let mut state = lattice(3, 3.0, 0.1, [1.0, 16.0], 5);
    thermal(&mut state, 300.0, &mut numbers(6));
    let start = state.clone();
    let (report, kept) =
        run(Rollout { steps: 25, interval: 10, ..Rollout::default() }, &mut state, &mut FreeFlight { stride_fs: 16.0 });
    assert_eq!(kept.frames.iter().map(|f| f.step).collect::<Vec<_>>(), [0, 10, 20, 25]);
    assert_eq!(kept.frames.iter().map(|f| f.time_fs).collect::<Vec<_>>(), [0.0, 160.0, 320.0, 400.0]);
    assert_eq!((report.steps, kept.strides, state.step), (25, 25, 25));
    assert_eq!(state.momenta, start.momenta);
    for i in 0..state.len() {
        let expected = scale(400.0 * FS / start.masses[i], start.momenta[i]);
        assert!(norm(sub(sub(state.positions[i], start.positions[i]), expected)) < 1e-11);
    }
}

#[test]
fn zero_steps_keep_one_frame_and_no_interval_keeps_two() {
    let mut state = lattice(2, 3.0, 0.0, [1.0, 1.0], 5);
    let flight = &mut FreeFlight { stride_fs: 1.0 };
    assert_eq!(run(Rollout { steps: 0, interval: 1, ..Rollout::default() }, &mut state, flight).1.frames.len(), 1);
    assert_eq!(run(Rollout { steps: 9, ..Rollout::default() }, &mut state, flight).1.frames.len(), 2);
}

#[test]
fn an_observer_can_stop_the_run() {
    let mut system = System::new(lattice(2, 3.0, 0.0, [1.0, 1.0], 5));
    let mut recorder = Recorder { stop_at: Some(4), ..Recorder::default() };
    let options = Rollout { steps: 100, interval: 50, ..Rollout::default() };
    let report = options.run_one(&mut system, &mut FreeFlight { stride_fs: 1.0 }, &mut recorder).unwrap();
    assert_eq!((report.steps, recorder.frames.last().unwrap().step), (4, 4));
}

#[test]
fn harmonic_crystal_oscillates_at_its_frequency_in_nve() {
    let (mut state, harmonic) = crystal(300.0);
    let start = state.clone();
    let mut surface = AnalyticEnergy(Harmonic { sites: harmonic.sites.clone(), k: harmonic.k });
    let mut verlet = Verlet { forces: harmonic, stride_fs: 0.5, substeps: 10, defect: 1.0 };
    let options = Rollout { steps: 400, interval: 10, energy: Some(&mut surface), ..Rollout::default() };
    let (_, kept) = run(options, &mut state, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    for frame in &kept.frames {
        assert!((frame.conserved.unwrap() / h0 - 1.0).abs() < 1e-4, "drift at step {}", frame.step);
        let time = frame.time_fs * FS;
        for i in 0..state.len() {
            // q(t) = p₀/(m·ω)·sin(ωt), started on the site.
            let omega = (3.0 / start.masses[i]).sqrt();
            let expected = scale((omega * time).sin() / (start.masses[i] * omega), start.momenta[i]);
            let moved = sub(frame.positions[i], start.positions[i]);
            assert!(norm(sub(moved, expected)) < 2e-3, "atom {i} at step {}", frame.step);
        }
    }
}

#[test]
fn lennard_jones_conserves_energy_and_momentum_in_nve() {
    let mut state = argon(80.0);
    let momentum = state.total_momentum();
    let mut surface = AnalyticEnergy(lj());
    let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 1.0 };
    let options = Rollout { steps: 300, interval: 10, energy: Some(&mut surface), ..Rollout::default() };
    let (_, kept) = run(options, &mut state, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    let worst = kept.frames.iter().map(|f| (f.conserved.unwrap() - h0).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-3 * kept.frames[0].kinetic, "energy moves by {worst} eV of K = {}", kept.frames[0].kinetic);
    assert!(norm(sub(state.total_momentum(), momentum)) < 1e-10);
}

/// Makes a number that is not finite at a given step.
struct Breaks {
    at: u64,
    momentum: bool,
}

impl Propagator for Breaks {
    fn stride_fs(&self) -> f64 {
        2.0
    }

    fn advance(&mut self, states: &mut [&mut State]) -> flashmd::Result<Vec<Outcome>> {
        for state in states.iter_mut().filter(|state| state.step + 1 == self.at) {
            let target = if self.momentum { &mut state.momenta } else { &mut state.positions };
            target[3][1] = f64::NAN;
            target[5][2] = f64::INFINITY;
        }
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_with_the_last_good_frame() {
    for (momentum, quantity) in [(true, "momentum"), (false, "position")] {
        let start = argon(80.0);
        let mut system = System::new(start.clone());
        let mut recorder = Recorder::default();
        let options = Rollout { steps: 50, interval: 1, ..Rollout::default() };
        options.run_one(&mut system, &mut Breaks { at: 10, momentum }, &mut recorder).unwrap();
        let e = system.failure.unwrap();
        assert_eq!((e.step, e.atoms.as_slice(), e.quantity.as_str()), (10, &[3, 5][..], quantity));
        assert!((e.time_ps - 0.02).abs() < 1e-12 && e.message.contains("atoms 3, 5"), "{}", e.message);
        assert_eq!(e.last_good.unwrap().positions, start.positions);
        assert_eq!(recorder.frames.len(), 10, "frames 0 to 9 were kept");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let trajectory = |seed| {
        let mut system = thermostatted(&argon(80.0), 90.0, 100.0, 8.0, seed);
        let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 1.0 };
        run_system(Rollout { steps: 40, interval: 5, ..Rollout::default() }, &mut system, &mut verlet).2.frames
    };
    assert_eq!(trajectory(5), trajectory(5));
    assert_ne!(trajectory(5), trajectory(6));
}

#[test]
fn noise_is_addressed_by_step_so_a_run_can_be_continued() {
    let go = |parts: &[u64]| {
        let mut state = argon(80.0);
        for &steps in parts {
            let mut system = thermostatted(&state, 90.0, 100.0, 8.0, 3);
            run_system(Rollout { steps, ..Rollout::default() }, &mut system, &mut FreeFlight { stride_fs: 8.0 });
            state = system.state;
        }
        (state.positions, state.momenta, state.step)
    };
    assert_eq!(go(&[30]), go(&[11, 19]));
}
