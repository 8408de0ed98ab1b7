//! Langevin thermostat: exact Ornstein–Uhlenbeck half steps around each stride.

use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, scale, sub};
use crate::random::{Purpose, Stream};
use crate::state::State;
use crate::units::{FS, KB};

/// Which half step of a stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Before the propagator.
    Before,
    /// After it.
    After,
}

/// Langevin dynamics of the internal momenta; the total momentum is left exactly as it is.
///
/// A half step is p ← c·p + √(1 − c²)·√(m·k_B·T)·ξ with c = exp(−Δt/2τ), the noise projected to zero total
/// momentum, so 3N − 3 degrees of freedom reach T, and species s 3(N_s − M_s/M) of them.
#[derive(Debug)]
pub struct Langevin {
    temperature: f64,
    seed: u64,
    /// c of a half step.
    damping: f64,
    noise: Vec<Vec3>,
}

impl Langevin {
    /// A thermostat at `temperature` (K) with time constant τ (fs) for strides of `stride_fs`.
    ///
    /// # Errors
    /// `Input` if the temperature is negative, or a time is not positive.
    pub fn new(temperature: f64, time_constant_fs: f64, stride_fs: f64, seed: u64) -> Result<Self> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::Input(format!("the temperature is {temperature} K; it must be 0 or more")));
        }
        if !(time_constant_fs.is_finite() && time_constant_fs > 0.0) {
            return Err(Error::Input(format!("the time constant is {time_constant_fs} fs; it must be positive")));
        }
        let damping = (-stride_fs * FS / (2.0 * time_constant_fs * FS)).exp();
        Ok(Self { temperature, seed, damping, noise: Vec::new() })
    }

    /// Applies a half step and returns the heat given to the atoms, eV.
    pub fn apply(&mut self, state: &mut State, half: Half) -> f64 {
        let purpose = match half {
            Half::Before => Purpose::ThermostatBefore,
            Half::After => Purpose::ThermostatAfter,
        };
        let mut stream = Stream::new(self.seed, purpose, state.step);
        let before = state.internal_kinetic_energy();
        let spread = (KB * self.temperature * (1.0 - self.damping * self.damping)).sqrt();
        self.noise.clear();
        self.noise.extend(state.masses.iter().map(|m| scale(m.sqrt() * spread, stream.normal3())));
        let total = self.noise.iter().fold([0.0; 3], |sum, &x| add(sum, x));
        let common = scale(1.0 / state.total_mass(), total);
        let velocity = state.centre_of_mass_velocity();
        for ((p, &m), &x) in state.momenta.iter_mut().zip(&state.masses).zip(&self.noise) {
            let drift = scale(m, velocity);
            let internal = scale(self.damping, sub(*p, drift));
            *p = add(drift, add(internal, sub(x, scale(m, common))));
        }
        state.internal_kinetic_energy() - before
    }
}
