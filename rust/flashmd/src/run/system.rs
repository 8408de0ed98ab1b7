//! One simulation of a run: its state, what acts on it around each stride, and its accounts.

use super::timed_potential::TimedPotential;
use crate::barostat::{Barostat, Moves};
use crate::cell::Cell;
use crate::error::{Error, GoodFrame, Instability, Result};
use crate::guard::{self, Policy};
use crate::linalg::Vec3;
use crate::metropolis::Metropolis;
use crate::molecules::Molecules;
use crate::propagators::Outcome;
use crate::rescale::{Rescale, Tally};
use crate::state::State;
use crate::thermostat::{Half, Thermostat};
use crate::verlet;
use crate::violation::{Quantity, Violation};

/// What a run must carry from stride to stride beside the state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ledger {
    /// Heat given by the thermostat, eV.
    pub heat: f64,
    /// Work done by the barostat: what K + V changed by in its moves, eV.
    pub work: f64,
    /// K + V at the start of the run, eV; known where it is to be conserved.
    pub start_energy: Option<f64>,
    /// Volume at the start of the run, Å³: what a Monte Carlo barostat takes its step from. Zero before the first stride.
    pub start_volume: f64,
    /// Temperature at the start of the run, K: what explosion and freezing are told by where there is no bath.
    pub start_temperature: f64,
    /// Strides that were put to the Metropolis test.
    pub metropolis: Moves,
    /// What rescaling did.
    pub rescale: Tally,
    /// What the barostat did.
    pub moves: Moves,
    /// What the guard found and did.
    pub guard: guard::Tally,
}

/// A state and what acts on it around each stride. Everything is optional; it acts in the order of the fields.
#[derive(Debug)]
pub struct System {
    /// Positions, momenta and the rest.
    pub state: State,
    /// What becomes of a stride out of bounds; without it only numbers that are not finite are noticed.
    pub guard: Option<Policy>,
    /// Bath around every stride.
    pub thermostat: Option<Thermostat>,
    /// Accepts a stride or takes it back.
    pub metropolis: Option<Metropolis>,
    /// Keeps the conserved energy after every stride.
    pub rescale: Option<Rescale>,
    /// Changes the cell every few strides.
    pub barostat: Option<Barostat>,
    /// What the barostat scales.
    pub molecules: Molecules,
    /// Accounts.
    pub ledger: Ledger,
    /// Why this system ended before the others, if it did.
    pub failure: Option<Instability>,
    /// Potential energy of the current positions, eV, if known.
    pub(crate) potential: Option<f64>,
    /// The state the last stride began with, where the guard or the Metropolis test may need it.
    before: Option<State>,
    /// Potential energy of that state, eV, where the Metropolis test needs it.
    potential_before: Option<f64>,
    /// The last frame that passed every check.
    good: PhasePoint,
    /// Step of the last frame that was given to the observer.
    pub(crate) recorded: Option<u64>,
}

/// Where a system can be put back to.
#[derive(Debug, Default)]
struct PhasePoint {
    positions: Vec<Vec3>,
    momenta: Vec<Vec3>,
    cell: Cell,
}

/// The stride that is being made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stride {
    /// Step it leads to.
    pub(crate) step: u64,
    /// Time of that step, Å·√(u/eV).
    pub(crate) time: f64,
    /// Its length, fs.
    pub(crate) stride_fs: f64,
}

impl System {
    /// `state` without any filter: NVE.
    pub fn new(state: State) -> Self {
        Self {
            guard: None,
            thermostat: None,
            metropolis: None,
            rescale: None,
            barostat: None,
            molecules: Molecules::single_atoms(state.len()),
            ledger: Ledger::default(),
            failure: None,
            potential: None,
            before: None,
            potential_before: None,
            good: PhasePoint::default(),
            recorded: None,
            state,
        }
    }

    /// True while the system has not failed.
    pub fn is_alive(&self) -> bool {
        self.failure.is_none()
    }

    /// Checks that the filters suit the state, each other, and strides that are `reversible` or not.
    ///
    /// # Errors
    /// `Input` if they do not; `Stability` for numbers that are not finite.
    pub(crate) fn check(&self, has_energy: bool, reversible: bool) -> Result<()> {
        guard::check_finite(&self.state)?;
        if let Some(thermostat) = &self.thermostat {
            thermostat.check(&self.state)?;
        }
        if let Some(barostat) = &self.barostat {
            barostat.check(&self.state)?;
        }
        let falls_back = matches!(self.guard, Some(Policy::Fallback { .. }));
        for (wanted, what) in [
            (self.metropolis.is_some(), "metropolis"),
            (self.rescale.is_some(), "rescale_energy"),
            (self.barostat.is_some(), "a barostat"),
            (falls_back, "guard 'fallback'"),
        ] {
            if wanted && !has_energy {
                return Err(Error::Input(format!("{what} needs an energy model; give one, or leave {what} out")));
            }
        }
        if self.metropolis.is_some() { self.check_metropolis(reversible) } else { Ok(()) }
    }

    /// Checks that nothing takes the Metropolis test's exactness away.
    fn check_metropolis(&self, reversible: bool) -> Result<()> {
        for (spoilt, what) in [
            (!reversible, "a model whose strides are reversible: one of kind splitting, hybrid or action"),
            (self.thermostat.is_none(), "a thermostat: give temperature_K"),
            (self.rescale.is_some(), "energies that are not rescaled: leave rescale_energy out"),
            (
                matches!(self.barostat, Some(Barostat::CellRescaling(_))),
                "a barostat that keeps detailed balance: take monte_carlo",
            ),
            (
                matches!(self.guard, Some(Policy::Fallback { .. })),
                "one kind of stride: take another guard than 'fallback'",
            ),
        ] {
            if spoilt {
                return Err(Error::Input(format!("metropolis samples without bias, which needs {what}")));
            }
        }
        Ok(())
    }

    /// Tries the forces and the virial, where something will need them, before the first stride needs them.
    ///
    /// # Errors
    /// Those of the energy; `Input` if it has no virial.
    pub(crate) fn try_forces(&self, energy: &mut TimedPotential<'_>) -> Result<()> {
        let falls_back = matches!(self.guard, Some(Policy::Fallback { .. }));
        let rescales_cell = matches!(self.barostat, Some(Barostat::CellRescaling(_)));
        if !(falls_back || rescales_cell) {
            return Ok(());
        }
        let forces = energy.with(|e| e.evaluate(&self.state))?;
        if rescales_cell { forces.virial().map(drop) } else { Ok(()) }
    }

    /// Potential energy of the current positions, eV, computed at most once; `None` if the run has no energy.
    pub(crate) fn potential(&mut self, energy: &mut TimedPotential<'_>) -> Result<Option<f64>> {
        if self.potential.is_none() && energy.is_some() {
            self.potential = Some(energy.potential(|e| e.energy(&self.state))?);
        }
        Ok(self.potential)
    }

    /// The energy to conserve, once, before the first stride.
    pub(crate) fn open_account(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        self.remember();
        if self.state.step == 0 {
            self.ledger.start_volume = self.state.cell.volume();
            self.ledger.start_temperature = self.state.temperature();
        }
        if self.rescale.is_some() && self.ledger.start_energy.is_none() {
            // Rescaling may begin in the middle of a run: what came from outside until then is not the start's.
            let outside = self.ledger.heat + self.ledger.work;
            self.ledger.start_energy = self.potential(energy)?.map(|v| self.state.kinetic_energy() + v - outside);
        }
        Ok(())
    }

    /// What comes before the propagator: O(½), and what a stride may have to be taken back to.
    pub(crate) fn before_stride(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        self.bath(Half::Before);
        self.potential_before = if self.metropolis.is_some() { self.potential(energy)? } else { None };
        self.potential = None;
        if self.guard.is_some() || self.metropolis.is_some() {
            let before = self.before.get_or_insert_with(|| self.state.clone());
            before.positions.clone_from(&self.state.positions);
            before.momenta.clone_from(&self.state.momenta);
            before.cell.clone_from(&self.state.cell);
            (before.step, before.time) = (self.state.step, self.state.time);
        }
        Ok(())
    }

    /// The state the last stride began with.
    pub(crate) fn before(&self) -> &State {
        self.before.as_ref().unwrap_or(&self.state)
    }

    /// True if the next stride is velocity Verlet's.
    pub(crate) fn is_falling_back(&self) -> bool {
        self.ledger.guard.fallback_left > 0 && matches!(self.guard, Some(Policy::Fallback { .. }))
    }

    /// Everything from the propagator's `outcome`, or from where a stride of velocity Verlet is due instead, to the end of
    /// the stride; violations that are new are added to `fresh`.
    pub(crate) fn complete_stride(
        &mut self,
        outcome: Option<Outcome>,
        stride: Stride,
        energy: &mut TimedPotential<'_>,
        fresh: &mut Vec<Violation>,
    ) -> Result<()> {
        match outcome {
            Some(outcome) => *fresh = self.apply_guard(outcome, stride.stride_fs, energy)?,
            None => self.fall_back(stride.stride_fs, energy)?,
        }
        self.after_stride(energy)?;
        (self.state.step, self.state.time) = (stride.step, stride.time);
        self.remember();
        Ok(())
    }

    /// Applies the guard's policy to a stride that was made; returns the violations that are new.
    fn apply_guard(
        &mut self,
        outcome: Outcome,
        stride_fs: f64,
        energy: &mut TimedPotential<'_>,
    ) -> Result<Vec<Violation>> {
        let Outcome { result, mut violations } = outcome;
        let Some(policy) = self.guard else { return result.map(|()| Vec::new()) };
        let start = self.ledger.start_temperature;
        violations.extend(guard::check_temperature(self.before(), self.bath_temperature(), start));
        let falls_back = matches!(policy, Policy::Fallback { .. });
        match result {
            Err(Error::Stability(e)) if falls_back => {
                violations.push(Violation { quantity: Quantity::Stride, atoms: e.atoms, message: e.message });
            }
            result => result?,
        }
        let fresh = self.ledger.guard.count(&violations);
        match policy {
            _ if violations.is_empty() => {}
            Policy::Report => {}
            Policy::Stop => return Err(guard::stop(&violations)),
            Policy::Fallback { strides, .. } => {
                self.take_back();
                self.ledger.guard.fallback_left = strides;
                self.fall_back(stride_fs, energy)?;
            }
        }
        violations.retain(|violation| fresh.contains(&violation.quantity));
        Ok(violations)
    }

    /// One stride by velocity Verlet.
    fn fall_back(&mut self, stride_fs: f64, energy: &mut TimedPotential<'_>) -> Result<()> {
        let Some(Policy::Fallback { timestep_fs, .. }) = self.guard else { return Ok(()) };
        self.ledger.guard.fallback_left -= 1;
        self.ledger.guard.fallbacks += 1;
        energy.with(|e| verlet::advance(&mut self.state, stride_fs, timestep_fs, e))
    }

    fn take_back(&mut self) {
        if let Some(before) = &self.before {
            self.state.positions.clone_from(&before.positions);
            self.state.momenta.clone_from(&before.momenta);
            self.state.cell.clone_from(&before.cell);
        }
    }

    fn bath_temperature(&self) -> Option<f64> {
        self.thermostat.as_ref().map(Thermostat::temperature)
    }

    /// What comes after it: guard, Metropolis, rescale, barostat, O(½).
    fn after_stride(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        guard::check_finite(&self.state)?;
        self.test(energy)?;
        self.conserve(energy)?;
        self.couple(energy)?;
        self.bath(Half::After);
        guard::check_finite(&self.state)
    }

    /// Makes the state the last good frame.
    fn remember(&mut self) {
        self.good.positions.clone_from(&self.state.positions);
        self.good.momenta.clone_from(&self.state.momenta);
        self.good.cell.clone_from(&self.state.cell);
    }

    /// Ends this system, unstable in the stride that leads to `step`; its state is the last good one.
    pub(crate) fn fail(&mut self, instability: Instability, step: u64, time_ps: f64) {
        self.state.positions.clone_from(&self.good.positions);
        self.state.momenta.clone_from(&self.good.momenta);
        self.state.cell.clone_from(&self.good.cell);
        let PhasePoint { positions, momenta, cell } = std::mem::take(&mut self.good);
        self.failure = Some(instability.at(step, time_ps, GoodFrame { positions, momenta, cell: *cell.matrix() }));
    }

    fn bath(&mut self, half: Half) {
        if let Some(thermostat) = &mut self.thermostat {
            self.ledger.heat += thermostat.apply(&mut self.state, half);
        }
    }

    fn test(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        let Some(earlier) = self.potential_before else { return Ok(()) };
        let later = self.potential(energy)?;
        if let (Some(metropolis), Some(later)) = (&self.metropolis, later) {
            let change = later - earlier + self.state.kinetic_energy() - self.before().kinetic_energy();
            if !metropolis.accepts(&self.state, change, &mut self.ledger.metropolis) {
                self.take_back();
                self.state.scale_internal_momenta(-1.0);
                self.potential = Some(earlier);
            }
        }
        Ok(())
    }

    fn conserve(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        if self.rescale.is_none() {
            return Ok(());
        }
        let potential = self.potential(energy)?;
        if let (Some(rescale), Some(potential), Some(start)) = (&self.rescale, potential, self.ledger.start_energy) {
            let target = start + self.ledger.heat + self.ledger.work;
            rescale.apply(&mut self.state, target, potential, &mut self.ledger.rescale)?;
        }
        Ok(())
    }

    fn couple(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        // The stride that ends now is the state's step + 1.
        if !self.barostat.as_ref().is_some_and(|b| b.is_due(self.state.step + 1)) {
            return Ok(());
        }
        let potential = self.potential(energy)?;
        if let (Some(barostat), Some(potential)) = (&self.barostat, potential) {
            let before = self.state.kinetic_energy() + potential;
            let Self { state, molecules, ledger, .. } = self;
            let Ledger { start_volume, ref mut moves, .. } = *ledger;
            let after = energy.potential(|e| barostat.apply(state, molecules, potential, start_volume, e, moves))?;
            self.ledger.work += self.state.kinetic_energy() + after - before;
            self.potential = Some(after);
        }
        Ok(())
    }
}
