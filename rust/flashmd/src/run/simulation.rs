//! The loop of a simulation: filters around a propagator, a guard after every stride, frames to an observer.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::observer::{Frame, Observer};
use super::report::Report;
use super::schedule::Schedule;
use super::system::{Stride, System};
use super::timed_potential::TimedPotential;
use super::validation::validate;
use crate::error::{Error, Result};
use crate::potential_energy::PotentialEnergy;
use crate::propagators::{Outcome, Propagator};
use crate::state::{Placement, State};
use crate::units::{FS, FS_PER_PS};
use crate::violation::Violation;

/// Strides that the systems of a run have done: those that failed stayed behind.
pub fn common_step(systems: &[System]) -> u64 {
    systems.iter().map(|s| s.state.step).max().unwrap_or(0)
}

/// How far a simulation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Running,
    /// An error has left its systems between two states.
    Failed,
}

/// Systems, all that have not failed at the same step, and what moves them stride by stride.
///
/// The frames and states are the same bits however the strides are divided among calls of [`advance`](Self::advance).
pub struct Simulation<'a> {
    systems: Vec<System>,
    propagator: Box<dyn Propagator + 'a>,
    energy: TimedPotential<'a>,
    bias: TimedPotential<'a>,
    schedule: Schedule,
    stride_fs: f64,
    step: u64,
    /// Step of the last checkpoint.
    saved: Option<u64>,
    stage: Stage,
    steps_done: u64,
    spent: Duration,
    spent_observing: Duration,
}

impl<'a> Simulation<'a> {
    /// A checked simulation; nothing is computed or told to anyone yet.
    ///
    /// # Errors
    /// `Input` if systems, filters and propagator contradict each other; `Stability` for numbers that are not finite.
    pub fn new(
        mut systems: Vec<System>,
        propagator: Box<dyn Propagator + 'a>,
        energy: Option<Box<dyn PotentialEnergy + 'a>>,
        schedule: Schedule,
    ) -> Result<Self> {
        let step = common_step(&systems);
        if systems.iter().any(|s| s.is_alive() && s.state.step != step) {
            return Err(Error::Input("the replicas of a run must be at the same step".into()));
        }
        let energy = TimedPotential::new(energy);
        for system in systems.iter().filter(|s| s.is_alive()) {
            validate(system, energy.is_some(), propagator.is_reversible())?;
        }
        let recorded = schedule.resumed && (step == 0 || schedule.keeps_frame(step));
        systems.iter_mut().for_each(|system| system.recorded = recorded.then_some(step));
        Ok(Self {
            stride_fs: propagator.stride_fs(),
            saved: schedule.resumed.then_some(step),
            stage: Stage::New,
            steps_done: 0,
            spent: Duration::ZERO,
            spent_observing: Duration::ZERO,
            systems,
            propagator,
            energy,
            bias: TimedPotential::new(None),
            schedule,
            step,
        })
    }

    /// The simulation with a bias: a potential whose forces act as an impulse around each stride, half before it and half
    /// after, as the slow forces of r-RESPA do (Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992)).
    ///
    /// # Errors
    /// `Input` where the Metropolis test or a barostat would have to know it.
    pub fn with_bias(mut self, bias: Box<dyn PotentialEnergy + 'a>) -> Result<Self> {
        for system in &self.systems {
            let knows = [(system.metropolis.is_some(), "metropolis"), (system.barostat.is_some(), "a barostat")];
            if let Some((_, what)) = knows.iter().find(|(has, _)| *has) {
                return Err(Error::Input(format!("{what} does not know of a bias; leave one of them out")));
            }
        }
        self.bias = TimedPotential::new(Some(bias));
        Ok(self)
    }

    /// Energies to conserve and trial forces; then, unless the systems come from a checkpoint, the first frame and the
    /// first checkpoint. To be called once, before anything else.
    ///
    /// # Errors
    /// `Input` if it was called before; those of the energy; whatever the observer returned.
    pub fn start(&mut self, observer: &mut dyn Observer) -> Result<()> {
        match self.stage {
            Stage::New => self.stage = Stage::Failed,
            Stage::Running => {
                return Err(Error::Input("this simulation has been started before; call start once".into()));
            }
            Stage::Failed => return self.check_running(),
        }
        let begin = Instant::now();
        let started = self.open(observer);
        self.spent += begin.elapsed();
        started.map(|()| self.stage = Stage::Running)
    }

    fn open(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.each_alive(|system, energy| {
            system.start_accounting(energy)?;
            system.try_forces(energy)
        })?;
        if self.bias.is_some() {
            for system in self.systems.iter().filter(|s| s.is_alive()) {
                self.bias.with(|b| b.evaluate(&system.state))?;
            }
        }
        observer.begin()?;
        if self.schedule.resumed {
            return Ok(());
        }
        self.record_frames(observer)?;
        self.save(observer)
    }

    /// Moves every living system by `strides`; breaks if the observer ended the run or no system is left.
    ///
    /// A system that becomes unstable keeps why in [`System::failure`] and leaves the others alone.
    ///
    /// # Errors
    /// What ends the whole batch: the simulation then refuses to go on. Whatever the observer returned: it may go on, and
    /// gives the frames of that step again that were not kept.
    pub fn advance(&mut self, strides: u64, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        self.check_running()?;
        let begin = Instant::now();
        let flow = self.run(strides, observer);
        self.spent += begin.elapsed();
        flow
    }

    fn run(&mut self, strides: u64, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        self.keep_what_is_due(observer)?;
        for _ in 0..strides {
            if !self.is_alive() {
                break;
            }
            self.stride(observer)?;
            self.keep_what_is_due(observer)?;
            if self.observe(observer)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(if self.is_alive() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    /// Saves the checkpoint, if the run has them, then gives the current frame, each unless this was done at this step.
    ///
    /// [`advance`](Self::advance) may follow.
    ///
    /// # Errors
    /// Those of the energy; whatever the observer returned.
    pub fn finish(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.check_running()?;
        let begin = Instant::now();
        // The last frame of a run is not part of its last checkpoint, unless it was due anyway.
        let finished = self
            .keep_what_is_due(observer)
            .and_then(|()| self.save(observer))
            .and_then(|()| self.record_frames(observer));
        self.spent += begin.elapsed();
        finished
    }

    /// Checks that the systems are in a state to go on from.
    ///
    /// # Errors
    /// `Input` before [`start`](Self::start), and after an error that ended the whole batch.
    pub fn check_running(&self) -> Result<()> {
        match self.stage {
            Stage::Running => Ok(()),
            Stage::New => Err(Error::Input("this simulation has not begun; call start first".into())),
            Stage::Failed => Err(Error::Input(
                "this simulation ended with an error and cannot go on; go on from its checkpoint, or make a new one"
                    .into(),
            )),
        }
    }

    /// Puts the system numbered `number` where a host program has moved it; the next stride begins there.
    ///
    /// Where energies are accounted for, the change of K + V counts as work. What has been recorded at this step stays.
    ///
    /// # Errors
    /// `Input` for a system that does not exist or has failed, and as of [`State::check_placement`]; those of the energy.
    pub fn place(&mut self, number: usize, to: Placement) -> Result<()> {
        if self.stage == Stage::Failed {
            return self.check_running();
        }
        match self.systems.get_mut(number) {
            Some(system) if system.is_alive() => {
                if system.place(to, &mut self.energy)? {
                    // A checkpoint of this step holds the atoms where they were.
                    self.saved = None;
                }
                Ok(())
            }
            Some(_) => Err(Error::Input(format!("system {number} has failed and stays at its last good frame"))),
            None => Err(Error::Input(format!("there is no system {number}: there are {}", self.systems.len()))),
        }
    }

    /// The systems, those that failed included.
    pub fn systems(&self) -> &[System] {
        &self.systems
    }

    /// Takes the systems back.
    pub fn into_systems(self) -> Vec<System> {
        self.systems
    }

    /// Strides done by the systems that live.
    pub fn step(&self) -> u64 {
        common_step(&self.systems)
    }

    /// The current frame of the system numbered `number`; its energies if they are known already.
    pub fn frame(&self, number: usize) -> Option<Frame<'_>> {
        self.systems.get(number).map(|system| self.frame_of(number, system))
    }

    /// What was done so far.
    pub fn report(&self) -> Report {
        Report {
            steps: self.steps_done,
            total: self.spent,
            propagator: self.propagator.timing(),
            energy: self.energy.spent() + self.bias.spent(),
            observer: self.spent_observing,
            solver: self.propagator.solver(),
        }
    }

    /// True while a system lives.
    pub fn is_alive(&self) -> bool {
        self.systems.iter().any(System::is_alive)
    }

    /// Runs `f` on every system that has not failed; an instability ends that system, any other error the run.
    fn each_alive(&mut self, mut f: impl FnMut(&mut System, &mut TimedPotential<'_>) -> Result<()>) -> Result<()> {
        for system in self.systems.iter_mut().filter(|s| s.is_alive()) {
            end_if_unstable(f(system, &mut self.energy), system, self.step, self.stride_fs)?;
        }
        Ok(())
    }

    /// O(½) · B(½) · stride · guard · B(½) · Metropolis · rescale · barostat · O(½), on all systems.
    fn stride(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.stage = Stage::Failed;
        let violations = self.move_systems()?;
        self.stage = Stage::Running;
        self.steps_done += 1;
        for (number, fresh) in violations {
            observer.violations(number, &fresh, self.systems[number].before())?;
        }
        Ok(())
    }

    /// Returns the violations that are new, by number of the system.
    fn move_systems(&mut self) -> Result<Vec<(usize, Vec<Violation>)>> {
        self.step += 1;
        let Self { systems, energy, bias, step, stride_fs, .. } = self;
        for system in systems.iter_mut().filter(|s| s.is_alive()) {
            end_if_unstable(system.before_stride(energy, bias, *stride_fs), system, *step, *stride_fs)?;
        }
        let mut outcomes = self.propagate()?.into_iter();
        let stride =
            Stride { step: self.step, time: self.step as f64 * self.stride_fs * FS, stride_fs: self.stride_fs };
        let mut violations = Vec::new();
        for (number, system) in self.systems.iter_mut().enumerate().filter(|(_, s)| s.is_alive()) {
            let outcome = if system.is_falling_back() { None } else { outcomes.next() };
            let mut fresh = Vec::new();
            let done = system.complete_stride(outcome, stride, &mut self.energy, &mut self.bias, &mut fresh);
            violations.extend((!fresh.is_empty()).then_some((number, fresh)));
            end_if_unstable(done, system, self.step, self.stride_fs)?;
        }
        Ok(violations)
    }

    /// The propagator on all systems that are not moved otherwise; one outcome for each of them.
    fn propagate(&mut self) -> Result<Vec<Outcome>> {
        let moving = self.systems.iter_mut().filter(|s| s.is_alive() && !s.is_falling_back());
        let mut moving: Vec<&mut State> = moving.map(|s| &mut s.state).collect();
        if moving.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.propagator.advance(&mut moving)?;
        if outcomes.len() == moving.len() {
            return Ok(outcomes);
        }
        Err(Error::Defect(format!(
            "a propagator was given {} states and returned {} outcomes; there must be one for each",
            moving.len(),
            outcomes.len()
        )))
    }

    /// Frames, then the checkpoint that includes them.
    fn keep_what_is_due(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.schedule.keeps_frame(self.step) {
            self.record_frames(observer)?;
        }
        if self.schedule.saves_checkpoint(self.step) { self.save(observer) } else { Ok(()) }
    }

    /// What the user wants to see, and whether to go on.
    fn observe(&mut self, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        let living = self.systems.iter().enumerate().filter(|(_, s)| s.is_alive());
        let living: Vec<Frame<'_>> = living.map(|(number, system)| self.frame_of(number, system)).collect();
        if living.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let begin = Instant::now();
        let flow = observer.stride(&living);
        self.spent_observing += begin.elapsed();
        if flow.is_err() {
            self.save(observer)?;
        }
        flow
    }

    /// Saves a checkpoint, at most one a step; one of nothing but failures would be no point to go on from.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let wanted = self.schedule.checkpoint_interval.is_some() && self.saved != Some(self.step);
        if !wanted || !self.is_alive() {
            return Ok(());
        }
        let begin = Instant::now();
        let saved = observer.checkpoint(&self.systems);
        self.spent_observing += begin.elapsed();
        saved.map(|()| self.saved = Some(self.step))
    }

    /// Gives the frame of every system that has not failed to the observer, unless it has been given.
    fn record_frames(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let step = self.step;
        // An energy that cannot be computed ends its system before its frame is kept.
        self.each_alive(|system, energy| match system.recorded == Some(step) {
            true => Ok(()),
            false => system.measure(energy),
        })?;
        for number in 0..self.systems.len() {
            let system = &self.systems[number];
            if !system.is_alive() || system.recorded == Some(step) {
                continue;
            }
            let begin = Instant::now();
            let seen = observer.frame(&self.frame_of(number, system));
            self.spent_observing += begin.elapsed();
            seen?;
            self.systems[number].recorded = Some(step);
        }
        Ok(())
    }

    fn frame_of<'s>(&self, number: usize, system: &'s System) -> Frame<'s> {
        let outside = system.statistics.heat + system.statistics.work;
        Frame {
            system: number,
            state: &system.state,
            time_fs: system.state.step as f64 * self.stride_fs,
            potential_energy: system.potential,
            virial: system.virial,
            conserved_energy: system.potential.map(|v| system.state.kinetic_energy() + v - outside),
        }
    }
}

/// An instability ends its system, any other error the run.
fn end_if_unstable(result: Result<()>, system: &mut System, step: u64, stride_fs: f64) -> Result<()> {
    match result {
        Err(Error::Stability(instability)) => {
            system.fail(*instability, step, step as f64 * stride_fs / FS_PER_PS);
            Ok(())
        }
        done => done,
    }
}
