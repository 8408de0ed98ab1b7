//! Checkpoints and the guard, without a network.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{FreeFlight, Harmonic, LennardJones, Recorder, Rollout, Surface, Verlet, lattice, numbers, thermal};
use flashmd::error::{GoodFrame, Result};
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir};
use flashmd::filters::guard::{self, GuardPolicy};
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::molecules::Molecules;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, Scope};
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::verlet;
use flashmd::propagators::{Outcome, Propagator};
use flashmd::random::Key;
use flashmd::run::checkpoint;
use flashmd::run::{Frame, Observer, System};
use flashmd::units::BAR;
use flashmd::violation::{Quantity, Violation};
use flashmd::{Error, State};

const STRIDE_FS: f64 = 4.0;
const KELVIN: f64 = 90.0;

/// A file of its own for a test.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("flashmd-restart-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder.join("run.ckpt")
}

fn argon(seed: u64) -> State {
    let mut state = lattice(4, 3.9, 0.05, [39.948, 39.948], seed);
    thermal(&mut state, KELVIN, &mut numbers(seed + 1));
    state.key = Key { seed: 5, replica: seed };
    state
}

fn surface() -> Surface<LennardJones> {
    Surface(LennardJones::new(0.0103, 3.4, 7.0))
}

fn propagator() -> Verlet<LennardJones> {
    Verlet { forces: LennardJones::new(0.0103, 3.4, 7.0), stride_fs: STRIDE_FS, substeps: 1, defect: 0.9995 }
}

fn reservoir() -> Reservoir {
    Reservoir {
        pressure: 300.0 * BAR,
        temperature: KELVIN,
        compressibility: 2e-4 / BAR,
        coupling: Coupling::Anisotropic,
        interval: 3,
    }
}

/// Every filter there is, in three systems.
fn equip(system: &mut System, at: usize) {
    let langevin = || Thermostat::Langevin(Langevin::new(KELVIN, 50.0, STRIDE_FS).unwrap());
    let bussi = || Thermostat::Bussi(Bussi::new(KELVIN, 50.0, STRIDE_FS).unwrap());
    system.guard = Some(GuardPolicy::Report);
    match at {
        0 => {
            system.thermostat = Some(langevin());
            // So cold that strides are turned down.
            system.metropolis = Some(Metropolis::new(0.05).unwrap());
            system.barostat = Some(Barostat::MonteCarlo(MonteCarlo::new(reservoir()).unwrap()));
        }
        1 => {
            system.thermostat = Some(bussi());
            system.barostat =
                Some(Barostat::CellRescaling(CellRescaling::new(reservoir(), 2000.0, STRIDE_FS).unwrap()));
        }
        _ => {
            let labels = Scope::Groups((0..64).map(|i| i / 16).collect());
            system.rescaling = Some(Rescaling::new(labels, 0.25, BeyondLimit::Clamp).unwrap());
        }
    }
}

fn systems() -> Vec<System> {
    let mut systems: Vec<System> = (0..3).map(|r| System::new(argon(r))).collect();
    systems.iter_mut().enumerate().for_each(|(at, system)| equip(system, at));
    systems
}

fn run(systems: &mut Vec<System>, steps: u64, resumed: bool) {
    let mut energy = surface();
    let options = Rollout { steps, interval: 5, resumed, energy: Some(&mut energy), ..Rollout::default() };
    options.run(systems, &mut propagator(), &mut Recorder::default()).unwrap();
}

#[test]
fn a_run_from_a_checkpoint_gives_the_same_bits() {
    let path = scratch("bits");
    let mut whole = systems();
    run(&mut whole, 47, false);
    let mut part = systems();
    run(&mut part, 20, false);
    checkpoint::save(&path, &part, "abc", "what the caller said".into()).unwrap();
    let loaded = checkpoint::load(&path).unwrap();
    assert_eq!((loaded.header.step, loaded.header.model_sha256.as_str()), (20, "abc"));
    assert_eq!(loaded.header.run, "what the caller said");
    let starts: Vec<State> = (0..3).map(argon).collect();
    let mut rest = loaded.resume(&starts).unwrap();
    rest.iter_mut().enumerate().for_each(|(at, system)| equip(system, at));
    run(&mut rest, 27, true);
    for (a, b) in whole.iter().zip(&rest) {
        assert_eq!(a.state.positions, b.state.positions);
        assert_eq!(a.state.momenta, b.state.momenta);
        assert_eq!(a.state.cell, b.state.cell);
        assert_eq!(a.statistics, b.statistics);
        assert_eq!((a.state.step, a.state.time.to_bits()), (47, b.state.time.to_bits()));
    }
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let path = scratch("roundtrip");
    let mut state = argon(1).with_fixed((0..64).map(|i| i == 9).collect()).unwrap();
    (state.step, state.time) = (17, 0.25);
    let mut system = System::new(state);
    system.molecules = Molecules::find(&system.state, &[1.6; 64]).unwrap();
    let Error::Stability(failure) = Error::unstable("momentum", vec![3, 4], "too fast") else { panic!() };
    system.failure = Some(failure.at(17, 0.068, GoodFrame::default()));
    system.statistics.guard.counts[2] = 7;
    system.statistics.start_energy = Some(-1.5);
    checkpoint::save(&path, std::slice::from_ref(&system), "abc", String::new()).unwrap();
    let found = &checkpoint::load(&path).unwrap().systems[0];
    assert_eq!(found.state.fixed, system.state.fixed);
    assert_eq!(found.molecules, system.molecules);
    assert_eq!(found.statistics, system.statistics);
    assert_eq!(found.state.key, system.state.key);
    let e = found.failure.as_ref().unwrap();
    assert_eq!((e.step, &e.atoms, e.quantity.as_str()), (17, &vec![3, 4], "momentum"));
    assert_eq!(e.message, system.failure.as_ref().unwrap().message);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn the_checkpoint_before_is_kept_and_used() {
    let path = scratch("previous");
    let mut all = systems();
    checkpoint::save(&path, &all, "abc", "first".into()).unwrap();
    run(&mut all, 5, false);
    checkpoint::save(&path, &all, "abc", "second".into()).unwrap();
    assert_eq!(checkpoint::load(&path).unwrap().header.run, "second");
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&path, &whole[..length]).unwrap();
        let found = checkpoint::load(&path).unwrap();
        assert_eq!((found.header.run.as_str(), found.header.step), ("first", 0));
        assert!(found.passed_over.unwrap().contains("not a whole checkpoint"));
    }
    fs::remove_file(&path).unwrap();
    assert!(checkpoint::load(&path).unwrap().passed_over.unwrap().contains("cannot read the checkpoint"));
    fs::remove_file(path.with_file_name("run.ckpt.previous")).unwrap();
    assert!(matches!(checkpoint::load(&path), Err(Error::File { .. })));
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn verlet_conserves_and_comes_back() {
    let mut state = argon(2);
    let start = state.clone();
    let mut energy = surface();
    let total =
        |state: &State, energy: &mut Surface<LennardJones>| state.kinetic_energy() + energy.energy(state).unwrap();
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

/// Free flight that finds fault with chosen steps.
struct Fault {
    at: Vec<u64>,
    flight: FreeFlight,
    seen: Vec<u64>,
}

impl Propagator for Fault {
    fn stride_fs(&self) -> f64 {
        self.flight.stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let find = |step: u64| {
            let violation = Violation { quantity: Quantity::Density, atoms: vec![1], message: format!("at {step}") };
            if self.at.contains(&step) { vec![violation] } else { Vec::new() }
        };
        let violations: Vec<_> = states.iter().map(|state| find(state.step)).collect();
        self.seen.extend(states.iter().map(|state| state.step));
        self.flight.advance(states)?;
        Ok(violations.into_iter().map(|violations| Outcome { result: Ok(()), violations }).collect())
    }
}

/// Notes violations.
#[derive(Default)]
struct Notes(Vec<(u64, String)>);

impl Observer for Notes {
    fn frame(&mut self, _: &Frame<'_>) -> Result<()> {
        Ok(())
    }

    fn violations(&mut self, _system: usize, violations: &[Violation], state: &State) -> Result<()> {
        self.0.extend(violations.iter().map(|v| (state.step, v.message.clone())));
        Ok(())
    }
}

#[test]
fn a_fallback_takes_the_stride_back_and_lasts_as_long_as_asked() {
    let mut system = System::new(argon(3));
    system.guard = Some(GuardPolicy::fallback(2, 1.0, STRIDE_FS).unwrap());
    let mut fault = Fault { at: vec![3, 4, 8], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let sites = system.state.positions.clone();
    let mut energy = Surface(Harmonic { sites, k: 0.3 });
    let mut notes = Notes::default();
    let options = Rollout { steps: 11, energy: Some(&mut energy), ..Rollout::default() };
    let mut list = vec![system];
    options.run(&mut list, &mut fault, &mut notes).unwrap();
    // Step 4 is Verlet's, so the propagator is not asked about it.
    assert_eq!(fault.seen, [0, 1, 2, 3, 5, 6, 7, 8, 10]);
    assert_eq!(notes.0, [(3, "at 3".to_owned()), (8, "at 8".to_owned())]);
    let tally = list[0].statistics.guard;
    assert_eq!((tally.fallbacks, tally.fallback_left, tally.counts[Quantity::Density as usize]), (4, 0, 2));

    // The same by hand.
    let mut by_hand = argon(3);
    let mut energy = Surface(Harmonic { sites: by_hand.positions.clone(), k: 0.3 });
    for step in 0..11 {
        if [3, 4, 8, 9].contains(&step) {
            verlet::advance(&mut by_hand, STRIDE_FS, 1.0, &mut energy).unwrap();
        } else {
            FreeFlight { stride_fs: STRIDE_FS }.advance(&mut [&mut by_hand]).unwrap();
        }
    }
    assert_eq!(by_hand.positions, list[0].state.positions);
    assert_eq!(by_hand.momenta, list[0].state.momenta);
}

#[test]
fn stopping_ends_one_system_and_reporting_is_told_once_while_it_lasts() {
    let mut stopped = System::new(argon(3));
    stopped.guard = Some(GuardPolicy::Stop);
    let mut fault = Fault { at: vec![2], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let mut list = vec![stopped];
    Rollout { steps: 9, ..Rollout::default() }.run(&mut list, &mut fault, &mut Notes::default()).unwrap();
    let e = list[0].failure.as_ref().unwrap();
    assert_eq!((e.quantity.as_str(), e.atoms.as_slice(), e.step), ("density", &[1][..], 3));

    let mut reported = System::new(argon(3));
    reported.guard = Some(GuardPolicy::Report);
    let mut fault = Fault { at: vec![2, 3, 6], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let (mut notes, mut list) = (Notes::default(), vec![reported]);
    Rollout { steps: 9, ..Rollout::default() }.run(&mut list, &mut fault, &mut notes).unwrap();
    assert_eq!(notes.0.iter().map(|n| n.0).collect::<Vec<_>>(), [2, 6]);
    assert_eq!(list[0].statistics.guard.counts[Quantity::Density as usize], 3);
}

#[test]
fn explosion_and_freezing_are_told_from_fluctuations() {
    let state = argon(4);
    let kelvin = state.temperature();
    assert!(guard::check_temperature(&state, None, kelvin).is_none());
    for (factor, quantity) in [(3.5, Quantity::Explosion), (0.28, Quantity::Freezing)] {
        let mut other = state.clone();
        other.momenta.iter_mut().flatten().for_each(|p| *p *= factor);
        assert_eq!(guard::check_temperature(&other, None, kelvin).unwrap().quantity, quantity);
        assert_eq!(guard::check_temperature(&other, Some(kelvin), kelvin).unwrap().quantity, quantity);
        // A bath at its temperature, or a start from it, is no reason to worry.
        assert!(guard::check_temperature(&other, Some(factor * factor * kelvin), kelvin).is_none());
    }
    assert!(guard::check_temperature(&state, None, 0.0).is_none(), "a start at rest says nothing");
}
