//! The Metropolis test of generalized hybrid Monte Carlo: Horowitz, Phys. Lett. B 268, 247 (1991); Lelièvre, Rousset, Stoltz, *Free Energy
//! Computations*, §2.2.3 (2010).
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | ΔH | `change`: of K + V in the stride | eV |
//! | k_B·T | `thermal` | eV |

use crate::error::{Error, Result};
use crate::filters::MoveCounts;
use crate::random::Purpose;
use crate::state::State;
use crate::units::KB;

/// Each stride is accepted with min(1, exp(−ΔH/k_B·T)), H = K + V of the run's energy; after one that is not, the atoms are
/// where they were and their internal momenta reversed.
///
/// With a thermostat around it the canonical distribution of H is sampled without bias, for any stride that is undone by
/// itself with momenta reversed and keeps the volume of phase space, however wrong its dynamics is.
#[derive(Debug, Clone)]
pub struct Metropolis {
    thermal: f64,
}

impl Metropolis {
    /// A test at `temperature` (K), the thermostat's.
    ///
    /// # Errors
    /// `Input` if it is not positive.
    pub fn new(temperature: f64) -> Result<Self> {
        if temperature.is_finite() && temperature > 0.0 {
            return Ok(Self { thermal: KB * temperature });
        }
        Err(Error::Input(format!("the Metropolis test is made at {temperature} K; it must be positive")))
    }

    /// True if a stride to `state` that changed H by `change` (eV) stands; counted in `counts`.
    pub fn accepts(&self, state: &State, change: f64, counts: &mut MoveCounts) -> bool {
        let stands = state.stream(Purpose::Metropolis).uniform() < (-change / self.thermal).exp();
        counts.tried += 1;
        counts.accepted += u64::from(stands);
        stands
    }
}
