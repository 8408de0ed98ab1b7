//! Velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982)): what the guard falls back to.

use crate::constraints::CentreOfMass;
use crate::energy::PotentialEnergy;
use crate::error::Result;
use crate::state::State;
use crate::units::FS;

/// Moves `state` by `time_fs` in equal steps of at most `timestep_fs` on the surface of `energy`.
///
/// Fixed atoms stay; the total momentum is kept where there are none. Step and time are the caller's.
///
/// # Errors
/// Those of the energy.
pub fn advance(state: &mut State, time_fs: f64, timestep_fs: f64, energy: &mut dyn PotentialEnergy) -> Result<()> {
    let steps = (time_fs / timestep_fs - 1e-9).ceil().max(1.0);
    let dt = time_fs * FS / steps;
    let centre = CentreOfMass::of(state);
    let mut forces = energy.evaluate(state)?.forces;
    for _ in 0..steps as u64 {
        state.kick(&forces, 0.5 * dt);
        state.drift(dt);
        forces = energy.evaluate(state)?.forces;
        state.kick(&forces, 0.5 * dt);
    }
    if !state.has_fixed() {
        centre.restore_momentum(state);
    }
    Ok(())
}
