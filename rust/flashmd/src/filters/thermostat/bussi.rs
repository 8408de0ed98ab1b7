//! Stochastic velocity rescaling: Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | N_f | `freedom`: degrees of freedom | |
//! | K, K̄ = N_f·k_B·T/2 | `kinetic`, its mean at the target temperature | eV |
//! | c = exp(−Δt/2τ) | `memory`: what a half step keeps of the energy | |
//! | (1 − c)·K̄/(N_f·K) | `share`: of one degree of freedom | |
//! | R₁, Σ_{i≥2} R_i² | `first`, `others`: a standard normal number, χ² with N_f − 1 degrees of freedom | |
//! | α | the factor on all internal momenta | |

use super::{HalfStep, check_temperature, check_time_constant};
use crate::error::Result;
use crate::state::State;
use crate::units::KB;

/// One factor on all internal momenta, drawn so that the kinetic energy samples the canonical distribution.
///
/// With N_f the exact number of degrees of freedom, K̄ = N_f·k_B·T/2 and c = exp(−Δt/2τ) over half a stride,
/// α² = c + (1 − c)·(R₁² + Σ_{i≥2} R_i²)·K̄/(N_f·K) + 2·R₁·√(c(1 − c)·K̄/(N_f·K)); α has the sign of
/// R₁ + √(c·N_f·K/((1 − c)·K̄)) (Bussi & Parrinello, Comput. Phys. Commun. 179, 26 (2008)).
#[derive(Debug, Clone)]
pub struct Bussi {
    temperature: f64,
    /// c of a half step.
    memory: f64,
}

impl Bussi {
    /// A thermostat at `temperature` (K); the kinetic energy relaxes as exp(−t/τ), τ in fs.
    ///
    /// # Errors
    /// `Input` if the temperature is negative, or a time is not positive.
    pub fn new(temperature: f64, time_constant_fs: f64, stride_fs: f64) -> Result<Self> {
        check_temperature(temperature)?;
        check_time_constant(time_constant_fs)?;
        Ok(Self { temperature, memory: (-stride_fs / (2.0 * time_constant_fs)).exp() })
    }

    /// Target temperature, K.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Applies a half step and returns the heat given to the atoms, eV.
    pub fn apply(&mut self, state: &mut State, half: HalfStep) -> f64 {
        let kinetic = state.internal_kinetic_energy();
        if kinetic == 0.0 {
            return 0.0;
        }
        let alpha = self.factor(state, kinetic, half);
        state.scale_internal_momenta(alpha);
        state.internal_kinetic_energy() - kinetic
    }

    fn factor(&self, state: &State, kinetic: f64, half: HalfStep) -> f64 {
        let mut stream = state.stream(half.purpose());
        let freedom = state.degrees_of_freedom();
        let c = self.memory;
        // (1 − c)·K̄/(N_f·K): the share of one degree of freedom.
        let share = (1.0 - c) * KB * self.temperature / (2.0 * kinetic);
        let (first, others) = (stream.normal(), stream.chi_squared(freedom.saturating_sub(1)));
        let square = c + share * (first * first + others) + 2.0 * first * (c * share).sqrt();
        let sign = if first * share.sqrt() + c.sqrt() < 0.0 { -1.0 } else { 1.0 };
        sign * square.max(0.0).sqrt()
    }
}
