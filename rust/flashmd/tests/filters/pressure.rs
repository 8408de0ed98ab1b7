//! The stress of frames: against a finite difference, the barostat's own pressure, and the ideal gas.

use crate::common::{
    AnalyticEnergy, FreeFlight, Harmonic, LennardJones, Recorder, Rollout, Verlet, lattice, numbers, thermal,
};
use crate::sampling::{SIGMAS, langevin, mean_and_error};
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir, pressure};
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::molecules::Molecules;
use flashmd::linalg::{IDENTITY, Mat3, dot, row_times, scale, sub};
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use flashmd::run::{Frame, System};
use flashmd::units::{BAR, KB};
use flashmd::{Cell, State};

const KELVIN: f64 = 120.0;

fn lennard_jones() -> AnalyticEnergy<LennardJones> {
    AnalyticEnergy(LennardJones::new(0.0104, 3.4, 7.0))
}

/// 64 atoms in a triclinic cell.
fn tilted() -> State {
    let mut state = lattice(4, 3.8, 0.1, [40.0, 20.0], 3);
    let edge = state.cell.matrix()[0][0];
    let shear = [[1.0, 0.0, 0.0], [0.2, 0.9, 0.0], [-0.1, 0.15, 1.1]];
    state.positions.iter_mut().for_each(|q| *q = row_times(*q, &shear));
    state.cell = Cell::new(shear.map(|row| scale(edge, row)), [true; 3]).unwrap();
    thermal(&mut state, KELVIN, &mut numbers(4));
    state
}

/// The stress of a frame of `state`.
fn stress(state: &State, energy: &mut dyn PotentialEnergy) -> Mat3 {
    let (_, virial) = energy.energy_and_virial(state).unwrap().unwrap();
    let potential_energy = Some(0.0);
    let frame =
        Frame { system: 0, state, time_fs: 0.0, potential_energy, virial: Some(virial), conserved_energy: None };
    frame.stress().unwrap()
}

/// K + V after r → r·(1 + ε), p → p·(1 + ε)⁻¹ for ε = `by` in one element.
fn strained(state: &State, energy: &mut dyn PotentialEnergy, (a, b): (usize, usize), by: f64) -> f64 {
    let mut strain = IDENTITY;
    strain[a][b] += by;
    let mut inverse = IDENTITY;
    inverse[b][a] = -by; // (1 + ε)⁻ᵀ to first order, exact for a ≠ b
    if a == b {
        inverse[a][a] = 1.0 / (1.0 + by);
    }
    let mut moved = state.clone();
    moved.cell = Cell::new(state.cell.matrix().map(|row| row_times(row, &strain)), [true; 3]).unwrap();
    moved.positions.iter_mut().for_each(|q| *q = row_times(*q, &strain));
    moved.momenta.iter_mut().for_each(|p| *p = row_times(*p, &inverse));
    energy.energy(&moved).unwrap() + moved.kinetic_energy()
}

#[test]
fn it_is_the_derivative_of_the_energy_in_a_triclinic_cell() {
    let (state, energy) = (tilted(), &mut lennard_jones());
    let found = stress(&state, energy);
    let size = found.iter().flatten().fold(0.0f64, |m, s| m.max(s.abs()));
    for a in 0..3 {
        for b in 0..3 {
            let h = 1e-5;
            let slope = (strained(&state, energy, (a, b), h) - strained(&state, energy, (a, b), -h)) / (2.0 * h);
            let wanted = slope / state.cell.volume();
            assert!((found[a][b] - wanted).abs() < 1e-6 * size, "{a}{b}: {} is not {wanted}", found[a][b]);
        }
    }
}

#[test]
fn it_is_the_barostats_pressure_where_every_atom_is_a_molecule() {
    let (state, energy) = (tilted(), &mut lennard_jones());
    let forces = energy.evaluate(&state).unwrap();
    let own = pressure(&state, &Molecules::single_atoms(state.len()), &forces, 0.0).unwrap();
    let found = stress(&state, energy);
    for k in 0..3 {
        assert!((found[k][k] + own[k]).abs() < 1e-12 * own[k].abs(), "{k}: {} is not {}", found[k][k], -own[k]);
    }
}

/// Pairs of atoms, each held together by a spring of rest length 0 (eV/Å²).
struct Springs(f64);

impl PotentialEnergy for Springs {
    fn energy(&mut self, state: &State) -> flashmd::Result<f64> {
        Ok(state.positions.chunks_exact(2).map(|q| 0.5 * self.0 * dot(sub(q[1], q[0]), sub(q[1], q[0]))).sum())
    }

    fn evaluate(&mut self, state: &State) -> flashmd::Result<EnergyForces> {
        let mut virial = [[0.0; 3]; 3];
        let mut forces = Vec::new();
        for q in state.positions.chunks_exact(2) {
            let d = sub(q[1], q[0]);
            forces.extend([scale(self.0, d), scale(-self.0, d)]);
            for a in 0..3 {
                for b in 0..3 {
                    virial[a][b] -= self.0 * d[a] * d[b];
                }
            }
        }
        Ok(EnergyForces { energy: self.energy(state)?, forces, virial: Some(virial) })
    }

    fn energy_and_virial(&mut self, state: &State) -> flashmd::Result<Option<(f64, Mat3)>> {
        let EnergyForces { energy, virial, .. } = self.evaluate(state)?;
        Ok(virial.map(|virial| (energy, virial)))
    }
}

#[test]
fn molecules_have_one_pressure_by_their_atoms_and_by_their_centres() {
    // Dimers that do not see each other, drawn from the canonical distribution: P·V = N_mol·k_B·T both ways.
    let (k, dimers, volume) = (0.5, 50usize, 8000.0f64);
    let edge = volume.cbrt();
    let cell = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]], [true; 3]).unwrap();
    let mut stream = numbers(11);
    let of = (0..2 * dimers as u32).map(|i| i / 2).collect();
    let molecules = Molecules { of, shifts: vec![[0; 3]; 2 * dimers], count: dimers };
    let (mut atomic, mut molecular) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        let mut positions = Vec::new();
        for _ in 0..dimers {
            let first = [stream.uniform(), stream.uniform(), stream.uniform()].map(|u| u * edge);
            positions.extend([first, sub(first, scale((KB * KELVIN / k).sqrt(), stream.normal3()))]);
        }
        let masses: Vec<f64> = (0..2 * dimers).map(|i| if i % 2 == 0 { 16.0 } else { 1.0 }).collect();
        let momenta = masses.iter().map(|m| scale((m * KB * KELVIN).sqrt(), stream.normal3())).collect();
        let state = State::new(positions, momenta, masses, vec![1; 2 * dimers], cell.clone()).unwrap();
        let tensor = stress(&state, &mut Springs(k));
        atomic.push(-(tensor[0][0] + tensor[1][1] + tensor[2][2]) / 3.0);
        let forces = Springs(k).evaluate(&state).unwrap();
        molecular.push(pressure(&state, &molecules, &forces, KB * KELVIN).unwrap().iter().sum::<f64>() / 3.0);
    }
    let wanted = dimers as f64 * KB * KELVIN / volume;
    for (name, found) in [("atoms", atomic), ("centres", molecular)] {
        let (mean, error) = mean_and_error(&found);
        assert!((mean - wanted).abs() < SIGMAS * error && error < 0.02 * wanted, "{name}: {mean} ± {error}, {wanted}");
    }
}

/// Lennard-Jones, and how often its virial was asked for.
struct Counted {
    inner: AnalyticEnergy<LennardJones>,
    virials: usize,
}

impl PotentialEnergy for Counted {
    fn energy(&mut self, state: &State) -> flashmd::Result<f64> {
        self.inner.energy(state)
    }

    fn evaluate(&mut self, state: &State) -> flashmd::Result<EnergyForces> {
        self.inner.evaluate(state)
    }

    fn energy_and_virial(&mut self, state: &State) -> flashmd::Result<Option<(f64, Mat3)>> {
        self.virials += 1;
        self.inner.energy_and_virial(state)
    }
}

fn argon() -> System {
    let mut state = lattice(4, 3.8, 0.1, [40.0, 40.0], 3);
    thermal(&mut state, KELVIN, &mut numbers(4));
    System::new(state)
}

fn verlet() -> Verlet<LennardJones> {
    Verlet { forces: LennardJones::new(0.0104, 3.4, 7.0), stride_fs: 10.0, substeps: 4, defect: 1.0 }
}

#[test]
fn it_is_that_of_each_frame_under_whatever_moves_and_asked_for_frames_alone() {
    let reservoir = Reservoir {
        pressure: 300.0 * BAR,
        temperature: KELVIN,
        compressibility: 2e-4 / BAR,
        coupling: Coupling::Anisotropic,
        interval: 2,
    };
    let mut systems: Vec<System> = (0..4).map(|_| argon()).collect();
    systems.iter_mut().for_each(|system| system.thermostat = langevin(KELVIN, 50.0, 10.0));
    systems[1].barostat = Some(Barostat::MonteCarlo(MonteCarlo::new(reservoir).unwrap()));
    systems[2].barostat = Some(Barostat::CellRescaling(CellRescaling::new(reservoir, 2000.0, 10.0).unwrap()));
    systems[3].metropolis = Some(Metropolis::new(KELVIN).unwrap());
    for (number, mut system) in systems.into_iter().enumerate() {
        let mut energy = Counted { inner: lennard_jones(), virials: 0 };
        let mut recorder = Recorder::default();
        let options = Rollout { steps: 20, interval: 4, energy: Some(&mut energy), ..Rollout::default() };
        options.run_one(&mut system, &mut verlet(), &mut recorder).unwrap();
        assert!(system.is_alive(), "{:?}", system.failure);
        assert_eq!((recorder.frames.len(), energy.virials), (6, 6));
        for kept in recorder.frames {
            let mut state = system.state.clone();
            (state.positions, state.momenta) = (kept.positions, kept.momenta);
            state.cell = Cell::new(kept.cell, [true; 3]).unwrap();
            assert_eq!(kept.stress.unwrap(), stress(&state, &mut lennard_jones()), "system {number}");
        }
    }
}

#[test]
fn looking_at_it_changes_nothing() {
    let run = |interval: u64| {
        let mut system = argon();
        system.thermostat = langevin(KELVIN, 50.0, 10.0);
        system.metropolis = Some(Metropolis::new(KELVIN).unwrap());
        let mut energy = lennard_jones();
        let options = Rollout { steps: 20, interval, energy: Some(&mut energy), ..Rollout::default() };
        options.run_one(&mut system, &mut verlet(), &mut Recorder::default()).unwrap();
        (system.state.positions, system.state.momenta)
    };
    assert_eq!(run(1), run(20));
}

#[test]
fn no_volume_no_virial_no_stress() {
    let stresses = |mut system: System, energy: Option<&mut dyn PotentialEnergy>| {
        let mut recorder = Recorder::default();
        let options = Rollout { steps: 2, interval: 1, energy, ..Rollout::default() };
        options.run_one(&mut system, &mut FreeFlight { stride_fs: 10.0 }, &mut recorder).unwrap();
        assert!(system.is_alive(), "{:?}", system.failure);
        recorder.frames.iter().filter(|kept| kept.stress.is_some()).count()
    };
    let mut slab = argon();
    slab.state.cell = Cell::new(*slab.state.cell.matrix(), [true, true, false]).unwrap();
    assert_eq!(stresses(slab, Some(&mut lennard_jones())), 0);
    assert_eq!(stresses(argon(), None), 0);
    let sites = argon().state.positions;
    assert_eq!(stresses(argon(), Some(&mut AnalyticEnergy(Harmonic { sites, k: 1.0 }))), 0);
    assert_eq!(stresses(argon(), Some(&mut lennard_jones())), 3);
}
