//! Total momentum and uniform motion of the centre of mass, which a stride must keep.

use super::State;
use crate::linalg::{Vec3, add, scale, sub};

/// Total momentum and centre of mass before a stride.
#[derive(Debug, Clone, Copy)]
pub struct CentreOfMass {
    mass: f64,
    momentum: Vec3,
}

impl CentreOfMass {
    /// Remembers P and M of `state`.
    pub fn of(state: &State) -> Self {
        Self { mass: state.total_mass(), momentum: state.total_momentum() }
    }

    /// Restores P by adding the same velocity to every atom.
    pub fn restore_momentum(&self, state: &mut State) {
        let excess = scale(1.0 / self.mass, sub(state.total_momentum(), self.momentum));
        for (p, &m) in state.momenta.iter_mut().zip(&state.masses) {
            *p = sub(*p, scale(m, excess));
        }
    }

    /// Shifts `displacements` (Å) together so that the centre of mass moves by P/M·`time`.
    pub fn restore_drift(&self, displacements: &mut [Vec3], masses: &[f64], time: f64) {
        let moved = displacements.iter().zip(masses).fold([0.0; 3], |sum, (&d, &m)| add(sum, scale(m, d)));
        let excess = scale(1.0 / self.mass, sub(moved, scale(time, self.momentum)));
        for d in displacements {
            *d = sub(*d, excess);
        }
    }
}
