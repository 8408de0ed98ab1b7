//! Monte Carlo barostat: Chow & Ferguson, Comput. Phys. Commun. 91, 283 (1995); Åqvist et al., Chem. Phys. Lett. 384,
//! 288 (2004).
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | V, V′ | `before`, `after` | Å³ |
//! | k_B·T | `thermal` | eV |
//! | U + P·ΔV | `work`: ΔU + P·ΔV of the move | eV |
//! | N_mol | `molecules.count` | |

use super::{Coupling, Dilation, Reservoir};
use crate::error::Result;
use crate::filters::molecules::Molecules;
use crate::potential_energy::PotentialEnergy;
use crate::random::Purpose;
use crate::state::State;
use crate::units::KB;

/// Width of the volume's proposal over its thermal spread √(k_B·T·β_T·V).
const STEP: f64 = 2.0;

/// Random changes of the volume, accepted with min(1, exp(−(ΔU + P·ΔV)/k_B·T + N_mol·ln(V′/V))).
///
/// It needs energies only. The proposal is uniform in ±2 spreads of the volume at the start of the run, from the
/// compressibility, and never tuned on the way: detailed balance is exact, and a restart needs no memory.
#[derive(Debug, Clone)]
pub struct MonteCarlo {
    reservoir: Reservoir,
}

impl MonteCarlo {
    /// A barostat.
    ///
    /// # Errors
    /// `Input` if a number is out of its range.
    pub fn new(reservoir: Reservoir) -> Result<Self> {
        reservoir.check()?;
        Ok(Self { reservoir })
    }

    pub(super) fn reservoir(&self) -> &Reservoir {
        &self.reservoir
    }

    /// One move of a system that started with `start_volume` (Å³); the potential energy after it (eV) if it was accepted.
    ///
    /// # Errors
    /// Those of the potential energy.
    pub fn apply(
        &self,
        state: &mut State,
        molecules: &Molecules,
        potential: f64,
        start_volume: f64,
        energy: &mut dyn PotentialEnergy,
    ) -> Result<Option<f64>> {
        let mut stream = state.stream(Purpose::Barostat);
        let before = state.cell.volume();
        let thermal = KB * self.reservoir.temperature;
        let largest = STEP * (thermal * self.reservoir.compressibility * start_volume).sqrt();
        let after = before + largest * (2.0 * stream.uniform() - 1.0);
        let axis = (3.0 * stream.uniform()) as usize;
        let lot = stream.uniform();
        if after <= 0.0 {
            return Ok(None);
        }
        let (cell, positions) = (state.cell.clone(), state.positions.clone());
        self.dilation(after / before, axis).scale_positions(state, molecules)?;
        let changed = energy.energy(state)?;
        let work = changed - potential + self.reservoir.pressure * (after - before);
        if lot < (molecules.count as f64 * (after / before).ln() - work / thermal).exp() {
            return Ok(Some(changed));
        }
        (state.cell, state.positions) = (cell, positions);
        Ok(None)
    }

    fn dilation(&self, ratio: f64, axis: usize) -> Dilation {
        match self.reservoir.coupling {
            Coupling::Isotropic => Dilation([ratio.cbrt(); 3]),
            Coupling::Anisotropic => Dilation(std::array::from_fn(|k| if k == axis { ratio } else { 1.0 })),
        }
    }
}
