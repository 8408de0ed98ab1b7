//! One system of a run: its state, what acts on it around each stride, and its energy accounting.

use super::timed_potential::{TimedPotential, finite};
use crate::error::{Error, GoodFrame, Instability, Result};
use crate::filters::MoveCounts;
use crate::filters::barostat::Barostat;
use crate::filters::guard::{self, GuardPolicy, GuardStatistics};
use crate::filters::metropolis::Metropolis;
use crate::filters::molecules::Molecules;
use crate::filters::rescaling::{Rescaling, RescalingStatistics};
use crate::filters::thermostat::{HalfStep, Thermostat};
use crate::linalg::{Mat3, Vec3};
use crate::propagators::{Outcome, verlet};
use crate::state::{Cell, Placement, State};
use crate::units::FS;
use crate::violation::{Quantity, Violation};

/// What a run must carry from stride to stride beside the state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RunStatistics {
    /// Heat given by the thermostat, eV.
    pub heat: f64,
    /// Work done by the barostat: what K + V changed by in its moves, eV.
    pub work: f64,
    /// K + V at the start of the run, eV; known where it is to be conserved.
    pub start_energy: Option<f64>,
    /// Volume at the start of the run, Å³: what a Monte Carlo barostat takes its step from. Zero before the first stride.
    pub start_volume: f64,
    /// Temperature at the start of the run, K: what explosion and freezing are told by where there is no thermostat.
    pub start_temperature: f64,
    /// Strides that were put to the Metropolis test.
    pub metropolis: MoveCounts,
    /// What rescaling did.
    pub rescaling: RescalingStatistics,
    /// Moves of the barostat.
    pub barostat: MoveCounts,
    /// What the guard found and did.
    pub guard: GuardStatistics,
}

/// A state and what acts on it around each stride. Everything is optional; it acts in the order of the fields.
#[derive(Debug)]
pub struct System {
    /// Positions, momenta and the rest.
    pub state: State,
    /// What becomes of a stride out of bounds; without it only numbers that are not finite are noticed.
    pub guard: Option<GuardPolicy>,
    /// Thermostat around every stride.
    pub thermostat: Option<Thermostat>,
    /// Accepts a stride or takes it back.
    pub metropolis: Option<Metropolis>,
    /// Keeps the conserved energy after every stride.
    pub rescaling: Option<Rescaling>,
    /// Changes the cell every few strides.
    pub barostat: Option<Barostat>,
    /// What the barostat scales.
    pub molecules: Molecules,
    /// What was counted, and the energy accounting.
    pub statistics: RunStatistics,
    /// Why this system ended before the others, if it did.
    pub failure: Option<Instability>,
    /// Potential energy of the current positions, eV, if known.
    pub(super) potential: Option<f64>,
    /// Virial of the current positions, eV, if known.
    pub(super) virial: Option<Mat3>,
    /// Step of the last frame that was given to the observer.
    pub(super) recorded: Option<u64>,
    /// The state the last stride began with, where the guard or the Metropolis test may need it.
    before: Option<State>,
    /// Potential energy of that state, eV, where the Metropolis test needs it.
    potential_before: Option<f64>,
    /// The last frame that passed every check.
    good: PhasePoint,
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
pub(super) struct Stride {
    /// Step it leads to.
    pub(super) step: u64,
    /// Time of that step, Å·√(u/eV).
    pub(super) time: f64,
    /// Its length, fs.
    pub(super) stride_fs: f64,
}

impl System {
    /// `state` without any filter: NVE.
    pub fn new(state: State) -> Self {
        Self {
            guard: None,
            thermostat: None,
            metropolis: None,
            rescaling: None,
            barostat: None,
            molecules: Molecules::single_atoms(state.len()),
            statistics: RunStatistics::default(),
            failure: None,
            potential: None,
            virial: None,
            recorded: None,
            before: None,
            potential_before: None,
            good: PhasePoint::default(),
            state,
        }
    }

    /// True while the system has not failed.
    pub fn is_alive(&self) -> bool {
        self.failure.is_none()
    }

    /// Tries the forces and the virial, where something will need them, before the first stride needs them.
    ///
    /// # Errors
    /// Those of the energy; `Input` if it has no virial.
    pub(super) fn try_forces(&self, energy: &mut TimedPotential<'_>) -> Result<()> {
        let falls_back = matches!(self.guard, Some(GuardPolicy::Fallback { .. }));
        let rescales_cell = matches!(self.barostat, Some(Barostat::CellRescaling(_)));
        if !(falls_back || rescales_cell) {
            return Ok(());
        }
        let forces = energy.with(|e| e.evaluate(&self.state))?;
        if rescales_cell { forces.virial().map(drop) } else { Ok(()) }
    }

    /// Potential energy of the current positions, eV, computed at most once; `None` if the run has no energy.
    pub(super) fn potential(&mut self, energy: &mut TimedPotential<'_>) -> Result<Option<f64>> {
        if self.potential.is_none() && energy.is_some() {
            self.potential = Some(energy.potential(|e| e.energy(&self.state))?);
        }
        Ok(self.potential)
    }

    /// What is recorded of the current positions, each computed at most once: the potential energy, and, where the cell
    /// has a volume and the energy a virial, that too.
    pub(super) fn measure(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        if self.virial.is_none()
            && energy.is_some()
            && self.state.cell.pbc() == [true; 3]
            && let Some((potential, virial)) = energy.with(|e| e.energy_and_virial(&self.state))?
        {
            self.potential = self.potential.or(Some(finite(potential)?));
            self.virial = Some(virial);
        }
        self.potential(energy).map(drop)
    }

    /// Puts the atoms where, and lets them move as, a host program says. What K + V changes by counts as work.
    ///
    /// # Errors
    /// `Input` for another number of atoms, other periodic axes, or numbers that are not finite; those of the energy.
    ///
    /// On an error nothing has changed. Returns if something has without one.
    pub(super) fn place(&mut self, to: Placement, energy: &mut TimedPotential<'_>) -> Result<bool> {
        self.state.check_placement(&to)?;
        let moved = to.positions != self.state.positions || to.cell.matrix() != self.state.cell.matrix();
        if !moved && to.momenta == self.state.momenta {
            return Ok(false);
        }
        let accounted = self.statistics.start_energy.is_some();
        let before = if accounted { self.total_energy(energy)? } else { None };
        let (known, molecules) = ((self.potential, self.virial), self.molecules.clone());
        if moved {
            self.molecules.follow(&self.state, &to);
            (self.potential, self.virial) = (None, None);
        }
        let old = self.state.place(to);
        let after = if accounted { self.total_energy(energy) } else { Ok(None) };
        match after {
            Ok(after) => self.statistics.work += after.zip(before).map_or(0.0, |(after, before)| after - before),
            Err(error) => {
                self.state.place(old);
                ((self.potential, self.virial), self.molecules) = (known, molecules);
                return Err(error);
            }
        }
        self.mark_good();
        Ok(true)
    }

    /// K + V, eV; `None` if the run has no energy.
    fn total_energy(&mut self, energy: &mut TimedPotential<'_>) -> Result<Option<f64>> {
        Ok(self.potential(energy)?.map(|v| self.state.kinetic_energy() + v))
    }

    /// Begins the energy accounting: the energy to conserve, once, before the first stride.
    pub(super) fn start_accounting(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        self.mark_good();
        if self.state.step == 0 {
            self.statistics.start_volume = self.state.cell.volume();
            self.statistics.start_temperature = self.state.temperature();
        }
        if self.rescaling.is_some() && self.statistics.start_energy.is_none() {
            // Rescaling may begin in the middle of a run: what came from outside until then is not the start's.
            let outside = self.statistics.heat + self.statistics.work;
            let potential = self.potential(energy)?;
            self.statistics.start_energy = potential.map(|v| self.state.kinetic_energy() + v - outside);
        }
        Ok(())
    }

    /// What comes before the propagator: O(½), half a kick of the bias, and what a stride may have to be taken back to.
    pub(super) fn before_stride(
        &mut self,
        energy: &mut TimedPotential<'_>,
        bias: &mut TimedPotential<'_>,
        stride_fs: f64,
    ) -> Result<()> {
        self.apply_thermostat(HalfStep::Before);
        self.apply_bias(bias, stride_fs)?;
        self.potential_before = if self.metropolis.is_some() { self.potential(energy)? } else { None };
        (self.potential, self.virial) = (None, None);
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
    pub(super) fn before(&self) -> &State {
        self.before.as_ref().unwrap_or(&self.state)
    }

    /// True if the next stride is velocity Verlet's.
    pub(super) fn is_falling_back(&self) -> bool {
        self.statistics.guard.fallback_left > 0 && matches!(self.guard, Some(GuardPolicy::Fallback { .. }))
    }

    /// The rest of a stride after the propagator: guard, half a kick of the bias, Metropolis test, rescaling, barostat,
    /// O(½).
    ///
    /// Without an `outcome` the stride is velocity Verlet's. Violations that are new are put into `fresh`.
    pub(super) fn complete_stride(
        &mut self,
        outcome: Option<Outcome>,
        stride: Stride,
        energy: &mut TimedPotential<'_>,
        bias: &mut TimedPotential<'_>,
        fresh: &mut Vec<Violation>,
    ) -> Result<()> {
        match outcome {
            Some(outcome) => *fresh = self.apply_guard(outcome, stride.stride_fs, energy)?,
            None => self.fall_back(stride.stride_fs, energy)?,
        }
        guard::check_finite(&self.state)?;
        self.apply_bias(bias, stride.stride_fs)?;
        self.apply_metropolis(energy)?;
        self.apply_rescaling(energy)?;
        self.apply_barostat(energy)?;
        self.apply_thermostat(HalfStep::After);
        guard::check_finite(&self.state)?;
        (self.state.step, self.state.time) = (stride.step, stride.time);
        self.mark_good();
        Ok(())
    }

    /// Ends this system, unstable in the stride that leads to `step`; its state is the last good one.
    pub(super) fn fail(&mut self, instability: Instability, step: u64, time_ps: f64) {
        let PhasePoint { positions, momenta, cell } = std::mem::take(&mut self.good);
        self.state.positions.clone_from(&positions);
        self.state.momenta.clone_from(&momenta);
        let last_good = GoodFrame { positions, momenta, cell: *cell.matrix() };
        self.state.cell = cell;
        (self.potential, self.virial) = (None, None);
        self.failure = Some(instability.at(step, time_ps, last_good));
    }

    /// Makes the state the last good frame.
    fn mark_good(&mut self) {
        self.good.positions.clone_from(&self.state.positions);
        self.good.momenta.clone_from(&self.state.momenta);
        self.good.cell.clone_from(&self.state.cell);
    }

    /// Puts the atoms where the stride began.
    fn take_back(&mut self) {
        if let Some(before) = &self.before {
            self.state.positions.clone_from(&before.positions);
            self.state.momenta.clone_from(&before.momenta);
            self.state.cell.clone_from(&before.cell);
        }
    }

    /// One stride by velocity Verlet.
    fn fall_back(&mut self, stride_fs: f64, energy: &mut TimedPotential<'_>) -> Result<()> {
        let Some(GuardPolicy::Fallback { timestep_fs, .. }) = self.guard else { return Ok(()) };
        self.statistics.guard.fallback_left -= 1;
        self.statistics.guard.fallbacks += 1;
        energy.with(|e| verlet::advance(&mut self.state, stride_fs, timestep_fs, e))?;
        self.check_absurd(stride_fs)
    }

    /// Ends the system where a stride has led to numbers that are finite and nothing else.
    fn check_absurd(&self, stride_fs: f64) -> Result<()> {
        let target = self.thermostat.as_ref().map(Thermostat::temperature);
        let start = self.statistics.start_temperature;
        guard::check_absurd(self.before(), &self.state, stride_fs * FS, target, start)
    }

    /// The impulse of a bias over half a stride, p ← p + F·Δ/2; its kinetic energy counts as work.
    fn apply_bias(&mut self, bias: &mut TimedPotential<'_>, stride_fs: f64) -> Result<()> {
        if !bias.is_some() {
            return Ok(());
        }
        let found = bias.with(|b| b.evaluate(&self.state))?;
        let before = self.state.kinetic_energy();
        self.state.kick(&found.forces, 0.5 * stride_fs * FS);
        self.statistics.work += self.state.kinetic_energy() - before;
        guard::check_finite(&self.state)
    }

    fn apply_thermostat(&mut self, half: HalfStep) {
        if let Some(thermostat) = &mut self.thermostat {
            self.statistics.heat += thermostat.apply(&mut self.state, half);
        }
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
        let result = result.and_then(|()| self.check_absurd(stride_fs));
        let target = self.thermostat.as_ref().map(Thermostat::temperature);
        violations.extend(guard::check_temperature(self.before(), target, self.statistics.start_temperature));
        let falls_back = matches!(policy, GuardPolicy::Fallback { .. });
        match result {
            Err(Error::Stability(e)) if falls_back => {
                violations.push(Violation { quantity: Quantity::Stride, atoms: e.atoms, message: e.message });
            }
            result => result?,
        }
        let fresh = self.statistics.guard.count(&violations);
        match policy {
            _ if violations.is_empty() => {}
            GuardPolicy::Report => {}
            GuardPolicy::Stop => return Err(guard::stop(&violations)),
            GuardPolicy::Fallback { strides, .. } => {
                self.take_back();
                self.statistics.guard.fallback_left = strides;
                self.fall_back(stride_fs, energy)?;
            }
        }
        violations.retain(|violation| fresh.contains(&violation.quantity));
        Ok(violations)
    }

    /// Accepts the stride, or takes it back and turns the internal momenta round.
    fn apply_metropolis(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        let Some(earlier) = self.potential_before else { return Ok(()) };
        let later = self.potential(energy)?;
        if let (Some(metropolis), Some(later)) = (&self.metropolis, later) {
            let change = later - earlier + self.state.kinetic_energy() - self.before().kinetic_energy();
            if !metropolis.accepts(&self.state, change, &mut self.statistics.metropolis) {
                self.take_back();
                self.state.scale_internal_momenta(-1.0);
                self.potential = Some(earlier);
            }
        }
        Ok(())
    }

    /// Scales the momenta so that K + V is that of the start plus what came from outside.
    fn apply_rescaling(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        if self.rescaling.is_none() {
            return Ok(());
        }
        let potential = self.potential(energy)?;
        let RunStatistics { start_energy, heat, work, .. } = self.statistics;
        if let (Some(rescaling), Some(potential), Some(start)) = (&self.rescaling, potential, start_energy) {
            let target = start + heat + work;
            rescaling.apply(&mut self.state, target, potential, &mut self.statistics.rescaling)?;
        }
        Ok(())
    }

    /// A move of the barostat, if one is due.
    fn apply_barostat(&mut self, energy: &mut TimedPotential<'_>) -> Result<()> {
        // The stride that ends now is the state's step + 1.
        if !self.barostat.as_ref().is_some_and(|b| b.is_due(self.state.step + 1)) {
            return Ok(());
        }
        let potential = self.potential(energy)?;
        if let (Some(barostat), Some(potential)) = (&self.barostat, potential) {
            let before = self.state.kinetic_energy() + potential;
            let Self { state, molecules, statistics, .. } = self;
            let RunStatistics { start_volume, barostat: ref mut moves, .. } = *statistics;
            let after = energy.potential(|e| barostat.apply(state, molecules, potential, start_volume, e, moves))?;
            self.statistics.work += self.state.kinetic_energy() + after - before;
            self.potential = Some(after);
        }
        Ok(())
    }
}
