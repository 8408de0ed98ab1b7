//! Stochastic cell rescaling: Bernetti & Bussi, J. Chem. Phys. 153, 114107 (2020); anisotropic: Del Tatto, Raiteri,
//! Bernetti & Bussi, Appl. Sci. 12, 1139 (2022).
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | V, λ = √V | `volume`, `lambda` | Å³ |
//! | P₀, P | `target`, `pressure`: of the reservoir and of the molecules | eV/Å³ |
//! | β_T | `compressibility` | Å³/eV |
//! | k_B·T | `thermal` | eV |
//! | dt/τ | `ratio`: time from one move to the next over the time constant | |
//! | u_k | `strain`: logarithm of the factor along x, y, z | |

use super::{Coupling, Dilation, Reservoir, pressure};
use crate::error::{Error, Result};
use crate::filters::molecules::Molecules;
use crate::potential_energy::PotentialEnergy;
use crate::random::Purpose;
use crate::state::State;
use crate::units::KB;

/// Largest |Δ ln V| of one move that an Euler step can be trusted with.
const MAX_CHANGE: f64 = 0.1;

/// First-order relaxation of the volume with the noise that makes its distribution exact.
///
/// Isotropic, in λ = √V where the noise is additive:
/// dλ = −(β_T·λ/2τ)·(P₀ − P − k_B·T/2V)·dt + √(k_B·T·β_T/2τ)·dW. Anisotropic, in the logarithm u_k of the length along
/// x, y, z, for the measure dL_x·dL_y·dL_z: du_k = −(β_T/3τ)·(P₀ − P_kk)·dt + √(2·k_B·T·β_T/3·V·τ)·dW_k, whose sum is
/// the isotropic equation for ln V. Positions are scaled, momenta of molecules divided by the same factor.
#[derive(Debug, Clone)]
pub struct CellRescaling {
    reservoir: Reservoir,
    /// Δt/τ of one move.
    ratio: f64,
}

impl CellRescaling {
    /// A barostat with relaxation time τ (fs) for strides of `stride_fs`.
    ///
    /// # Errors
    /// `Input` if a number is out of its range, or moves are further apart than τ.
    pub fn new(reservoir: Reservoir, time_constant_fs: f64, stride_fs: f64) -> Result<Self> {
        reservoir.check()?;
        if !(time_constant_fs.is_finite() && time_constant_fs > 0.0) {
            return Err(Error::Input(format!(
                "the barostat's time constant is {time_constant_fs} fs; it must be positive"
            )));
        }
        let ratio = stride_fs * reservoir.interval as f64 / time_constant_fs;
        if ratio > 1.0 {
            return Err(Error::Input(format!(
                "the barostat moves every {} fs, its time constant is {time_constant_fs} fs; make the time constant \
                 longer, ten times that or more, or the interval shorter",
                stride_fs * reservoir.interval as f64
            )));
        }
        Ok(Self { reservoir, ratio })
    }

    pub(super) fn reservoir(&self) -> &Reservoir {
        &self.reservoir
    }

    /// One move.
    ///
    /// # Errors
    /// Those of the potential energy; `Stability` if the volume would change too much for one move.
    pub fn apply(&self, state: &mut State, molecules: &Molecules, energy: &mut dyn PotentialEnergy) -> Result<()> {
        let forces = energy.evaluate(state)?;
        let thermal = KB * self.reservoir.temperature;
        let strain = self.strain(state, pressure(state, molecules, &forces, thermal)?);
        let change: f64 = strain.iter().sum();
        if !(strain.iter().all(|u| u.abs() <= MAX_CHANGE) && change.abs() <= MAX_CHANGE) {
            let message = format!(
                "the barostat would change the volume by {:.1} % in one move; equilibrate first, or make its time \
                 constant longer or its interval shorter",
                100.0 * change
            );
            return Err(Error::unstable("volume", Vec::new(), message));
        }
        let dilation = Dilation(strain.map(f64::exp));
        dilation.scale_positions(state, molecules)?;
        dilation.scale_momenta(state, molecules);
        Ok(())
    }

    /// Logarithms of the factors along x, y and z.
    fn strain(&self, state: &State, pressure: [f64; 3]) -> [f64; 3] {
        let Reservoir { pressure: target, temperature, compressibility, coupling, .. } = self.reservoir;
        let (thermal, volume, ratio) = (KB * temperature, state.cell.volume(), self.ratio);
        let mut stream = state.stream(Purpose::Barostat);
        match coupling {
            Coupling::Isotropic => {
                let lambda = volume.sqrt();
                let mean = pressure.iter().sum::<f64>() / 3.0;
                let drift = -0.5 * compressibility * lambda * ratio * (target - mean - 0.5 * thermal / volume);
                let noise = (0.5 * thermal * compressibility * ratio).sqrt() * stream.normal();
                [2.0 / 3.0 * ((drift + noise) / lambda).ln_1p(); 3]
            }
            Coupling::Anisotropic => {
                let spread = (2.0 * thermal * compressibility * ratio / (3.0 * volume)).sqrt();
                pressure.map(|p| -compressibility * ratio / 3.0 * (target - p) + spread * stream.normal())
            }
        }
    }
}
