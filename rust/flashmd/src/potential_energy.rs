//! The potential energy of a structure: the trait of everything that computes one.

use crate::error::{Error, Result};
use crate::linalg::{Mat3, Vec3};
use crate::state::State;

/// Energy, forces and virial of one structure.
#[derive(Debug, Clone, Default)]
pub struct EnergyForces {
    /// Potential energy, eV.
    pub energy: f64,
    /// −∂E/∂r, `[N]` eV/Å.
    pub forces: Vec<Vec3>,
    /// −Σ r⊗∂E/∂r over the edges, eV; not every surface has one.
    pub virial: Option<Mat3>,
}

impl EnergyForces {
    /// The virial, eV.
    ///
    /// # Errors
    /// `Input` if there is none.
    pub fn virial(&self) -> Result<Mat3> {
        self.virial.ok_or_else(|| {
            Error::Input(
                "cell rescaling needs the virial, and this energy has none; use the Monte Carlo barostat".into(),
            )
        })
    }
}

/// A potential energy surface.
pub trait PotentialEnergy: Send {
    /// Potential energy of `state`, eV.
    ///
    /// # Errors
    /// Whatever the surface reports; `Stability` if the energy is not finite.
    fn energy(&mut self, state: &State) -> Result<f64>;

    /// Energy, forces and virial of `state`.
    ///
    /// # Errors
    /// `Input` if the surface has no forces, otherwise as [`energy`](Self::energy).
    fn evaluate(&mut self, _state: &State) -> Result<EnergyForces> {
        Err(Error::Input("this potential energy has no forces; give one that has, or do without them".into()))
    }

    /// Potential energy and virial of `state`, eV; `None` if the surface has no virial.
    ///
    /// # Errors
    /// As [`energy`](Self::energy).
    fn energy_and_virial(&mut self, _state: &State) -> Result<Option<(f64, Mat3)>> {
        Ok(None)
    }
}

impl<E: PotentialEnergy + ?Sized> PotentialEnergy for &mut E {
    fn energy(&mut self, state: &State) -> Result<f64> {
        (**self).energy(state)
    }

    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        (**self).evaluate(state)
    }

    fn energy_and_virial(&mut self, state: &State) -> Result<Option<(f64, Mat3)>> {
        (**self).energy_and_virial(state)
    }
}
