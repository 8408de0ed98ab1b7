//! Runs that sample, and means that are compared with theory.

use crate::common::{LennardJones, Recorder, Rollout, lattice, numbers, thermal};
use flashmd::State;
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::Propagator;
use flashmd::run::{Report, RunStatistics, System};

/// 4σ of a Gaussian: one test in 16 000 fails by chance, and the seeds are fixed.
pub const SIGMAS: f64 = 4.0;

pub fn langevin(kelvin: f64, tau_fs: f64, stride_fs: f64) -> Option<Thermostat> {
    Some(Thermostat::Langevin(Langevin::new(kelvin, tau_fs, stride_fs).unwrap()))
}

pub fn bussi(kelvin: f64, tau_fs: f64, stride_fs: f64) -> Option<Thermostat> {
    Some(Thermostat::Bussi(Bussi::new(kelvin, tau_fs, stride_fs).unwrap()))
}

/// Mean and standard error of correlated samples from 50 block means.
pub fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    const BLOCKS: usize = 50;
    let size = samples.len() / BLOCKS;
    let means: Vec<f64> = samples.chunks_exact(size).map(|b| b.iter().sum::<f64>() / size as f64).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (means.len() - 1) as f64;
    (mean, (variance / means.len() as f64).sqrt())
}

pub fn assert_mean(samples: &[f64], wanted: f64, what: &str) {
    let (mean, error) = mean_and_error(samples);
    assert!(
        (mean - wanted).abs() < SIGMAS * error && error < 0.06 * wanted.abs(),
        "{what}: {mean} ± {error}, theory {wanted}"
    );
}

/// First two moments of samples whose distribution is known.
pub fn assert_moments(samples: &[f64], mean: f64, variance: f64, what: &str) {
    assert_mean(samples, mean, &format!("mean of {what}"));
    let squares: Vec<f64> = samples.iter().map(|x| (x - mean).powi(2)).collect();
    assert_mean(&squares, variance, &format!("variance of {what}"));
}

/// Runs and returns something of every kept frame after the first tenth.
pub fn sample(
    system: &mut System,
    propagator: &mut dyn Propagator,
    energy: Option<&mut dyn PotentialEnergy>,
    steps: u64,
    interval: u64,
    quantity: impl Fn(&crate::common::Kept) -> f64,
) -> Vec<f64> {
    let mut recorder = Recorder::default();
    let options = Rollout { steps, interval, energy, ..Rollout::default() };
    options.run_one(system, propagator, &mut recorder).unwrap();
    assert!(system.is_alive(), "{:?}", system.failure);
    recorder.frames[recorder.frames.len() / 10..].iter().map(quantity).collect()
}

pub fn run_system(
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
pub fn thermostatted(state: &State, kelvin: f64, time_constant_fs: f64, stride_fs: f64, seed: u64) -> System {
    let mut system = System::new(state.clone());
    system.state.key = seed.into();
    system.thermostat = Some(Thermostat::Langevin(Langevin::new(kelvin, time_constant_fs, stride_fs).unwrap()));
    system
}

pub fn argon(kelvin: f64) -> State {
    let mut state = lattice(4, 3.9, 0.02, [39.948, 39.948], 3);
    thermal(&mut state, kelvin, &mut numbers(4));
    state
}

pub fn lj() -> LennardJones {
    LennardJones::new(0.0104, 3.4, 7.0)
}

/// Pearson's χ² of the numbers against a normal distribution in 20 bins of equal weight; 99.9 % confidence.
pub fn chi_squared(numbers: &[f64], sigma: f64) {
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
pub fn normal_cdf(x: f64) -> f64 {
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
