//! Langevin thermostat: exact Ornstein–Uhlenbeck half steps.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | c = exp(−Δt/2τ) | `damping`: what a half step keeps of a momentum | |
//! | √(1 − c²)·√(m·k_B·T)·ξ | `noise`, `[N]` | √(eV·u) |
//! | M | total mass: the noise loses m/M of its sum | u |

use super::{HalfStep, check_temperature, check_time_constant};
use crate::error::Result;
use crate::linalg::{Vec3, add, scale, sub};
use crate::state::State;
use crate::units::KB;

/// Langevin dynamics of the internal momenta.
///
/// A half step is p ← c·p + √(1 − c²)·√(m·k_B·T)·ξ with c = exp(−Δt/2τ), the noise projected to zero total
/// momentum, so 3N − 3 degrees of freedom reach T, and species s 3(N_s − M_s/M) of them. With fixed atoms the others
/// have no common motion to keep: nothing is projected, and each has three degrees of freedom.
#[derive(Debug, Clone)]
pub struct Langevin {
    temperature: f64,
    /// c of a half step.
    damping: f64,
    noise: Vec<Vec3>,
}

impl Langevin {
    /// A thermostat at `temperature` (K) with time constant τ (fs) for strides of `stride_fs`.
    ///
    /// # Errors
    /// `Input` if the temperature is negative, or a time is not positive.
    pub fn new(temperature: f64, time_constant_fs: f64, stride_fs: f64) -> Result<Self> {
        check_temperature(temperature)?;
        check_time_constant(time_constant_fs)?;
        Ok(Self { temperature, damping: (-stride_fs / (2.0 * time_constant_fs)).exp(), noise: Vec::new() })
    }

    /// Target temperature, K.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Applies a half step and returns the heat given to the atoms, eV.
    pub fn apply(&mut self, state: &mut State, half: HalfStep) -> f64 {
        let before = state.internal_kinetic_energy();
        self.draw(state, half);
        let velocity = state.frame_velocity();
        for ((p, &m), &x) in state.momenta.iter_mut().zip(&state.masses).zip(&self.noise) {
            let drift = scale(m, velocity);
            *p = add(drift, add(scale(self.damping, sub(*p, drift)), x));
        }
        state.internal_kinetic_energy() - before
    }

    /// The noise of this half step, without net momentum unless atoms are fixed.
    fn draw(&mut self, state: &State, half: HalfStep) {
        let mut stream = state.stream(half.purpose());
        let spread = (KB * self.temperature * (1.0 - self.damping * self.damping)).sqrt();
        self.noise.clear();
        self.noise.extend(state.masses.iter().map(|m| scale(m.sqrt() * spread, stream.normal3())));
        if state.has_fixed() {
            for (x, _) in self.noise.iter_mut().zip(&state.fixed).filter(|(_, fixed)| **fixed) {
                *x = [0.0; 3];
            }
            return;
        }
        let total = self.noise.iter().fold([0.0; 3], |sum, &x| add(sum, x));
        let common = scale(1.0 / state.total_mass(), total);
        for (x, &m) in self.noise.iter_mut().zip(&state.masses) {
            *x = sub(*x, scale(m, common));
        }
    }
}
