//! One simulation of a run: its state, what acts on it around each stride, and its accounts.

use crate::barostat::{Barostat, Moves};
use crate::error::{Error, GoodFrame, Result};
use crate::guard::{self, Finding, Policy, Quantity};
use crate::metropolis::Metropolis;
use crate::molecules::Molecules;
use crate::rescale::{Rescale, Tally};
use crate::state::State;
use crate::surface::Surface;
use crate::thermostat::{Half, Thermostat};
use crate::verlet;

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
    pub failure: Option<Error>,
    /// Potential energy of the current positions, eV, if known.
    pub(crate) potential: Option<f64>,
    /// The state the last stride began with, where the guard or the Metropolis test may need it.
    before: Option<State>,
    /// Potential energy of that state, eV, where the Metropolis test needs it.
    potential_before: Option<f64>,
    /// The last frame that passed every check.
    good: GoodFrame,
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
            good: GoodFrame::default(),
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
    pub(crate) fn check(&self, surface: &Surface<'_>, reversible: bool) -> Result<()> {
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
            if wanted && !surface.is_some() {
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
    pub(crate) fn try_forces(&self, surface: &mut Surface<'_>) -> Result<()> {
        let falls_back = matches!(self.guard, Some(Policy::Fallback { .. }));
        let rescales_cell = matches!(self.barostat, Some(Barostat::CellRescaling(_)));
        if !(falls_back || rescales_cell) {
            return Ok(());
        }
        let forces = surface.with(|energy| energy.evaluate(&self.state))?;
        if rescales_cell { forces.virial().map(drop) } else { Ok(()) }
    }

    /// Potential energy of the current positions, eV, computed at most once; `None` if the run has no energy.
    pub(crate) fn potential(&mut self, surface: &mut Surface<'_>) -> Result<Option<f64>> {
        if self.potential.is_none() && surface.is_some() {
            self.potential = Some(surface.potential(|energy| energy.energy(&self.state))?);
        }
        Ok(self.potential)
    }

    /// The energy to conserve, once, before the first stride.
    pub(crate) fn open_account(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        self.remember();
        if self.state.step == 0 {
            self.ledger.start_volume = self.state.cell.volume();
            self.ledger.start_temperature = self.state.temperature();
        }
        if self.rescale.is_some() && self.ledger.start_energy.is_none() {
            // Rescaling may begin in the middle of a run: what came from outside until then is not the start's.
            let outside = self.ledger.heat + self.ledger.work;
            self.ledger.start_energy = self.potential(surface)?.map(|v| self.state.kinetic_energy() + v - outside);
        }
        Ok(())
    }

    /// What comes before the propagator: O(½), and what a stride may have to be taken back to.
    pub(crate) fn before_stride(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        self.bath(Half::Before);
        self.potential_before = if self.metropolis.is_some() { self.potential(surface)? } else { None };
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

    /// Applies the guard's policy to a stride that was made and to the `findings` about its beginning; returns those that
    /// are new.
    pub(crate) fn judge(
        &mut self,
        made: Result<()>,
        mut findings: Vec<Finding>,
        stride_fs: f64,
        surface: &mut Surface<'_>,
    ) -> Result<Vec<Finding>> {
        let Some(policy) = self.guard else { return made.map(|()| Vec::new()) };
        findings.extend(guard::watch(self.before(), self.bath_temperature(), self.ledger.start_temperature));
        let falls_back = matches!(policy, Policy::Fallback { .. });
        match made {
            Err(Error::Stability(broken)) if falls_back => {
                findings.push(Finding { quantity: Quantity::Stride, atoms: broken.atoms, message: broken.message })
            }
            made => made?,
        }
        let fresh = self.ledger.guard.count(&findings);
        match policy {
            _ if findings.is_empty() => {}
            Policy::Report => {}
            Policy::Stop => return Err(guard::stop(&findings)),
            Policy::Fallback { strides, .. } => {
                self.take_back();
                self.ledger.guard.fallback_left = strides;
                self.fall_back(stride_fs, surface)?;
            }
        }
        findings.retain(|finding| fresh.contains(&finding.quantity));
        Ok(findings)
    }

    /// One stride by velocity Verlet.
    pub(crate) fn fall_back(&mut self, stride_fs: f64, surface: &mut Surface<'_>) -> Result<()> {
        let Some(Policy::Fallback { timestep_fs, .. }) = self.guard else { return Ok(()) };
        self.ledger.guard.fallback_left -= 1;
        self.ledger.guard.fallbacks += 1;
        surface.with(|energy| verlet::advance(&mut self.state, stride_fs, timestep_fs, energy))
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
    pub(crate) fn after_stride(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        guard::check_finite(&self.state)?;
        self.test(surface)?;
        self.conserve(surface)?;
        self.couple(surface)?;
        self.bath(Half::After);
        guard::check_finite(&self.state)
    }

    /// Makes the state the last good frame.
    pub(crate) fn remember(&mut self) {
        self.good.positions.clone_from(&self.state.positions);
        self.good.momenta.clone_from(&self.state.momenta);
        self.good.cell.clone_from(&self.state.cell);
    }

    /// Ends this system with `error`, found in the stride that leads to `step`; its state is the last good one.
    pub(crate) fn fail(&mut self, error: Error, step: u64, time_ps: f64) {
        self.state.positions.clone_from(&self.good.positions);
        self.state.momenta.clone_from(&self.good.momenta);
        self.state.cell.clone_from(&self.good.cell);
        self.failure = Some(error.at(step, time_ps, Some(self.good.clone())));
    }

    fn bath(&mut self, half: Half) {
        if let Some(thermostat) = &mut self.thermostat {
            self.ledger.heat += thermostat.apply(&mut self.state, half);
        }
    }

    fn test(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        let Some(earlier) = self.potential_before else { return Ok(()) };
        let later = self.potential(surface)?;
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

    fn conserve(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        if self.rescale.is_none() {
            return Ok(());
        }
        let potential = self.potential(surface)?;
        if let (Some(rescale), Some(potential), Some(start)) = (&self.rescale, potential, self.ledger.start_energy) {
            let target = start + self.ledger.heat + self.ledger.work;
            rescale.apply(&mut self.state, target, potential, &mut self.ledger.rescale)?;
        }
        Ok(())
    }

    fn couple(&mut self, surface: &mut Surface<'_>) -> Result<()> {
        // The stride that ends now is the state's step + 1.
        if !self.barostat.as_ref().is_some_and(|b| b.is_due(self.state.step + 1)) {
            return Ok(());
        }
        let potential = self.potential(surface)?;
        if let (Some(barostat), Some(potential)) = (&self.barostat, potential) {
            let before = self.state.kinetic_energy() + potential;
            let Self { state, molecules, ledger, .. } = self;
            let Ledger { start_volume, ref mut moves, .. } = *ledger;
            let after =
                surface.potential(|energy| barostat.apply(state, molecules, potential, start_volume, energy, moves))?;
            self.ledger.work += self.state.kinetic_energy() + after - before;
            self.potential = Some(after);
        }
        Ok(())
    }
}
