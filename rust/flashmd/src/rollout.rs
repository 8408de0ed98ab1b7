//! The loop: filters around a propagator, a guard after every stride, frames to an observer.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::energy::PotentialEnergy;
use crate::error::{Error, Result};
use crate::guard::Finding;
use crate::network::Timing;
use crate::state::State;
use crate::surface::Surface;
use crate::system::System;
use crate::units::{FS, FS_PER_PS};

/// Advances states by one stride.
pub trait Propagator {
    /// Length of a stride, fs.
    fn stride_fs(&self) -> f64;

    /// Moves positions and momenta by one stride; step and time are the loop's.
    ///
    /// # Errors
    /// `Stability` if the result cannot be used.
    fn advance(&mut self, state: &mut State) -> Result<()>;

    /// Moves every state by one stride; each has its own result.
    ///
    /// # Errors
    /// What ends the whole batch.
    fn advance_all(&mut self, states: &mut [&mut State]) -> Result<Vec<Result<()>>> {
        Ok(states.iter_mut().map(|state| self.advance(state)).collect())
    }

    /// What was out of bounds about the state that was `at` that place in the last call, before it was moved.
    fn findings(&mut self, _at: usize) -> Vec<Finding> {
        Vec::new()
    }

    /// True if a stride is undone by itself with momenta reversed, and keeps the volume of phase space.
    fn is_reversible(&self) -> bool {
        false
    }

    /// Time spent so far, if it is counted.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// What solving the equation of its strides took, if they have one.
    fn solver(&self) -> Option<Solver> {
        None
    }
}

/// Strides whose equation was solved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Solver {
    /// Strides, of all systems.
    pub strides: u64,
    /// Sweeps in all of them.
    pub sweeps: u64,
    /// Most sweeps of one.
    pub most_sweeps: u64,
    /// Largest residual that was accepted, as a share of the rms momentum.
    pub largest_residual: f64,
}

impl Solver {
    /// Counts one stride.
    pub fn count(&mut self, sweeps: u64, residual: f64) {
        self.strides += 1;
        self.sweeps += sweeps;
        self.most_sweeps = self.most_sweeps.max(sweeps);
        self.largest_residual = self.largest_residual.max(residual);
    }
}

/// What an observer sees of a kept frame.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Which system of the run it belongs to.
    pub system: usize,
    /// The state; its positions are unwrapped.
    pub state: &'a State,
    /// Simulated time, fs.
    pub time_fs: f64,
    /// Potential energy, eV, if there is an energy model.
    pub potential_energy: Option<f64>,
    /// Kinetic plus potential energy minus the heat of the thermostat and the work of the barostat, eV.
    pub conserved_energy: Option<f64>,
}

/// Sees frames, saves checkpoints, and may stop the run.
pub trait Observer {
    /// Everything was found good, and the run begins: the place to open files.
    ///
    /// # Errors
    /// `Callback`; it ends the run and passes through.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// A frame to keep: step 0, every multiple of the interval, the last one.
    ///
    /// # Errors
    /// `Callback`; it ends the run and passes through.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<ControlFlow<()>>;

    /// After every stride, kept or not: the place to look for Ctrl-C.
    ///
    /// # Errors
    /// `Callback` or `Interrupted`; it ends the run and passes through.
    fn stride(&mut self, _state: &State) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// Quantities that have just gone out of bounds, and the state that did so.
    ///
    /// # Errors
    /// `Callback`; it ends the run and passes through.
    fn flagged(&mut self, _system: usize, _findings: &[Finding], _state: &State) -> Result<()> {
        Ok(())
    }

    /// A point to restart from, after the frames of its step.
    ///
    /// # Errors
    /// `Callback` or `Checkpoint`; it ends the run and passes through.
    fn checkpoint(&mut self, _systems: &[System]) -> Result<()> {
        Ok(())
    }
}

/// How to run.
#[derive(Default)]
pub struct Rollout<'a> {
    /// Strides to do.
    pub steps: u64,
    /// Strides between kept frames; 0 keeps the first and the last only.
    pub interval: u64,
    /// Strides between checkpoints; `None` saves none. One is also saved at the start, at the end, and when the observer
    /// ends the run.
    pub checkpoint_interval: Option<u64>,
    /// The run goes on from a checkpoint: what was due at its step is already kept.
    pub resumed: bool,
    /// Potential energy, evaluated at kept frames and where filters need it.
    pub energy: Option<&'a mut dyn PotentialEnergy>,
}

/// What a run did; the accounts of each system are its [`Ledger`](crate::system::Ledger).
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Strides done.
    pub steps: u64,
    /// Wall time.
    pub total: Duration,
    /// Time of the propagator by phase.
    pub propagator: Timing,
    /// Time in the energy model.
    pub energy: Duration,
    /// Time in the observer.
    pub observer: Duration,
    /// What solving strides took.
    pub solver: Option<Solver>,
}

/// Strides that the systems of a run have done: those that failed stayed behind.
pub fn common_step(systems: &[System]) -> u64 {
    systems.iter().map(|s| s.state.step).max().unwrap_or(0)
}

impl Rollout<'_> {
    /// Runs `systems`, all that have not failed at the same step, to the end, or until the observer stops them or all have failed.
    ///
    /// A system that fails keeps its error in [`System::failure`] and leaves the others alone.
    ///
    /// # Errors
    /// `Input` if options and systems contradict each other; what ends the whole batch; whatever the observer returned.
    pub fn run(
        self,
        systems: &mut [System],
        propagator: &mut dyn Propagator,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let step = common_step(systems);
        if systems.iter().any(|s| s.is_alive() && s.state.step != step) {
            return Err(Error::Input("the replicas of a run must be at the same step".into()));
        }
        let run = Run {
            last: step + self.steps,
            step,
            stride_fs: propagator.stride_fs(),
            surface: Surface::new(self.energy),
            interval: self.interval,
            checkpoint_interval: self.checkpoint_interval,
            resumed: self.resumed,
            systems,
            propagator,
            observer,
            report: Report::default(),
        };
        run.go()
    }
}

/// A run in progress.
struct Run<'r, 'a> {
    systems: &'r mut [System],
    propagator: &'r mut dyn Propagator,
    observer: &'r mut dyn Observer,
    surface: Surface<'a>,
    interval: u64,
    checkpoint_interval: Option<u64>,
    resumed: bool,
    stride_fs: f64,
    step: u64,
    last: u64,
    report: Report,
}

impl Run<'_, '_> {
    fn go(mut self) -> Result<Report> {
        let start = Instant::now();
        let before = self.propagator.timing();
        let mut flow = self.begin()?;
        while flow.is_continue() && self.step < self.last && self.systems.iter().any(System::is_alive) {
            self.stride()?;
            flow = self.observe()?;
        }
        let after = self.propagator.timing();
        self.report.propagator.neighbors = after.neighbors - before.neighbors;
        self.report.propagator.network = after.network - before.network;
        self.report.propagator.runs = after.runs - before.runs;
        self.report.solver = self.propagator.solver();
        self.report.energy = self.surface.spent();
        self.report.total = start.elapsed();
        Ok(self.report)
    }

    /// Accounts, and what is kept before the first stride.
    fn begin(&mut self) -> Result<ControlFlow<()>> {
        for system in self.systems.iter().filter(|s| s.is_alive()) {
            system.check(&self.surface, self.propagator.is_reversible())?;
        }
        self.each_alive(|system, surface| {
            system.open_account(surface)?;
            system.try_forces(surface)
        })?;
        self.observer.begin()?;
        if !self.resumed {
            let flow = self.keep()?;
            self.save()?;
            return Ok(flow);
        }
        // The last frame of a run is not part of its last checkpoint, unless it was due anyway.
        if self.step == self.last && !self.is_due() { self.keep() } else { Ok(ControlFlow::Continue(())) }
    }

    /// Runs `f` on every system that has not failed; an instability ends that system, any other error the run.
    fn each_alive(&mut self, mut f: impl FnMut(&mut System, &mut Surface<'_>) -> Result<()>) -> Result<()> {
        for system in self.systems.iter_mut().filter(|s| s.is_alive()) {
            settle(f(system, &mut self.surface), system, self.step, self.stride_fs)?;
        }
        Ok(())
    }

    /// O(½) · stride · guard · Metropolis · rescale · barostat · O(½), on all systems.
    fn stride(&mut self) -> Result<()> {
        self.step += 1;
        self.each_alive(System::before_stride)?;
        let moving = self.systems.iter_mut().filter(|s| s.is_alive() && !s.is_falling_back());
        let mut moving: Vec<&mut State> = moving.map(|s| &mut s.state).collect();
        let mut moved =
            if moving.is_empty() { Vec::new() } else { self.propagator.advance_all(&mut moving)? }.into_iter();
        let (step, time, stride_fs) = (self.step, self.step as f64 * self.stride_fs * FS, self.stride_fs);
        let (mut at, mut flagged) = (0, Vec::new());
        let propagator = &mut *self.propagator;
        for (number, system) in self.systems.iter_mut().enumerate().filter(|(_, s)| s.is_alive()) {
            let surface = &mut self.surface;
            let mut go_on = || {
                if system.is_falling_back() {
                    system.fall_back(stride_fs, surface)?;
                } else {
                    let (result, findings) = (moved.next().unwrap_or(Ok(())), propagator.findings(at));
                    at += 1;
                    let fresh = system.judge(result, findings, stride_fs, surface)?;
                    flagged.extend((!fresh.is_empty()).then_some((number, fresh)));
                }
                system.after_stride(surface)?;
                (system.state.step, system.state.time) = (step, time);
                system.remember();
                Ok(())
            };
            settle(go_on(), system, step, stride_fs)?;
        }
        self.report.steps += 1;
        for (number, findings) in flagged {
            self.observer.flagged(number, &findings, self.systems[number].before())?;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.interval > 0 && self.step.is_multiple_of(self.interval)
    }

    /// Frames, then the checkpoint that includes them, then a look at what the user wants.
    fn observe(&mut self) -> Result<ControlFlow<()>> {
        let (due, last) = (self.is_due(), self.step == self.last);
        let mut flow = if due { self.keep()? } else { ControlFlow::Continue(()) };
        let save = last || self.checkpoint_interval.is_some_and(|n| self.step.is_multiple_of(n));
        if save {
            self.save()?;
        }
        if last && !due {
            flow = self.keep()?;
        }
        let Some(state) = self.systems.iter().find(|s| s.is_alive()).map(|s| &s.state) else { return Ok(flow) };
        let start = Instant::now();
        let seen = self.observer.stride(state);
        self.report.observer += start.elapsed();
        if !save && !matches!(seen, Ok(ControlFlow::Continue(()))) {
            self.save()?;
        }
        let stop = seen?;
        if stop.is_break() && !due && !last {
            flow = self.keep()?;
        }
        Ok(if stop.is_break() { stop } else { flow })
    }

    /// Saves a checkpoint; one of nothing but failures would be no point to go on from.
    fn save(&mut self) -> Result<()> {
        if self.checkpoint_interval.is_none() || !self.systems.iter().any(System::is_alive) {
            return Ok(());
        }
        let start = Instant::now();
        let saved = self.observer.checkpoint(self.systems);
        self.report.observer += start.elapsed();
        saved
    }

    /// Gives the frame of every system that has not failed to the observer.
    fn keep(&mut self) -> Result<ControlFlow<()>> {
        // An energy that cannot be computed ends its system before its frame is kept.
        self.each_alive(|system, surface| system.potential(surface).map(drop))?;
        let mut flow = ControlFlow::Continue(());
        for (at, system) in self.systems.iter().enumerate().filter(|(_, s)| s.is_alive()) {
            let outside = system.ledger.heat + system.ledger.work;
            let frame = Frame {
                system: at,
                state: &system.state,
                time_fs: self.step as f64 * self.stride_fs,
                potential_energy: system.potential,
                conserved_energy: system.potential.map(|v| system.state.kinetic_energy() + v - outside),
            };
            let start = Instant::now();
            let seen = self.observer.frame(&frame);
            self.report.observer += start.elapsed();
            if seen?.is_break() {
                flow = ControlFlow::Break(());
            }
        }
        Ok(flow)
    }
}

/// An instability ends its system, any other error the run.
fn settle(result: Result<()>, system: &mut System, step: u64, stride_fs: f64) -> Result<()> {
    match result {
        Err(error @ Error::Stability(_)) => {
            system.fail(error, step, step as f64 * stride_fs / FS_PER_PS);
            Ok(())
        }
        done => done,
    }
}
