//! Velocity Verlet, which the guard falls back to.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{AnalyticEnergy, LennardJones, lattice, numbers, thermal};
use flashmd::State;
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::verlet;
use flashmd::random::Key;

const KELVIN: f64 = 90.0;

fn argon(seed: u64) -> State {
    let mut state = lattice(4, 3.9, 0.05, [39.948, 39.948], seed);
    thermal(&mut state, KELVIN, &mut numbers(seed + 1));
    state.key = Key { seed: 5, replica: seed };
    state
}

fn surface() -> AnalyticEnergy<LennardJones> {
    AnalyticEnergy(LennardJones::new(0.0103, 3.4, 7.0))
}

#[test]
fn verlet_conserves_and_comes_back() {
    let mut state = argon(2);
    let start = state.clone();
    let mut energy = surface();
    let total = |state: &State, energy: &mut AnalyticEnergy<LennardJones>| {
        state.kinetic_energy() + energy.energy(state).unwrap()
    };
    let before = total(&state, &mut energy);
    verlet::advance(&mut state, 200.0, 2.0, &mut energy).unwrap();
    assert!((total(&state, &mut energy) - before).abs() < 2e-4 * start.kinetic_energy());
    assert!(state.total_momentum().iter().all(|p| p.abs() < 1e-10));
    state.momenta.iter_mut().flatten().for_each(|p| *p = -*p);
    verlet::advance(&mut state, 200.0, 2.0, &mut energy).unwrap();
    let apart = state.positions.iter().flatten().zip(start.positions.iter().flatten());
    assert!(apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-9);
}

#[test]
fn verlet_holds_fixed_atoms() {
    let mut state = argon(2).with_fixed((0..64).map(|i| i % 7 == 0).collect()).unwrap();
    let start = state.clone();
    verlet::advance(&mut state, 100.0, 2.0, &mut surface()).unwrap();
    for i in (0..64).step_by(7) {
        assert_eq!((state.positions[i], state.momenta[i]), (start.positions[i], [0.0; 3]));
    }
}
