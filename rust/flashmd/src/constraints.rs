//! What a stride must keep: total momentum, the uniform motion of the centre of mass, and the conserved energy.

use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, scale, sub};
use crate::state::State;

/// Furthest the momenta may be scaled in one stride, |α − 1|.
pub const MAX_RESCALE: f64 = 0.25;

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

/// Scales the internal momenta by α so that K + V equals `target`; returns α.
///
/// α = √((H* − V − K_cm)/K_internal); the motion of the centre of mass is left alone.
///
/// # Errors
/// `Stability` if the radicand is not positive or |α − 1| > [`MAX_RESCALE`]; the state is then unchanged.
pub fn rescale_to(state: &mut State, target: f64, potential: f64) -> Result<f64> {
    let velocity = state.centre_of_mass_velocity();
    let internal = state.internal_kinetic_energy();
    let wanted = target - potential - (state.kinetic_energy() - internal);
    let alpha = (wanted / internal).sqrt();
    let possible = wanted > 0.0 && internal > 0.0 && (alpha - 1.0).abs() <= MAX_RESCALE;
    if !possible {
        return Err(Error::unstable(
            "energy rescaling",
            Vec::new(),
            format!(
                "conserving {target:.6} eV needs an internal kinetic energy of {wanted:.6} eV, but it is {internal:.6} eV \
                 (potential {potential:.6} eV): a factor of {alpha:.4} on the momenta, allowed within 1 ± {MAX_RESCALE}; \
                 relax the structure, use a thermostat, or turn rescale_energy off"
            ),
        ));
    }
    for (p, &m) in state.momenta.iter_mut().zip(&state.masses) {
        let drift = scale(m, velocity);
        *p = add(drift, scale(alpha, sub(*p, drift)));
    }
    Ok(alpha)
}
