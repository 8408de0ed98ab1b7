//! The loop in pieces: the same bits however a run is divided, and what is kept and told at which step.

use std::ops::ControlFlow;

use crate::common::{
    AnalyticEnergy, Forces, FreeFlight, Kept, LennardJones, Recorder, Rollout, Verlet, lattice, numbers, thermal,
};
use flashmd::error::Result;
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir};
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, Scope};
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::linalg::{Vec3, add, scale};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::{Outcome, Propagator};
use flashmd::random::{Key, Purpose};
use flashmd::run::{Frame, Observer, Schedule, Simulation, System};
use flashmd::units::{BAR, FS};
use flashmd::{Error, State};

const STRIDE_FS: f64 = 4.0;
const KELVIN: f64 = 90.0;

fn argon(seed: u64) -> State {
    let mut state = lattice(4, 3.9, 0.05, [39.948, 39.948], seed);
    thermal(&mut state, KELVIN, &mut numbers(seed + 1));
    state.key = Key { seed: 5, replica: seed };
    state
}

fn lennard_jones() -> LennardJones {
    LennardJones::new(0.0103, 3.4, 7.0)
}

fn energy() -> Option<Box<dyn PotentialEnergy>> {
    Some(Box::new(AnalyticEnergy(lennard_jones())))
}

/// Free flight with noise of its own, as a `direct` model with stochastic noise has.
struct Noisy;

impl Propagator for Noisy {
    fn stride_fs(&self) -> f64 {
        STRIDE_FS
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        for state in states.iter_mut() {
            let mut stream = state.stream(Purpose::StochasticNoise);
            state.momenta.iter_mut().for_each(|p| *p = add(*p, scale(1e-3, stream.normal3())));
            state.drift(STRIDE_FS * FS);
        }
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }
}

/// Kick, drift, kick that keeps the forces of its last kick, as a `splitting` model does.
struct Caching {
    forces: LennardJones,
    known: Vec<(Vec<Vec3>, Vec<Vec3>)>,
    evaluations: usize,
}

impl Caching {
    fn kick(&mut self, states: &mut [&mut State]) {
        let is_known = self.known.len() == states.len()
            && self.known.iter().zip(states.iter()).all(|(known, state)| known.0 == state.positions);
        if !is_known {
            self.evaluations += 1;
            let evaluate = |state: &&mut State| (state.positions.clone(), Forces::evaluate(&mut self.forces, state).1);
            self.known = states.iter().map(evaluate).collect();
        }
        for (state, (_, forces)) in states.iter_mut().zip(&self.known) {
            state.kick(forces, 0.5 * STRIDE_FS * FS);
        }
    }
}

impl Propagator for Caching {
    fn stride_fs(&self) -> f64 {
        STRIDE_FS
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        self.kick(states);
        states.iter_mut().for_each(|state| state.drift(STRIDE_FS * FS));
        self.kick(states);
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }

    fn is_reversible(&self) -> bool {
        true
    }
}

fn caching() -> Caching {
    Caching { forces: lennard_jones(), known: Vec::new(), evaluations: 0 }
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

fn langevin() -> Option<Thermostat> {
    Some(Thermostat::Langevin(Langevin::new(KELVIN, 50.0, STRIDE_FS).unwrap()))
}

/// Both thermostats, both barostats, the Metropolis test and rescaling, in four systems.
fn systems(reversible: bool) -> Vec<System> {
    let mut systems: Vec<System> = (0..4).map(|replica| System::new(argon(replica))).collect();
    systems.iter_mut().for_each(|system| system.guard = Some(GuardPolicy::Report));
    systems[0].thermostat = langevin();
    systems[0].barostat = Some(Barostat::MonteCarlo(MonteCarlo::new(reservoir()).unwrap()));
    systems[0].metropolis = reversible.then(|| Metropolis::new(0.05).unwrap());
    systems[1].thermostat = Some(Thermostat::Bussi(Bussi::new(KELVIN, 50.0, STRIDE_FS).unwrap()));
    let rescaling = CellRescaling::new(reservoir(), 2000.0, STRIDE_FS).unwrap();
    systems[1].barostat = Some(Barostat::CellRescaling(rescaling));
    systems[2].rescaling = Some(Rescaling::new(Scope::Global, 0.25, BeyondLimit::Clamp).unwrap());
    systems
}

fn schedule(interval: u64) -> Schedule {
    Schedule { interval, ..Schedule::default() }
}

/// Runs in pieces, each of them finished, and returns the systems and the frames of the beat.
fn in_pieces(propagator: Box<dyn Propagator>, pieces: &[u64], interval: u64) -> (Vec<System>, Vec<Kept>) {
    let systems = systems(propagator.is_reversible());
    let mut recorder = Recorder::default();
    let mut simulation = Simulation::new(systems, propagator, energy(), schedule(interval)).unwrap();
    simulation.start(&mut recorder).unwrap();
    for &strides in pieces {
        assert!(simulation.advance(strides, &mut recorder).unwrap().is_continue());
        simulation.finish(&mut recorder).unwrap();
    }
    recorder.frames.retain(|frame| frame.step.is_multiple_of(interval));
    (simulation.into_systems(), recorder.frames)
}

#[test]
fn a_run_in_pieces_gives_the_same_bits() {
    let verlet = || Verlet { forces: lennard_jones(), stride_fs: STRIDE_FS, substeps: 2, defect: 0.9995 };
    let kinds: [fn() -> Box<dyn Propagator>; 2] = [|| Box::new(Noisy), || Box::new(caching())];
    let verlet = || Box::new(verlet()) as Box<dyn Propagator>;
    for make in kinds.iter().map(|f| f as &dyn Fn() -> Box<dyn Propagator>).chain([&verlet as &dyn Fn() -> _]) {
        let (whole, frames) = in_pieces(make(), &[10], 2);
        for pieces in [&[3, 3, 4][..], &[1; 10], &[9, 0, 1]] {
            let (parts, same_frames) = in_pieces(make(), pieces, 2);
            assert_eq!(frames, same_frames, "{pieces:?}");
            for (a, b) in whole.iter().zip(&parts) {
                assert_eq!(
                    (&a.state.positions, &a.state.momenta),
                    (&b.state.positions, &b.state.momenta),
                    "{pieces:?}"
                );
                assert_eq!(
                    (&a.state.cell, a.state.step, a.statistics),
                    (&b.state.cell, 10, b.statistics),
                    "{pieces:?}"
                );
            }
        }
    }
}

#[test]
fn forces_of_the_last_kick_are_still_known_in_the_next_piece() {
    let mut propagator = caching();
    let mut simulation =
        Simulation::new(vec![System::new(argon(1))], Box::new(&mut propagator), None, schedule(0)).unwrap();
    let mut recorder = Recorder::default();
    simulation.start(&mut recorder).unwrap();
    for _ in 0..5 {
        let _ = simulation.advance(2, &mut recorder).unwrap();
        simulation.finish(&mut recorder).unwrap();
    }
    drop(simulation);
    assert_eq!(propagator.evaluations, 11, "one a stride, and the first");
}

/// Notes in which order it was told what; fails once where it is asked to.
#[derive(Default)]
struct Log {
    notes: Vec<String>,
    frame_fails_at: Option<u64>,
    stride_fails_at: Option<u64>,
    ends_at: Option<u64>,
}

fn callback(message: &str) -> Error {
    Error::Callback(message.into())
}

impl Observer for Log {
    fn begin(&mut self) -> Result<()> {
        self.notes.push("begin".into());
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        if self.frame_fails_at.take_if(|at| *at == frame.state.step && frame.system == 1).is_some() {
            return Err(callback("frame"));
        }
        self.notes.push(format!("frame {}/{}", frame.state.step, frame.system));
        Ok(())
    }

    fn checkpoint(&mut self, systems: &[System]) -> Result<()> {
        self.notes.push(format!("checkpoint {}", systems[0].state.step));
        Ok(())
    }

    fn stride(&mut self, living: &[Frame<'_>]) -> Result<ControlFlow<()>> {
        let step = living[0].state.step;
        self.notes.push(format!("stride {step}"));
        if self.stride_fails_at.take_if(|at| *at == step).is_some() {
            return Err(callback("stride"));
        }
        Ok(if self.ends_at == Some(step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Log {
    fn take(&mut self) -> String {
        std::mem::take(&mut self.notes).join(", ")
    }
}

fn flight(replicas: u64, schedule: Schedule) -> Simulation<'static> {
    let systems = (0..replicas).map(|replica| System::new(argon(replica))).collect();
    Simulation::new(systems, Box::new(FreeFlight { stride_fs: STRIDE_FS }), None, schedule).unwrap()
}

#[test]
fn frames_checkpoints_and_observers_come_in_their_order() {
    let mut log = Log::default();
    let mut simulation = flight(1, Schedule { interval: 2, checkpoint_interval: Some(3), resumed: false });
    assert_eq!(log.take(), "", "nobody is told before the start");
    simulation.start(&mut log).unwrap();
    assert_eq!(log.take(), "begin, frame 0/0, checkpoint 0");
    assert!(simulation.advance(3, &mut log).unwrap().is_continue());
    assert_eq!(log.take(), "stride 1, frame 2/0, stride 2, checkpoint 3, stride 3");
    simulation.finish(&mut log).unwrap();
    simulation.finish(&mut log).unwrap();
    assert_eq!(log.take(), "frame 3/0", "the checkpoint of this step is there already, and a frame is kept once");
    let _ = simulation.advance(1, &mut log).unwrap();
    simulation.finish(&mut log).unwrap();
    assert_eq!(log.take(), "frame 4/0, stride 4, checkpoint 4");
    assert_eq!((simulation.step(), simulation.report().steps), (4, 4));
}

#[test]
fn a_resumed_run_keeps_nothing_twice() {
    for (step, wanted) in [(4, ""), (5, "frame 5/0"), (0, "")] {
        let mut log = Log::default();
        let mut system = System::new(argon(0));
        system.state.step = step;
        let schedule = Schedule { interval: 2, checkpoint_interval: Some(5), resumed: true };
        let flight = Box::new(FreeFlight { stride_fs: STRIDE_FS });
        let mut simulation = Simulation::new(vec![system], flight, None, schedule).unwrap();
        simulation.start(&mut log).unwrap();
        simulation.finish(&mut log).unwrap();
        assert_eq!(log.take().trim_start_matches("begin").trim_start_matches(", "), wanted);
    }
}

#[test]
fn an_observer_ends_the_run_and_another_piece_may_follow() {
    let mut log = Log { ends_at: Some(2), ..Log::default() };
    let mut simulation = flight(1, Schedule { checkpoint_interval: Some(100), ..Schedule::default() });
    simulation.start(&mut log).unwrap();
    assert!(simulation.advance(9, &mut log).unwrap().is_break());
    simulation.finish(&mut log).unwrap();
    assert_eq!(log.take(), "begin, frame 0/0, checkpoint 0, stride 1, stride 2, checkpoint 2, frame 2/0");
    assert!(simulation.advance(1, &mut log).unwrap().is_continue());
}

#[test]
fn what_an_observer_raises_is_saved_before_and_the_run_may_go_on() {
    let mut log = Log { stride_fails_at: Some(2), ..Log::default() };
    let mut simulation = flight(1, Schedule { checkpoint_interval: Some(100), ..Schedule::default() });
    simulation.start(&mut log).unwrap();
    assert!(matches!(simulation.advance(3, &mut log), Err(Error::Callback(_))));
    let _ = simulation.advance(1, &mut log).unwrap();
    simulation.finish(&mut log).unwrap();
    assert_eq!(
        log.take(),
        "begin, frame 0/0, checkpoint 0, stride 1, stride 2, checkpoint 2, stride 3, checkpoint 3, frame 3/0"
    );
}

#[test]
fn a_frame_that_could_not_be_kept_is_given_again() {
    let mut log = Log { frame_fails_at: Some(2), ..Log::default() };
    let mut simulation = flight(3, Schedule { interval: 2, checkpoint_interval: Some(2), resumed: false });
    simulation.start(&mut log).unwrap();
    log.take();
    assert!(matches!(simulation.advance(3, &mut log), Err(Error::Callback(_))));
    assert_eq!(log.take(), "stride 1, frame 2/0", "no checkpoint says that it was kept");
    let _ = simulation.advance(1, &mut log).unwrap();
    assert_eq!(log.take(), "frame 2/1, frame 2/2, checkpoint 2, stride 3");
}

/// Says nothing about some of its states, or fails.
struct Broken {
    outcomes: usize,
}

impl Propagator for Broken {
    fn stride_fs(&self) -> f64 {
        STRIDE_FS
    }

    fn advance(&mut self, _: &mut [&mut State]) -> Result<Vec<Outcome>> {
        Ok(Outcome::without_violations((0..self.outcomes).map(|_| Ok(()))))
    }
}

#[test]
fn a_missing_outcome_is_an_error_and_the_run_refuses_to_go_on() {
    for outcomes in [0, 1, 3] {
        let systems = vec![System::new(argon(0)), System::new(argon(1))];
        let mut simulation =
            Simulation::new(systems, Box::new(Broken { outcomes }), None, Schedule::default()).unwrap();
        let mut log = Log::default();
        let words = |result: Result<()>| result.unwrap_err().to_string();
        assert!(words(simulation.finish(&mut log)).contains("call start first"));
        simulation.start(&mut log).unwrap();
        assert!(words(simulation.start(&mut log)).contains("started before"));
        let error = simulation.advance(1, &mut log).unwrap_err();
        assert!(
            matches!(&error, Error::Defect(m) if m.contains(&format!("2 states and returned {outcomes}"))),
            "{error}"
        );
        assert!(words(simulation.advance(1, &mut log).map(drop)).contains("go on from its checkpoint"));
        assert!(words(simulation.finish(&mut log)).contains("go on from its checkpoint"));
    }
}

#[test]
fn a_run_ends_when_no_system_is_left() {
    let mut state = argon(0);
    state.momenta[3][0] = 1e308;
    let mut systems = vec![System::new(state)];
    let mut log = Log::default();
    let flight = &mut FreeFlight { stride_fs: 1e12 };
    let report = Rollout { steps: 5, ..Rollout::default() }.run(&mut systems, flight, &mut log).unwrap();
    assert_eq!((report.steps, log.take().as_str()), (1, "begin, frame 0/0"));
    assert_eq!(systems[0].failure.as_ref().unwrap().quantity, "position");
}
