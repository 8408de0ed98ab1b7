//! Thermostats against what statistical mechanics says they sample.

use crate::common::{AnalyticEnergy, FreeFlight, Harmonic, Recorder, Rollout, Verlet, lattice, numbers, thermal};
use crate::sampling::{
    argon, assert_mean, assert_moments, bussi, chi_squared, langevin, run_system, sample, thermostatted,
};
use flashmd::Error;
use flashmd::filters::thermostat::Langevin;
use flashmd::linalg::{Vec3, dot, norm, sub};
use flashmd::run::System;
use flashmd::units::KB;

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
    let mut surface = AnalyticEnergy(Harmonic { sites: sites.clone(), k: 3.0 });
    let mut verlet = Verlet { forces: Harmonic { sites, k: 3.0 }, stride_fs: 4.0, substeps: 32, defect: 1.0 };
    let mut recorder = Recorder::default();
    let options = Rollout { steps: 4000, interval: 4, energy: Some(&mut surface), ..Rollout::default() };
    options.run_one(&mut system, &mut verlet, &mut recorder).unwrap();
    let h0 = recorder.frames[0].conserved.unwrap();
    assert!(recorder.frames.iter().all(|f| (f.conserved.unwrap() - h0).abs() < 2e-3 * h0));
    assert!(system.statistics.heat > 0.5 * h0, "half of the energy had to come from the thermostat");
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

#[test]
fn langevin_on_a_free_flight_gives_maxwell_boltzmann_per_species() {
    const KELVIN: f64 = 300.0;
    let state = lattice(4, 3.0, 0.0, [1.008, 15.999], 9);
    let (_, _, kept) = run_system(
        Rollout { steps: 6000, interval: 4, ..Rollout::default() },
        &mut thermostatted(&state, KELVIN, 20.0, 16.0, 11),
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

#[test]
fn langevin_keeps_the_total_momentum_and_counts_its_heat() {
    let mut state = argon(80.0);
    state.momenta.iter_mut().for_each(|p| p[2] += 0.7);
    let (momentum, before) = (state.total_momentum(), state.kinetic_energy());
    let mut system = thermostatted(&state, 300.0, 50.0, 4.0, 1);
    let options = Rollout { steps: 100, ..Rollout::default() };
    let (_, statistics, _) = run_system(options, &mut system, &mut FreeFlight { stride_fs: 4.0 });
    assert!(norm(sub(system.state.total_momentum(), momentum)) < 1e-9);
    assert!((system.state.kinetic_energy() - before - statistics.heat).abs() < 1e-9);
}

#[test]
fn langevin_at_zero_kelvin_cools_at_its_time_constant() {
    let mut system = thermostatted(&argon(80.0), 0.0, 100.0, 5.0, 1);
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
