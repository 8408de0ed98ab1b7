//! Dilations of the cell and its molecules, and the pressure that belongs to them.

use crate::error::{Error, Result};
use crate::filters::molecules::{Centre, Molecules};
use crate::linalg::{Mat3, Vec3, add, scale, sub};
use crate::potential_energy::EnergyForces;
use crate::state::Cell;
use crate::state::State;

/// Factors along x, y and z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dilation(pub Vec3);

impl Dilation {
    fn of(self, v: Vec3) -> Vec3 {
        std::array::from_fn(|k| self.0[k] * v[k])
    }

    /// Scales the cell and carries whole molecules with it; bonds and momenta stay.
    ///
    /// # Errors
    /// `Stability` if no cell is left.
    pub fn scale_positions(self, state: &mut State, molecules: &Molecules) -> Result<()> {
        let cell = Cell::new(state.cell.matrix().map(|row| self.of(row)), state.cell.pbc())
            .map_err(|e| Error::unstable("cell", Vec::new(), format!("the barostat broke the cell: {e}")))?;
        let centres = molecules.centres(state);
        for (i, q) in state.positions.iter_mut().enumerate() {
            // The atom's own image of its molecule's centre.
            let centre = sub(centres[molecules.of[i] as usize].position, state.cell.translation(molecules.shifts[i]));
            *q = add(*q, sub(self.of(centre), centre));
        }
        state.cell = cell;
        Ok(())
    }

    /// Divides the momenta of molecules, relative to the whole, by the factors: with
    /// [`scale_positions`](Self::scale_positions) it keeps the volume of phase space.
    pub fn scale_momenta(self, state: &mut State, molecules: &Molecules) {
        let centres = molecules.centres(state);
        let velocity = state.centre_of_mass_velocity();
        for (i, &m) in state.masses.iter().enumerate() {
            let centre = &centres[molecules.of[i] as usize];
            let relative = sub(scale(1.0 / centre.mass, centre.momentum), velocity);
            let change = std::array::from_fn(|k| m * relative[k] * (1.0 / self.0[k] - 1.0));
            state.momenta[i] = add(state.momenta[i], change);
        }
    }
}

/// Instantaneous pressure of molecules along x, y and z, eV/Å³: (Σ_g P_g²/M_g + Σ_g R_g·F_g)/V with momenta relative to
/// the whole, whose own motion counts k_B·T (`thermal`, eV).
///
/// # Errors
/// `Input` if the energy has no virial.
pub fn pressure(state: &State, molecules: &Molecules, forces: &EnergyForces, thermal: f64) -> Result<Vec3> {
    let virial = forces.virial()?;
    let centres = molecules.centres(state);
    let velocity = state.centre_of_mass_velocity();
    let mut sum = [thermal; 3];
    for centre in &centres {
        let relative = sub(centre.momentum, scale(centre.mass, velocity));
        for k in 0..3 {
            sum[k] += relative[k] * relative[k] / centre.mass;
        }
    }
    let virial = molecular_virial(state, molecules, &centres, &forces.forces, virial);
    let volume = state.cell.volume();
    Ok(std::array::from_fn(|k| (sum[k] + virial[k][k]) / volume))
}

/// Σ_g R_g⊗F_g = Σ_i r_i⊗F_i − Σ_i (r_i − R_g)⊗F_i: forces within molecules cancel.
fn molecular_virial(
    state: &State,
    molecules: &Molecules,
    centres: &[Centre],
    forces: &[Vec3],
    mut virial: Mat3,
) -> Mat3 {
    for (i, f) in forces.iter().enumerate() {
        let arm = molecules.arm(state, centres, i);
        for a in 0..3 {
            for b in 0..3 {
                virial[a][b] -= arm[a] * f[b];
            }
        }
    }
    virial
}
