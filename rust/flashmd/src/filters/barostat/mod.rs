//! Barostats: every few strides the cell and the centres of molecules are scaled.
//!
//! Both sample p(V) ∝ V^{N_mol}·e^{−(U + P·V)/k_B·T}: the centre of mass of the whole counts as one more ideal particle,
//! although a run keeps it at rest. Molecules are scaled by their centres, not atom by atom: stiff bonds would make the
//! pressure of atoms fluctuate by thousands of bar within a long stride, and a scaled bond would cost its energy.

mod monte_carlo;
mod scaling;
mod stochastic;

pub use monte_carlo::MonteCarlo;
pub use scaling::{Dilation, pressure};
pub use stochastic::CellRescaling;

use crate::error::{Error, Result};
use crate::filters::MoveCounts;
use crate::filters::molecules::Molecules;
use crate::potential_energy::PotentialEnergy;
use crate::state::State;

/// Which lengths of the cell change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coupling {
    /// All by one factor.
    Isotropic,
    /// Along x, y and z each by its own factor; angles of a triclinic cell change with them.
    Anisotropic,
}

/// The reservoir a barostat couples to.
#[derive(Debug, Clone, Copy)]
pub struct Reservoir {
    /// Pressure, eV/Å³.
    pub pressure: f64,
    /// Temperature, K: that of the thermostat.
    pub temperature: f64,
    /// Isothermal compressibility of the system, or an estimate of it, Å³/eV.
    pub compressibility: f64,
    /// Which lengths of the cell change.
    pub coupling: Coupling,
    /// Strides from one move to the next.
    pub interval: u64,
}

impl Reservoir {
    fn check(&self) -> Result<()> {
        let Self { pressure, temperature, compressibility, interval, .. } = *self;
        let wrong = |what: &str, value: f64, wanted: &str| {
            Err(Error::Input(format!("the barostat's {what} is {value}; it must be {wanted}")))
        };
        if !pressure.is_finite() {
            return wrong("pressure in eV/Å³", pressure, "finite");
        }
        if !(temperature.is_finite() && temperature > 0.0) {
            return wrong("temperature in K", temperature, "positive");
        }
        if !(compressibility.is_finite() && compressibility > 0.0) {
            return wrong("compressibility in Å³/eV", compressibility, "positive");
        }
        if interval == 0 { wrong("interval in strides", 0.0, "at least 1") } else { Ok(()) }
    }
}

/// A barostat.
#[derive(Debug, Clone)]
pub enum Barostat {
    /// Stochastic cell rescaling.
    CellRescaling(CellRescaling),
    /// Monte Carlo moves.
    MonteCarlo(MonteCarlo),
}

impl Barostat {
    fn reservoir(&self) -> &Reservoir {
        match self {
            Self::CellRescaling(barostat) => barostat.reservoir(),
            Self::MonteCarlo(barostat) => barostat.reservoir(),
        }
    }

    /// True if a move is due after the stride that ends at `step`.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.reservoir().interval)
    }

    /// Checks that `state` has a volume that can change.
    ///
    /// # Errors
    /// `Input` for open axes and for fixed atoms.
    pub fn check(&self, state: &State) -> Result<()> {
        if state.cell.pbc() != [true; 3] {
            return Err(Error::Input(format!(
                "a barostat needs a cell that is periodic along all axes, got pbc {:?}; set pbc, or leave the pressure out",
                state.cell.pbc()
            )));
        }
        if state.has_fixed() {
            return Err(Error::Input(
                "a barostat scales all positions, but some atoms are fixed; free them, or leave the pressure out"
                    .into(),
            ));
        }
        Ok(())
    }

    /// One move from a potential energy of `potential` (eV); returns the potential energy after it. `start_volume` (Å³) is
    /// that of the cell when the run began.
    ///
    /// # Errors
    /// Those of the potential energy; `Stability` for a cell that collapses.
    pub fn apply(
        &self,
        state: &mut State,
        molecules: &Molecules,
        potential: f64,
        start_volume: f64,
        energy: &mut dyn PotentialEnergy,
        moves: &mut MoveCounts,
    ) -> Result<f64> {
        moves.tried += 1;
        match self {
            Self::CellRescaling(barostat) => {
                barostat.apply(state, molecules, energy)?;
                moves.accepted += 1;
                energy.energy(state)
            }
            Self::MonteCarlo(barostat) => {
                let after = barostat.apply(state, molecules, potential, start_volume, energy)?;
                moves.accepted += u64::from(after.is_some());
                Ok(after.unwrap_or(potential))
            }
        }
    }
}
