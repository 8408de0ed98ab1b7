//! The kick–drift–kick of velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982)), of any forces and any drift: every
//! level of r-RESPA (Tuckerman, Berne & Martyna, J. Chem. Phys. 97, 1990 (1992)) is one.

use crate::error::Result;
use crate::linalg::Vec3;
use crate::state::State;

/// Forces that kick atoms.
pub trait Forces {
    /// Computes the forces on the atoms where they are.
    ///
    /// # Errors
    /// Those of the forces.
    fn update(&mut self, state: &State) -> Result<()>;

    /// The forces last computed, `[N]` eV/Å.
    fn get(&self) -> &[Vec3];
}

/// Equal steps that fill a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// How many.
    pub count: u64,
    /// Length of one, Δt, Å·√(u/eV).
    pub length: f64,
}

impl Steps {
    /// Whole steps in `time`, of the length nearest to `wanted`.
    pub fn nearest(time: f64, wanted: f64) -> Self {
        Self::split(time, (time / wanted).round())
    }

    /// `time` in this many steps, at least one.
    pub fn split(time: f64, count: f64) -> Self {
        let count = count.max(1.0);
        Self { count: count as u64, length: time / count }
    }
}

/// p += F·Δt/2; `drift` for Δt; p += F·Δt/2, for every one of `steps`.
///
/// # Errors
/// Those of the forces and of the drift.
pub fn kick_drift_kick(
    state: &mut State,
    steps: Steps,
    forces: &mut impl Forces,
    mut drift: impl FnMut(&mut State, f64) -> Result<()>,
) -> Result<()> {
    forces.update(state)?;
    for _ in 0..steps.count {
        state.kick(forces.get(), 0.5 * steps.length);
        drift(state, steps.length)?;
        forces.update(state)?;
        state.kick(forces.get(), 0.5 * steps.length);
    }
    Ok(())
}
