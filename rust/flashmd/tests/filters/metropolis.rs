//! The Metropolis test.

use crate::common::{AnalyticEnergy, FreeFlight, Harmonic, Recorder, Rollout, Verlet, lattice, numbers, thermal};
use crate::sampling::{assert_mean, assert_moments, langevin, sample};
use flashmd::State;
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, Reservoir};
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::rescaling::Rescaling;
use flashmd::potential_energy::PotentialEnergy;
use flashmd::run::System;
use flashmd::units::{BAR, FS, KB};

const KELVIN: f64 = 300.0;

fn reservoir(pressure: f64, compressibility: f64, coupling: Coupling) -> Reservoir {
    Reservoir { pressure, temperature: KELVIN, compressibility, coupling, interval: 1 }
}

fn rescaling(reservoir: Reservoir, tau_fs: f64) -> Barostat {
    Barostat::CellRescaling(CellRescaling::new(reservoir, tau_fs, 10.0).unwrap())
}

/// Eight atoms tied to their sites, in strides of `reach` times the longest that velocity Verlet stands, 2/ω.
fn tied(reach: f64, kelvin: f64) -> (System, Verlet<Harmonic>, AnalyticEnergy<Harmonic>) {
    let (k, m) = (2.0, 4.0f64);
    let mut state = lattice(2, 3.0, 0.0, [m, m], 3);
    thermal(&mut state, kelvin, &mut numbers(5));
    let sites = state.positions.clone();
    let stride_fs = reach * 2.0 * (m / k).sqrt() / FS;
    let mut system = System::new(state);
    system.thermostat = langevin(kelvin, 5.0 * stride_fs, stride_fs);
    system.metropolis = Some(Metropolis::new(kelvin).unwrap());
    let forces = Harmonic { sites: sites.clone(), k };
    (system, Verlet { forces, stride_fs, substeps: 1, defect: 1.0 }, AnalyticEnergy(Harmonic { sites, k }))
}

#[test]
fn metropolis_takes_the_bias_of_long_strides_away() {
    // Velocity Verlet samples a potential 1 − (ωΔt/2)² times as stiff: its mean energy is too high by the inverse of that
    // for all but the three modes of the centre of mass, which the thermostat leaves alone and which begin at rest, at zero.
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
