//! The loop: filters around a propagator, a guard after every stride, frames to an observer.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::constraints::rescale_to;
use crate::energy::PotentialEnergy;
use crate::error::{Error, GoodFrame, Result};
use crate::guard;
use crate::network::Timing;
use crate::state::State;
use crate::thermostat::{Half, Langevin};
use crate::units::{FS, FS_PER_PS};

/// Advances a state by one stride.
pub trait Propagator {
    /// Length of a stride, fs.
    fn stride_fs(&self) -> f64;

    /// Moves positions and momenta by one stride; step and time are the loop's.
    ///
    /// # Errors
    /// `Stability` if the result cannot be used.
    fn advance(&mut self, state: &mut State) -> Result<()>;

    /// Time spent so far, if it is counted.
    fn timing(&self) -> Timing {
        Timing::default()
    }
}

/// What an observer sees of a kept frame.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The state; its positions are unwrapped.
    pub state: &'a State,
    /// Simulated time, fs.
    pub time_fs: f64,
    /// Potential energy, eV, if there is an energy model.
    pub potential_energy: Option<f64>,
    /// Kinetic plus potential energy minus the heat given by the thermostat, eV.
    pub conserved_energy: Option<f64>,
}

/// Sees frames and may stop the run.
pub trait Observer {
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
}

/// How to run.
#[derive(Default)]
pub struct Rollout<'a> {
    /// Strides to do.
    pub steps: u64,
    /// Strides between kept frames; 0 keeps the first and the last only.
    pub interval: u64,
    /// Bath around every stride.
    pub thermostat: Option<Langevin>,
    /// Potential energy, evaluated at kept frames, and after every stride if `rescale`.
    pub energy: Option<&'a mut dyn PotentialEnergy>,
    /// Scale the momenta after every stride so that the conserved energy is.
    pub rescale: bool,
}

/// What a run did.
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
    /// Heat given by the thermostat, eV.
    pub heat: f64,
    /// What the rescaling did.
    pub rescale: Option<Rescale>,
}

/// Energy rescaling over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescale {
    /// Strides rescaled.
    pub count: u64,
    /// Smallest factor α on the momenta.
    pub alpha_min: f64,
    /// Largest factor.
    pub alpha_max: f64,
}

impl Rescale {
    const NONE: Self = Self { count: 0, alpha_min: f64::INFINITY, alpha_max: f64::NEG_INFINITY };

    fn add(&mut self, alpha: f64) {
        self.count += 1;
        self.alpha_min = self.alpha_min.min(alpha);
        self.alpha_max = self.alpha_max.max(alpha);
    }
}

impl Rollout<'_> {
    /// Runs to the end, or until the observer stops it.
    ///
    /// # Errors
    /// `Input` if the options contradict each other; `Stability` with step, time and the last good frame; whatever
    /// the observer returned.
    pub fn run(
        self,
        state: &mut State,
        propagator: &mut dyn Propagator,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        if self.rescale && self.energy.is_none() {
            return Err(Error::Input(
                "rescale_energy needs an energy model; give one, or turn rescale_energy off".into(),
            ));
        }
        let stride_fs = propagator.stride_fs();
        let report = Report { rescale: self.rescale.then_some(Rescale::NONE), ..Report::default() };
        let run = Run { options: self, propagator, observer, stride_fs, report, potential: None, target: 0.0 };
        run.go(state)
    }
}

/// A run in progress.
struct Run<'r, 'a> {
    options: Rollout<'a>,
    propagator: &'r mut dyn Propagator,
    observer: &'r mut dyn Observer,
    stride_fs: f64,
    report: Report,
    /// Potential energy of the current positions, if known.
    potential: Option<f64>,
    /// H at the start, eV.
    target: f64,
}

impl Run<'_, '_> {
    fn go(mut self, state: &mut State) -> Result<Report> {
        let start = Instant::now();
        let before = self.propagator.timing();
        let last = state.step + self.options.steps;
        let mut good = GoodFrame { positions: state.positions.clone(), momenta: state.momenta.clone() };
        let mut flow = self.begin(state).map_err(|e| e.at(state.step, self.time_ps(state.step), Some(good.clone())))?;
        while flow.is_continue() && state.step < last {
            let found = state.step + 1;
            self.stride(state).map_err(|e| e.at(found, self.time_ps(found), Some(good.clone())))?;
            good.positions.clone_from(&state.positions);
            good.momenta.clone_from(&state.momenta);
            flow = self
                .observe(state, state.step == last)
                .map_err(|e| e.at(found, self.time_ps(found), Some(good.clone())))?;
        }
        let after = self.propagator.timing();
        self.report.propagator.neighbors = after.neighbors - before.neighbors;
        self.report.propagator.network = after.network - before.network;
        self.report.total = start.elapsed();
        Ok(self.report)
    }

    fn time_ps(&self, step: u64) -> f64 {
        step as f64 * self.stride_fs / FS_PER_PS
    }

    /// Frame 0, and the energy to conserve.
    fn begin(&mut self, state: &State) -> Result<ControlFlow<()>> {
        guard::check_finite(state)?;
        if self.options.rescale {
            self.target = state.kinetic_energy() + self.potential_of(state)?.unwrap_or_default();
        }
        self.keep(state)
    }

    /// O(½) · stride · rescale · guard · O(½).
    fn stride(&mut self, state: &mut State) -> Result<()> {
        self.bath(state, Half::Before);
        self.propagator.advance(state)?;
        self.potential = None;
        guard::check_finite(state)?;
        self.rescale(state)?;
        self.bath(state, Half::After);
        guard::check_finite(state)?;
        state.step += 1;
        state.time = state.step as f64 * self.stride_fs * FS;
        self.report.steps += 1;
        Ok(())
    }

    fn bath(&mut self, state: &mut State, half: Half) {
        if let Some(thermostat) = &mut self.options.thermostat {
            self.report.heat += thermostat.apply(state, half);
        }
    }

    fn rescale(&mut self, state: &mut State) -> Result<()> {
        if self.options.rescale
            && let Some(potential) = self.potential_of(state)?
        {
            let alpha = rescale_to(state, self.target + self.report.heat, potential)?;
            if let Some(rescale) = &mut self.report.rescale {
                rescale.add(alpha);
            }
        }
        Ok(())
    }

    /// Potential energy of the current positions, computed at most once.
    fn potential_of(&mut self, state: &State) -> Result<Option<f64>> {
        if let (None, Some(energy)) = (self.potential, &mut self.options.energy) {
            let start = Instant::now();
            let potential = energy.energy(state)?;
            self.report.energy += start.elapsed();
            if !potential.is_finite() {
                let message = format!("the potential energy is {potential}; start from a relaxed structure");
                return Err(Error::unstable("potential energy", Vec::new(), message));
            }
            self.potential = Some(potential);
        }
        Ok(self.potential)
    }

    fn observe(&mut self, state: &State, last: bool) -> Result<ControlFlow<()>> {
        let start = Instant::now();
        let flow = self.observer.stride(state)?;
        self.report.observer += start.elapsed();
        let due = self.options.interval > 0 && state.step.is_multiple_of(self.options.interval);
        if last || due || flow.is_break() {
            let kept = self.keep(state)?;
            return Ok(if flow.is_break() { flow } else { kept });
        }
        Ok(flow)
    }

    fn keep(&mut self, state: &State) -> Result<ControlFlow<()>> {
        let potential_energy = self.potential_of(state)?;
        let conserved_energy = potential_energy.map(|v| state.kinetic_energy() + v - self.report.heat);
        let time_fs = state.step as f64 * self.stride_fs;
        let start = Instant::now();
        let flow = self.observer.frame(&Frame { state, time_fs, potential_energy, conserved_energy });
        self.report.observer += start.elapsed();
        flow
    }
}
