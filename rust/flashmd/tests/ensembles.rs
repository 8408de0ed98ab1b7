//! Thermostats, barostats and rescaling policies against what statistical mechanics says they sample.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FreeFlight, Harmonic, LennardJones, Recorder, Rollout, Surface, Verlet, lattice, numbers, thermal};
use flashmd::Cell;
use flashmd::Error;
use flashmd::State;
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, Dilation, MonteCarlo, Reservoir, pressure};
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::molecules::Molecules;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, RescalingStatistics, Scope};
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::linalg::{Vec3, det, norm, sub};
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use flashmd::propagators::{Outcome, Propagator};
use flashmd::run::System;
use flashmd::units::{BAR, FS, KB};

/// 4σ of a Gaussian: one test in 16 000 fails by chance, and the seeds are fixed.
const SIGMAS: f64 = 4.0;

fn langevin(kelvin: f64, tau_fs: f64, stride_fs: f64) -> Option<Thermostat> {
    Some(Thermostat::Langevin(Langevin::new(kelvin, tau_fs, stride_fs).unwrap()))
}

fn bussi(kelvin: f64, tau_fs: f64, stride_fs: f64) -> Option<Thermostat> {
    Some(Thermostat::Bussi(Bussi::new(kelvin, tau_fs, stride_fs).unwrap()))
}

/// Mean and standard error of correlated samples from 50 block means.
fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    const BLOCKS: usize = 50;
    let size = samples.len() / BLOCKS;
    let means: Vec<f64> = samples.chunks_exact(size).map(|b| b.iter().sum::<f64>() / size as f64).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (means.len() - 1) as f64;
    (mean, (variance / means.len() as f64).sqrt())
}

fn assert_mean(samples: &[f64], wanted: f64, what: &str) {
    let (mean, error) = mean_and_error(samples);
    assert!(
        (mean - wanted).abs() < SIGMAS * error && error < 0.06 * wanted.abs(),
        "{what}: {mean} ± {error}, theory {wanted}"
    );
}

/// First two moments of samples whose distribution is known.
fn assert_moments(samples: &[f64], mean: f64, variance: f64, what: &str) {
    assert_mean(samples, mean, &format!("mean of {what}"));
    let squares: Vec<f64> = samples.iter().map(|x| (x - mean).powi(2)).collect();
    assert_mean(&squares, variance, &format!("variance of {what}"));
}

/// Runs and returns something of every kept frame after the first tenth.
fn sample(
    system: &mut System,
    propagator: &mut dyn Propagator,
    energy: Option<&mut dyn PotentialEnergy>,
    steps: u64,
    interval: u64,
    quantity: impl Fn(&common::Kept) -> f64,
) -> Vec<f64> {
    let mut recorder = Recorder::default();
    let options = Rollout { steps, interval, energy, ..Rollout::default() };
    options.run_one(system, propagator, &mut recorder).unwrap();
    assert!(system.is_alive(), "{:?}", system.failure);
    recorder.frames[recorder.frames.len() / 10..].iter().map(quantity).collect()
}

#[test]
fn the_kinetic_energy_under_both_thermostats_is_canonical() {
    // K of N_f degrees of freedom is Γ(N_f/2, k_B·T): mean N_f·k_B·T/2, variance N_f·(k_B·T)²/2. 10⁵ strides.
    const KELVIN: f64 = 300.0;
    let mut state = lattice(2, 3.0, 0.0, [1.008, 15.999], 3);
    thermal(&mut state, KELVIN, &mut numbers(5));
    let freedom = state.degrees_of_freedom() as f64;
    assert_eq!(freedom, 21.0);
    for thermostat in [langevin(KELVIN, 30.0, 16.0), bussi(KELVIN, 30.0, 16.0)] {
        let mut system = System::new(state.clone());
        system.thermostat = thermostat;
        let flight = &mut FreeFlight { stride_fs: 16.0 };
        let kinetic = sample(&mut system, flight, None, 100_000, 2, |f| f.kinetic);
        let thermal = KB * KELVIN;
        assert_moments(&kinetic, 0.5 * freedom * thermal, 0.5 * freedom * thermal * thermal, "K");
    }
}

#[test]
fn bussi_relaxes_the_mean_energy_at_its_time_constant_and_keeps_directions() {
    // ⟨K(t)⟩ = K̄ + (K₀ − K̄)·exp(−t/τ); a stride of two half steps of exp(−Δt/2τ) each.
    let mut start = lattice(6, 3.0, 0.0, [12.0, 12.0], 3);
    thermal(&mut start, 900.0, &mut numbers(5));
    let (k0, goal) = (start.internal_kinetic_energy(), 0.5 * KB * 300.0 * start.degrees_of_freedom() as f64);
    let after: Vec<f64> = (0..400)
        .map(|seed| {
            let mut system = System::new(start.clone());
            system.state.key = seed.into();
            system.thermostat = bussi(300.0, 100.0, 10.0);
            let options = Rollout { steps: 7, ..Rollout::default() };
            let flight = &mut FreeFlight { stride_fs: 10.0 };
            options.run_one(&mut system, flight, &mut Recorder::default()).unwrap();
            let ratio = system.state.momenta[0][0] / start.momenta[0][0];
            for (p, q) in system.state.momenta.iter().zip(&start.momenta) {
                assert!((0..3).all(|c| (p[c] - ratio * q[c]).abs() < 1e-9), "one factor for all momenta");
            }
            system.state.internal_kinetic_energy()
        })
        .collect();
    assert_mean(&after, goal + (k0 - goal) * (-0.7f64).exp(), "K after 0.7 τ");
}

#[test]
fn bussi_samples_a_harmonic_crystal_and_leaves_its_conserved_energy() {
    const KELVIN: f64 = 200.0;
    let mut state = lattice(3, 2.5, 0.0, [1.0, 16.0], 1);
    thermal(&mut state, KELVIN, &mut numbers(2));
    let sites = state.positions.clone();
    let mut system = System::new(state);
    system.thermostat = bussi(KELVIN, 50.0, 4.0);
    let mut surface = Surface(Harmonic { sites: sites.clone(), k: 3.0 });
    let mut verlet = Verlet { forces: Harmonic { sites, k: 3.0 }, stride_fs: 4.0, substeps: 32, defect: 1.0 };
    let mut recorder = Recorder::default();
    let options = Rollout { steps: 4000, interval: 4, energy: Some(&mut surface), ..Rollout::default() };
    options.run_one(&mut system, &mut verlet, &mut recorder).unwrap();
    let h0 = recorder.frames[0].conserved.unwrap();
    assert!(recorder.frames.iter().all(|f| (f.conserved.unwrap() - h0).abs() < 2e-3 * h0));
    assert!(system.statistics.heat > 0.5 * h0, "half of the energy had to come from the bath");
}

#[test]
fn atoms_at_rest_cannot_be_heated_by_scaling() {
    let mut system = System::new(lattice(2, 3.0, 0.0, [1.0, 1.0], 1));
    system.thermostat = bussi(300.0, 100.0, 1.0);
    let options = Rollout { steps: 1, ..Rollout::default() };
    let error = options.run_one(&mut system, &mut FreeFlight { stride_fs: 1.0 }, &mut Recorder::default()).unwrap_err();
    assert!(matches!(&error, Error::Input(m) if m.contains("Bussi")), "{error}");
}

#[test]
fn free_atoms_beside_fixed_ones_have_three_degrees_of_freedom_each() {
    const KELVIN: f64 = 300.0;
    let state = lattice(2, 3.0, 0.0, [1.008, 15.999], 3);
    let fixed: Vec<bool> = (0..8).map(|i| i < 3).collect();
    let start = state.positions.clone();
    for thermostat in [langevin(KELVIN, 30.0, 16.0), bussi(KELVIN, 30.0, 16.0)] {
        let mut state = state.clone();
        thermal(&mut state, KELVIN, &mut numbers(5));
        let mut system = System::new(state.with_fixed(fixed.clone()).unwrap());
        assert_eq!(system.state.degrees_of_freedom(), 15);
        system.thermostat = thermostat;
        let flight = &mut FreeFlight { stride_fs: 16.0 };
        let kinetic = sample(&mut system, flight, None, 40_000, 2, |f| f.kinetic);
        assert_moments(&kinetic, 7.5 * KB * KELVIN, 7.5 * (KB * KELVIN).powi(2), "K of the free atoms");
        assert_eq!(system.state.positions[..3], start[..3], "fixed atoms stay");
        assert_eq!(system.state.momenta[..3], [[0.0; 3]; 3]);
        assert!((system.state.temperature() / KELVIN - 1.0).abs() < 1.5);
    }
    assert!(state.clone().with_fixed(vec![true; 8]).is_err() && state.with_fixed(vec![true; 3]).is_err());
}

// ---------------------------------------------------------------------------------------------- barostats

/// Particles that do not see each other, in a potential of the volume alone: U = κ·(V − V₀)²/2.
struct OfVolume {
    stiffness: f64,
    rest: f64,
}

impl PotentialEnergy for OfVolume {
    fn energy(&mut self, state: &State) -> flashmd::Result<f64> {
        Ok(0.5 * self.stiffness * (det(state.cell.matrix()) - self.rest).powi(2))
    }

    fn evaluate(&mut self, state: &State) -> flashmd::Result<EnergyForces> {
        let volume = det(state.cell.matrix());
        let diagonal = -volume * self.stiffness * (volume - self.rest);
        let virial = std::array::from_fn(|a| std::array::from_fn(|b| if a == b { diagonal } else { 0.0 }));
        Ok(EnergyForces { energy: self.energy(state)?, forces: vec![[0.0; 3]; state.len()], virial: Some(virial) })
    }
}

/// The same, of each edge of an orthorhombic cell: U = Σ κ·(L_k − L₀)²/2.
struct OfEdges {
    stiffness: f64,
    rest: f64,
}

impl PotentialEnergy for OfEdges {
    fn energy(&mut self, state: &State) -> flashmd::Result<f64> {
        let m = state.cell.matrix();
        Ok((0..3).map(|k| 0.5 * self.stiffness * (m[k][k] - self.rest).powi(2)).sum())
    }

    fn evaluate(&mut self, state: &State) -> flashmd::Result<EnergyForces> {
        let m = *state.cell.matrix();
        let along = |k: usize| -m[k][k] * self.stiffness * (m[k][k] - self.rest);
        let virial = std::array::from_fn(|a| std::array::from_fn(|b| if a == b { along(a) } else { 0.0 }));
        Ok(EnergyForces { energy: self.energy(state)?, forces: vec![[0.0; 3]; state.len()], virial: Some(virial) })
    }
}

const KELVIN: f64 = 300.0;

fn reservoir(pressure: f64, compressibility: f64, coupling: Coupling) -> Reservoir {
    Reservoir { pressure, temperature: KELVIN, compressibility, coupling, interval: 1 }
}

/// 27 particles in a thermostat, and a barostat.
fn gas(edge: f64, barostat: impl Fn() -> Barostat) -> System {
    gas_of(3, edge, barostat)
}

/// n³ particles in a thermostat, and a barostat.
fn gas_of(n: usize, edge: f64, barostat: impl Fn() -> Barostat) -> System {
    let mut state = lattice(n, edge / n as f64, 0.1, [12.0, 30.0], 7);
    thermal(&mut state, KELVIN, &mut numbers(8));
    let mut system = System::new(state);
    system.thermostat = langevin(KELVIN, 20.0, 10.0);
    system.barostat = Some(barostat());
    system
}

fn rescaling(reservoir: Reservoir, tau_fs: f64) -> Barostat {
    Barostat::CellRescaling(CellRescaling::new(reservoir, tau_fs, 10.0).unwrap())
}

/// Volumes of a long run; the barostat's work is what keeps the account.
fn volumes(system: &mut System, energy: &mut dyn PotentialEnergy, steps: u64) -> Vec<f64> {
    let flight = &mut FreeFlight { stride_fs: 10.0 };
    let mut recorder = Recorder::default();
    let options = Rollout { steps, interval: 2, energy: Some(energy), ..Rollout::default() };
    options.run_one(system, flight, &mut recorder).unwrap();
    assert!(system.is_alive(), "{:?}", system.failure);
    let h0 = recorder.frames[0].conserved.unwrap();
    let scale = recorder.frames.iter().fold(1.0f64, |m, f| m.max(f.potential.unwrap().abs() + f.kinetic));
    for frame in &recorder.frames {
        assert!((frame.conserved.unwrap() - h0).abs() < 1e-9 * scale * steps as f64, "heat and work are accounted for");
    }
    recorder.frames[recorder.frames.len() / 10..].iter().map(|f| det(&f.cell)).collect()
}

#[test]
fn an_ideal_gas_has_the_volume_of_theory_under_both_barostats() {
    // p(V) ∝ V^N·exp(−P·V/k_B·T): Γ(N + 1), mean (N + 1)·k_B·T/P, variance (N + 1)·(k_B·T/P)². 10⁵ strides and more.
    let (n, pressure) = (64.0, 200.0 * BAR);
    let length = KB * KELVIN / pressure;
    let wanted = ((n + 1.0) * length, (n + 1.0) * length * length);
    let edge = wanted.0.cbrt();
    let ideal = || OfVolume { stiffness: 0.0, rest: 0.0 };
    let exact = reservoir(pressure, 1.0 / pressure, Coupling::Isotropic);
    let mut monte_carlo = gas_of(4, edge, || Barostat::MonteCarlo(MonteCarlo::new(exact).unwrap()));
    let found = volumes(&mut monte_carlo, &mut ideal(), 100_000);
    assert_moments(&found, wanted.0, wanted.1, "V, Monte Carlo");
    let moves = monte_carlo.statistics.barostat;
    assert!(moves.tried == 100_000 && moves.accepted > 20_000 && moves.accepted < 80_000, "{moves:?}");
    let found = volumes(&mut gas_of(4, edge, || rescaling(exact, 1500.0)), &mut ideal(), 300_000);
    assert_moments(&found, wanted.0, wanted.1, "V, cell rescaling");
}

#[test]
fn a_stiff_volume_fluctuates_as_theory_says_under_both_barostats() {
    // p(V) ∝ V^N·exp(−(κ(V − V₀)²/2 + P·V)/k_B·T), by quadrature.
    let (rest, pressure, thermal) = (8000.0, 100.0 * BAR, KB * KELVIN);
    let stiffness = thermal / (0.03 * rest * 0.03 * rest);
    let (mut norm, mut first, mut second) = (0.0, 0.0, 0.0);
    for at in 1..40_000 {
        let v = 0.5 * f64::from(at);
        let weight =
            (27.0 * (v / rest).ln() - (0.5 * stiffness * (v - rest).powi(2) + pressure * (v - rest)) / thermal).exp();
        norm += weight;
        first += weight * v;
        second += weight * v * v;
    }
    let (mean, variance) = (first / norm, second / norm - (first / norm).powi(2));
    let r = reservoir(pressure, 1.0 / (stiffness * rest), Coupling::Isotropic);
    let surface = || OfVolume { stiffness, rest };
    let mut monte_carlo = gas(20.0, || Barostat::MonteCarlo(MonteCarlo::new(r).unwrap()));
    assert_moments(&volumes(&mut monte_carlo, &mut surface(), 100_000), mean, variance, "V, Monte Carlo");
    let found = volumes(&mut gas(20.0, || rescaling(r, 500.0)), &mut surface(), 200_000);
    assert_moments(&found, mean, variance, "V, cell rescaling");
}

#[test]
fn edges_fluctuate_independently_under_anisotropic_coupling() {
    // p(L) ∝ Π_k L_k^N·exp(−κ(L_k − L₀)²/2k_B·T) at P = 0: the edges are independent, each by quadrature.
    let (rest, thermal) = (20.0f64, KB * KELVIN);
    let stiffness = thermal / (0.02 * rest * 0.02 * rest);
    let (mut norm, mut first, mut second) = (0.0, 0.0, 0.0);
    for at in 1..60_000 {
        let l = 1e-3 * f64::from(at);
        let weight = (27.0 * (l / rest).ln() - 0.5 * stiffness * (l - rest).powi(2) / thermal).exp();
        norm += weight;
        first += weight * l;
        second += weight * l * l;
    }
    let (mean, variance) = (first / norm, second / norm - (first / norm).powi(2));
    // V·∂²U/∂V² of one edge alone, roughly.
    let r = reservoir(0.0, rest / stiffness, Coupling::Anisotropic);
    for (name, barostat) in
        [("Monte Carlo", Barostat::MonteCarlo(MonteCarlo::new(r).unwrap())), ("cell rescaling", rescaling(r, 500.0))]
    {
        let mut system = gas(rest, || barostat.clone());
        let flight = &mut FreeFlight { stride_fs: 10.0 };
        let mut surface = OfEdges { stiffness, rest };
        let mut recorder = Recorder::default();
        let options = Rollout { steps: 200_000, interval: 2, energy: Some(&mut surface), ..Rollout::default() };
        options.run_one(&mut system, flight, &mut recorder).unwrap();
        assert!(system.is_alive(), "{:?}", system.failure);
        let kept = &recorder.frames[recorder.frames.len() / 10..];
        for k in 0..3 {
            let edges: Vec<f64> = kept.iter().map(|f| f.cell[k][k]).collect();
            assert_moments(&edges, mean, variance, &format!("edge {k}, {name}"));
        }
        let product: Vec<f64> = kept.iter().map(|f| (f.cell[0][0] - mean) * (f.cell[1][1] - mean)).collect();
        let (correlation, error) = mean_and_error(&product);
        assert!(correlation.abs() < SIGMAS * error.max(1e-3 * variance), "{name}: {correlation} ± {error}");
    }
}

#[test]
fn pressure_is_the_derivative_of_the_free_energy_by_the_volume() {
    // −dH/dV of a dilation of molecules, positions × f and momenta / f, by central differences, and k_B·T/V.
    let (mut state, molecules) = water_like();
    let mut surface = Surface(LennardJones::new(0.0104, 3.4, 7.0));
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

#[test]
fn barostats_refuse_what_they_cannot_scale() {
    let r = reservoir(BAR, 4.5e-5 / BAR, Coupling::Isotropic);
    let run = |mut system: System, surface: Option<&mut dyn PotentialEnergy>| {
        let options = Rollout { steps: 3, energy: surface, ..Rollout::default() };
        options.run_one(&mut system, &mut FreeFlight { stride_fs: 10.0 }, &mut Recorder::default()).unwrap_err()
    };
    let mut slab = gas(20.0, || rescaling(r, 1000.0));
    slab.state.cell = Cell::new(*slab.state.cell.matrix(), [true, true, false]).unwrap();
    let mut surface = OfVolume { stiffness: 0.0, rest: 0.0 };
    assert!(run(slab, Some(&mut surface)).to_string().contains("periodic along all axes"));
    let mut fixed = gas(20.0, || rescaling(r, 1000.0));
    fixed.state = fixed.state.with_fixed((0..27).map(|i| i == 0).collect()).unwrap();
    assert!(run(fixed, Some(&mut surface)).to_string().contains("some atoms are fixed"));
    assert!(run(gas(20.0, || rescaling(r, 1000.0)), None).to_string().contains("a barostat needs an energy model"));
    for (reservoir, tau) in [
        (Reservoir { pressure: f64::NAN, ..r }, 1000.0),
        (Reservoir { compressibility: 0.0, ..r }, 1000.0),
        (Reservoir { temperature: 0.0, ..r }, 1000.0),
        (Reservoir { interval: 0, ..r }, 1000.0),
        (Reservoir { interval: 200, ..r }, 1000.0),
        (r, -1.0),
    ] {
        assert!(matches!(CellRescaling::new(reservoir, tau, 10.0), Err(Error::Input(_))), "{reservoir:?}, {tau} fs");
    }
}

#[test]
fn a_barostat_that_would_tear_the_cell_says_so() {
    let r = reservoir(1e6 * BAR, 4.5e-5 / BAR, Coupling::Isotropic);
    let mut system = gas(20.0, || rescaling(r, 100.0));
    let mut surface = OfVolume { stiffness: 0.0, rest: 0.0 };
    let options = Rollout { steps: 3, energy: Some(&mut surface), ..Rollout::default() };
    options.run_one(&mut system, &mut FreeFlight { stride_fs: 10.0 }, &mut Recorder::default()).unwrap();
    let failure = system.failure.unwrap();
    assert_eq!(failure.quantity, "volume", "{}", failure.message);
}

// --------------------------------------------------------------------------------------------- Metropolis

/// Eight atoms tied to their sites, in strides of `reach` times the longest that velocity Verlet stands, 2/ω.
fn tied(reach: f64, kelvin: f64) -> (System, Verlet<Harmonic>, Surface<Harmonic>) {
    let (k, m) = (2.0, 4.0f64);
    let mut state = lattice(2, 3.0, 0.0, [m, m], 3);
    thermal(&mut state, kelvin, &mut numbers(5));
    let sites = state.positions.clone();
    let stride_fs = reach * 2.0 * (m / k).sqrt() / FS;
    let mut system = System::new(state);
    system.thermostat = langevin(kelvin, 5.0 * stride_fs, stride_fs);
    system.metropolis = Some(Metropolis::new(kelvin).unwrap());
    let forces = Harmonic { sites: sites.clone(), k };
    (system, Verlet { forces, stride_fs, substeps: 1, defect: 1.0 }, Surface(Harmonic { sites, k }))
}

#[test]
fn metropolis_takes_the_bias_of_long_strides_away() {
    // Velocity Verlet samples a potential 1 − (ωΔt/2)² times as stiff: its mean energy is too high by the inverse of that
    // for all but the three modes of the centre of mass, which the bath leaves alone and which begin at rest, at zero.
    const KELVIN: f64 = 300.0;
    const REACH: f64 = 0.6;
    let modes = 21.0;
    for tested in [true, false] {
        let (mut system, mut verlet, mut surface) = tied(REACH, KELVIN);
        if !tested {
            system.metropolis = None;
        }
        let potential =
            sample(&mut system, &mut verlet, Some(&mut surface), 100_000, 2, |f| f.potential.unwrap_or(f64::NAN));
        let bias = if tested { 1.0 } else { 1.0 - REACH * REACH };
        assert_mean(&potential, 0.5 * modes * KB * KELVIN / bias, &format!("V, tested: {tested}"));
        let moves = system.statistics.metropolis;
        if tested {
            assert_eq!(moves.tried, 100_000);
            let variance = 0.5 * modes * (KB * KELVIN).powi(2);
            assert_moments(&potential, 0.5 * modes * KB * KELVIN, variance, "V under the test");
            assert!(moves.accepted > 20_000 && moves.accepted < 50_000, "{moves:?}");
        }
    }
}

#[test]
fn a_stride_that_is_turned_down_leaves_the_atoms_and_turns_internal_momenta_round() {
    struct EverHigher(f64);
    impl PotentialEnergy for EverHigher {
        fn energy(&mut self, _: &State) -> flashmd::Result<f64> {
            self.0 += 1e3;
            Ok(self.0)
        }
    }
    let (mut system, mut verlet, _) = tied(0.1, 300.0);
    system.thermostat = langevin(300.0, 1e15, verlet.stride_fs);
    system.state.momenta.iter_mut().for_each(|p| p[0] += 0.25);
    let start = system.state.clone();
    let options = Rollout { steps: 3, energy: Some(&mut EverHigher(0.0)), ..Rollout::default() };
    options.run_one(&mut system, &mut verlet, &mut Recorder::default()).unwrap();
    assert_eq!(system.state.positions, start.positions);
    for (now, then) in system.state.internal_momenta().zip(start.internal_momenta()) {
        assert!((0..3).all(|c| (now[c] + then[c]).abs() < 1e-6), "{now:?}, {then:?}");
    }
    assert!((system.state.total_momentum()[0] - 2.0).abs() < 1e-9);
    assert_eq!((system.statistics.metropolis.tried, system.statistics.metropolis.accepted), (3, 0));
}

#[test]
fn metropolis_refuses_what_would_bias_it() {
    let run = |spoil: &dyn Fn(&mut System), energy: bool| {
        let (mut system, mut verlet, mut surface) = tied(0.1, 300.0);
        spoil(&mut system);
        let energy = energy.then_some(&mut surface as &mut dyn PotentialEnergy);
        let options = Rollout { steps: 1, energy, ..Rollout::default() };
        options.run_one(&mut system, &mut verlet, &mut Recorder::default()).unwrap_err().to_string()
    };
    assert!(run(&|_| (), false).contains("metropolis needs an energy model"));
    assert!(run(&|s| s.thermostat = None, true).contains("needs a thermostat"));
    assert!(run(&|s| s.rescaling = Some(Rescaling::default()), true).contains("rescale_energy"));
    let r = reservoir(BAR, 4.5e-5 / BAR, Coupling::Isotropic);
    assert!(run(&|s| s.barostat = Some(rescaling(r, 1000.0)), true).contains("monte_carlo"));
    let falling = || GuardPolicy::fallback(1, 0.5, 5.0).unwrap();
    assert!(run(&|s| s.guard = Some(falling()), true).contains("another guard"));
    let (mut system, _, mut surface) = tied(0.1, 300.0);
    system.thermostat = langevin(300.0, 50.0, 5.0);
    let options = Rollout { steps: 1, energy: Some(&mut surface), ..Rollout::default() };
    let flight = &mut FreeFlight { stride_fs: 5.0 };
    let error = options.run_one(&mut system, flight, &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("strides are reversible"), "{error}");
    assert!(Metropolis::new(0.0).is_err() && Metropolis::new(f64::NAN).is_err());
}

// ---------------------------------------------------------------------------------------------- rescaling

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
        let (mut state, mut tally) = (start.clone(), RescalingStatistics::default());
        let done = Rescaling::new(Scope::Global, 0.1, fallback).unwrap().apply(&mut state, target, 0.0, &mut tally);
        (done, state.internal_kinetic_energy() / k0, tally)
    };
    assert!(apply(BeyondLimit::Stop, 2.0 * k0).0.is_err());
    let (done, ratio, tally) = apply(BeyondLimit::Skip, 2.0 * k0);
    assert!(done.is_ok() && ratio == 1.0 && (tally.count, tally.skipped, tally.clamped) == (0, 1, 0));
    for (target, alpha) in [(2.0 * k0, 1.1f64), (0.1 * k0, 0.9), (-3.0, 0.9)] {
        let (done, ratio, tally) = apply(BeyondLimit::Clamp, target);
        assert!(done.is_ok() && (ratio - alpha * alpha).abs() < 1e-12, "target {target}: {ratio}");
        assert_eq!((tally.count, tally.skipped, tally.clamped), (1, 0, 1));
    }
    // A propagator that loses a third of the momenta at one stride: clamping pays the debt over the next ones.
    let mut system = System::new(start.clone());
    system.rescaling = Some(Rescaling::new(Scope::Global, 0.1, BeyondLimit::Clamp).unwrap());
    let mut surface = OfVolume { stiffness: 0.0, rest: 0.0 };
    let options = Rollout { steps: 10, interval: 1, energy: Some(&mut surface), ..Rollout::default() };
    let mut recorder = Recorder::default();
    options.run_one(&mut system, &mut Stumbles, &mut recorder).unwrap();
    assert!(recorder.frames[3].kinetic < 0.6 * k0);
    assert!((recorder.frames[10].kinetic / k0 - 1.0).abs() < 1e-9 && system.statistics.rescaling.clamped > 1);
    for limit in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(Rescaling::new(Scope::Global, limit, BeyondLimit::Stop).is_err());
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
