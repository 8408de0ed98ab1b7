//! Velocity Verlet on a potential energy: what the guard falls back to.

use super::kick_drift_kick::{Forces, Steps, kick_drift_kick};
use crate::error::Result;
use crate::linalg::Vec3;
use crate::potential_energy::PotentialEnergy;
use crate::state::{CentreOfMass, State};
use crate::units::FS;

/// Forces of a potential energy.
struct OfEnergy<'e> {
    energy: &'e mut dyn PotentialEnergy,
    forces: Vec<Vec3>,
}

impl Forces for OfEnergy<'_> {
    fn update(&mut self, state: &State) -> Result<()> {
        self.forces = self.energy.evaluate(state)?.forces;
        Ok(())
    }

    fn get(&self) -> &[Vec3] {
        &self.forces
    }
}

/// Moves `state` by `time_fs` in equal steps of at most `timestep_fs` on the surface of `energy`.
///
/// Fixed atoms stay; the total momentum is kept where there are none. Step and time are the caller's.
///
/// # Errors
/// Those of the energy.
pub fn advance(state: &mut State, time_fs: f64, timestep_fs: f64, energy: &mut dyn PotentialEnergy) -> Result<()> {
    let steps = Steps::split(time_fs * FS, (time_fs / timestep_fs - 1e-9).ceil());
    let centre = CentreOfMass::of(state);
    kick_drift_kick(state, steps, &mut OfEnergy { energy, forces: Vec::new() }, |state, dt| {
        state.drift(dt);
        Ok(())
    })?;
    if !state.has_fixed() {
        centre.restore_momentum(state);
    }
    Ok(())
}
