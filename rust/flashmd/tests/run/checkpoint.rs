//! Checkpoints, without a network.

use crate::common::{AnalyticEnergy, LennardJones, Recorder, Rollout, Verlet, lattice, numbers, thermal};
use flashmd::error::GoodFrame;
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir};
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::molecules::Molecules;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, Scope};
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::random::Key;
use flashmd::run::{System, checkpoint};
use flashmd::units::BAR;
use flashmd::{Error, State};
use std::fs;
use std::path::PathBuf;

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

fn surface() -> AnalyticEnergy<LennardJones> {
    AnalyticEnergy(LennardJones::new(0.0103, 3.4, 7.0))
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
    let options = Rollout { steps, interval: 5, resumed, energy: Some(&mut energy) };
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
fn files_of_other_schemas_are_refused_by_name() {
    let path = scratch("schema");
    checkpoint::save(&path, &systems(), "abc", String::new()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let this = b"\\\"schema\\\":4";
    let place = bytes.windows(this.len()).position(|window| window == this).unwrap();
    for (digit, words) in [(b'3', "it follows schema 3, this version reads schema 4"), (b'5', "it follows schema 5")] {
        let mut other = bytes.clone();
        other[place + this.len() - 1] = digit;
        fs::write(&path, &other).unwrap();
        let error = checkpoint::load(&path).unwrap_err();
        assert!(matches!(&error, Error::Checkpoint(message) if message.contains(words)), "{error}");
    }
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
