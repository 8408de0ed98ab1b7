//! Thermostats: exact half steps around each stride, O(½) · stride · O(½).

mod bussi;
mod langevin;

pub use bussi::Bussi;
pub use langevin::Langevin;

use crate::error::{Error, Result};
use crate::random::Purpose;
use crate::state::State;

/// Which half step of a stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfStep {
    /// Before the propagator.
    Before,
    /// After it.
    After,
}

impl HalfStep {
    fn purpose(self) -> Purpose {
        match self {
            Self::Before => Purpose::ThermostatBefore,
            Self::After => Purpose::ThermostatAfter,
        }
    }
}

/// A thermostat around every stride. It acts on internal momenta: the total momentum is left exactly as it is.
#[derive(Debug, Clone)]
pub enum Thermostat {
    /// Ornstein–Uhlenbeck noise on every atom.
    Langevin(Langevin),
    /// Stochastic rescaling of the kinetic energy.
    Bussi(Bussi),
}

impl Thermostat {
    /// Target temperature, K.
    pub fn temperature(&self) -> f64 {
        match self {
            Self::Langevin(langevin) => langevin.temperature(),
            Self::Bussi(bussi) => bussi.temperature(),
        }
    }

    /// Checks that the thermostat can reach its temperature from `state`.
    ///
    /// # Errors
    /// `Input` if it cannot.
    pub fn check(&self, state: &State) -> Result<()> {
        match self {
            _ if state.degrees_of_freedom() == 0 => Err(Error::Input(
                "the structure is a single atom, which has no motion but that of the centre of mass, and no temperature: \
                 leave the thermostat out, or give more atoms"
                    .into(),
            )),
            Self::Bussi(_) if state.internal_kinetic_energy() == 0.0 => Err(Error::Input(
                "the Bussi thermostat scales momenta, and all of them are zero; draw momenta or use Langevin".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Applies a half step and returns the heat given to the atoms, eV.
    pub fn apply(&mut self, state: &mut State, half: HalfStep) -> f64 {
        match self {
            Self::Langevin(langevin) => langevin.apply(state, half),
            Self::Bussi(bussi) => bussi.apply(state, half),
        }
    }
}

fn check_temperature(kelvin: f64) -> Result<()> {
    if kelvin.is_finite() && kelvin >= 0.0 {
        return Ok(());
    }
    Err(Error::Input(format!("the temperature is {kelvin} K; it must be 0 or more")))
}

fn check_time_constant(fs: f64) -> Result<()> {
    if fs.is_finite() && fs > 0.0 {
        return Ok(());
    }
    Err(Error::Input(format!("the time constant is {fs} fs; it must be positive")))
}
