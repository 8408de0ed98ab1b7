//! The loop and its filters on propagators that need no network.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FreeFlight, Harmonic, LennardJones, Recorder, Rollout, Surface, Verlet, lattice, numbers, thermal};
use flashmd::Error;
use flashmd::State;
use flashmd::filters::rescaling::{Rescaling, RescalingStatistics};
use flashmd::filters::thermostat::{Langevin, Thermostat};
use flashmd::linalg::{Vec3, det, dot, norm, scale, sub};
use flashmd::propagators::{Outcome, Propagator};
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;
use flashmd::run::RunStatistics;
use flashmd::run::{Report, System};
use flashmd::state::CentreOfMass;
use flashmd::units::{FS, KB};

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

/// `state` in a Langevin bath.
fn bathed(state: &State, kelvin: f64, time_constant_fs: f64, stride_fs: f64, seed: u64) -> System {
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
    let mut surface = Surface(Harmonic { sites: harmonic.sites.clone(), k: harmonic.k });
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
    let mut surface = Surface(lj());
    let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 1.0 };
    let options = Rollout { steps: 300, interval: 10, energy: Some(&mut surface), ..Rollout::default() };
    let (_, kept) = run(options, &mut state, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    let worst = kept.frames.iter().map(|f| (f.conserved.unwrap() - h0).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-3 * kept.frames[0].kinetic, "energy moves by {worst} eV of K = {}", kept.frames[0].kinetic);
    assert!(norm(sub(state.total_momentum(), momentum)) < 1e-10);
}

#[test]
fn rescaling_holds_the_energy_that_a_bad_propagator_loses() {
    let mut system = System::new(argon(80.0));
    system.rescaling = Some(Rescaling::default());
    let mut surface = Surface(lj());
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
fn rescaling_does_not_fight_the_bath() {
    let mut system = bathed(&argon(40.0), 90.0, 100.0, 8.0, 7);
    system.rescaling = Some(Rescaling::default());
    let mut surface = Surface(lj());
    let mut verlet = Verlet { forces: lj(), stride_fs: 8.0, substeps: 4, defect: 1.0 };
    let options = Rollout { steps: 300, interval: 1, energy: Some(&mut surface), ..Rollout::default() };
    let (_, statistics, kept) = run_system(options, &mut system, &mut verlet);
    let h0 = kept.frames[0].conserved.unwrap();
    for frame in &kept.frames {
        assert!((frame.conserved.unwrap() / h0 - 1.0).abs() < 1e-9, "H minus heat is kept");
    }
    let last = kept.frames.last().unwrap();
    let gained = last.kinetic + last.potential.unwrap() - kept.frames[0].kinetic - kept.frames[0].potential.unwrap();
    assert!((gained - statistics.heat).abs() < 1e-9 && statistics.heat > 0.3, "the bath heats: {} eV", statistics.heat);
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
fn langevin_on_a_free_flight_gives_maxwell_boltzmann_per_species() {
    const KELVIN: f64 = 300.0;
    let state = lattice(4, 3.0, 0.0, [1.008, 15.999], 9);
    let (_, _, kept) = run_system(
        Rollout { steps: 6000, interval: 4, ..Rollout::default() },
        &mut bathed(&state, KELVIN, 20.0, 16.0, 11),
        &mut FreeFlight { stride_fs: 16.0 },
    );
    let frames = &kept.frames[50..];
    let total_mass = state.total_mass();
    for species in 0..2 {
        let members: Vec<usize> = (0..state.len()).filter(|i| i % 2 == species).collect();
        let mass = state.masses[members[0]];
        // Exactly 3(N_s − M_s/M) degrees of freedom: the mean of K_s is known, not only its scale.
        let freedom = 3.0 * (members.len() as f64 - members.len() as f64 * mass / total_mass);
        let kinetic =
            |momenta: &[Vec3]| members.iter().map(|&i| dot(momenta[i], momenta[i]) / (2.0 * mass)).sum::<f64>();
        let mean = frames.iter().map(|f| kinetic(&f.momenta)).sum::<f64>() / frames.len() as f64;
        let temperature = 2.0 * mean / (freedom * KB);
        // Frames 64 fs apart at τ = 20 fs are independent to 4e-2; 3.5 standard errors.
        let error = KELVIN * (2.0 / (freedom * frames.len() as f64)).sqrt();
        assert!((temperature - KELVIN).abs() < 3.5 * error, "species {species}: {temperature} ± {error} K");
        chi_squared(&frames.iter().flat_map(|f| members.iter().flat_map(|&i| f.momenta[i])).collect::<Vec<f64>>(), {
            let share = 1.0 - mass / total_mass;
            (mass * KB * KELVIN * share).sqrt()
        });
    }
    let momentum = frames.last().unwrap().momenta.iter().fold([0.0; 3], |s, &p| flashmd::linalg::add(s, p));
    assert!(norm(momentum) < 1e-9);
}

/// Pearson's χ² of the numbers against a normal distribution in 20 bins of equal weight; 99.9 % confidence.
fn chi_squared(numbers: &[f64], sigma: f64) {
    const BINS: usize = 20;
    const LIMIT: f64 = 43.82; // χ² with 19 degrees of freedom, 99.9 %
    let mut counts = [0usize; BINS];
    for x in numbers {
        counts[((normal_cdf(x / sigma) * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let expected = numbers.len() as f64 / BINS as f64;
    let chi2: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    assert!(chi2 < LIMIT, "χ² = {chi2:.1} over {} numbers", numbers.len());
}

/// Φ(x) by Abramowitz & Stegun 7.1.26 refined with one Simpson panel set; good to 1e-7.
fn normal_cdf(x: f64) -> f64 {
    const PANELS: usize = 200;
    let h = x / PANELS as f64;
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let weight = |i: usize| {
        if i == 0 || i == PANELS {
            1.0
        } else if i % 2 == 1 {
            4.0
        } else {
            2.0
        }
    };
    0.5 + (0..=PANELS).map(|i| weight(i) * density(i as f64 * h)).sum::<f64>() * h / 3.0
}

#[test]
fn langevin_keeps_the_total_momentum_and_counts_its_heat() {
    let mut state = argon(80.0);
    state.momenta.iter_mut().for_each(|p| p[2] += 0.7);
    let (momentum, before) = (state.total_momentum(), state.kinetic_energy());
    let mut system = bathed(&state, 300.0, 50.0, 4.0, 1);
    let options = Rollout { steps: 100, ..Rollout::default() };
    let (_, statistics, _) = run_system(options, &mut system, &mut FreeFlight { stride_fs: 4.0 });
    assert!(norm(sub(system.state.total_momentum(), momentum)) < 1e-9);
    assert!((system.state.kinetic_energy() - before - statistics.heat).abs() < 1e-9);
}

#[test]
fn langevin_at_zero_kelvin_cools_at_its_time_constant() {
    let mut system = bathed(&argon(80.0), 0.0, 100.0, 5.0, 1);
    let before = system.state.temperature();
    run_system(Rollout { steps: 20, ..Rollout::default() }, &mut system, &mut FreeFlight { stride_fs: 5.0 });
    assert!((system.state.temperature() / before / (-2.0f64).exp() - 1.0).abs() < 1e-12, "T falls as exp(-2t/τ)");
}

#[test]
fn unusable_thermostats_are_input_errors() {
    for (kelvin, tau) in [(-1.0, 100.0), (f64::NAN, 100.0), (300.0, 0.0), (300.0, -5.0), (300.0, f64::INFINITY)] {
        assert!(matches!(Langevin::new(kelvin, tau, 1.0), Err(Error::Input(_))), "{kelvin} K, {tau} fs");
    }
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
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let trajectory = |seed| {
        let mut system = bathed(&argon(80.0), 90.0, 100.0, 8.0, seed);
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
            let mut system = bathed(&state, 90.0, 100.0, 8.0, 3);
            run_system(Rollout { steps, ..Rollout::default() }, &mut system, &mut FreeFlight { stride_fs: 8.0 });
            state = system.state;
        }
        (state.positions, state.momenta, state.step)
    };
    assert_eq!(go(&[30]), go(&[11, 19]));
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
