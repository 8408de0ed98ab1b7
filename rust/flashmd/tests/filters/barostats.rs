//! Barostats against what statistical mechanics says they sample, and the molecules they scale.

use crate::common::{FreeFlight, Recorder, Rollout, lattice, numbers, thermal};
use crate::sampling::{SIGMAS, assert_moments, langevin, mean_and_error};
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir};
use flashmd::linalg::det;
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use flashmd::run::System;
use flashmd::units::{BAR, KB};
use flashmd::{Cell, Error, State};

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

/// Volumes of a long run; the barostat's work is what balances it.
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
