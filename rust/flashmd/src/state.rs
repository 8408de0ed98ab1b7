//! The state of a simulation: structure of arrays, f64.

use crate::cell::Cell;
use crate::error::{Error, Result, list_atoms};
use crate::linalg::{Vec3, add, dot, scale};
use crate::units::KB;

/// Positions and momenta of N atoms at the same instant.
#[derive(Debug, Clone)]
pub struct State {
    /// Positions, unwrapped, `[N]` Å.
    pub positions: Vec<Vec3>,
    /// Momenta, `[N]` √(eV·u).
    pub momenta: Vec<Vec3>,
    /// Masses, `[N]` u.
    pub masses: Vec<f64>,
    /// Atomic numbers, `[N]`.
    pub numbers: Vec<u8>,
    /// The cell.
    pub cell: Cell,
    /// Strides done.
    pub step: u64,
    /// Simulated time, Å·√(u/eV).
    pub time: f64,
}

impl State {
    /// A checked state at step 0.
    ///
    /// # Errors
    /// `Input` for unequal lengths, no atoms, numbers that are not finite, masses that are not positive.
    pub fn new(
        positions: Vec<Vec3>,
        momenta: Vec<Vec3>,
        masses: Vec<f64>,
        numbers: Vec<u8>,
        cell: Cell,
    ) -> Result<Self> {
        let n = positions.len();
        if n == 0 {
            return Err(Error::Input("there are no atoms; give at least one".into()));
        }
        for (what, len) in [("momenta", momenta.len()), ("masses", masses.len()), ("numbers", numbers.len())] {
            if len != n {
                return Err(Error::Input(format!(
                    "{what} are given for {len} atoms, positions for {n}; give one per atom"
                )));
            }
        }
        check_finite("positions", &positions)?;
        check_finite("momenta", &momenta)?;
        if let Some((i, &m)) = masses.iter().enumerate().find(|(_, m)| !(m.is_finite() && **m > 0.0)) {
            return Err(Error::Input(format!("the mass of atom {i} is {m} u; it must be a positive number")));
        }
        Ok(Self { positions, momenta, masses, numbers, cell, step: 0, time: 0.0 })
    }

    /// Number of atoms, N.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// True if there are no atoms.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Total mass M, u.
    pub fn total_mass(&self) -> f64 {
        self.masses.iter().sum()
    }

    /// Total momentum P, √(eV·u).
    pub fn total_momentum(&self) -> Vec3 {
        self.momenta.iter().fold([0.0; 3], |sum, &p| add(sum, p))
    }

    /// Kinetic energy Σ p²/2m, eV.
    pub fn kinetic_energy(&self) -> f64 {
        self.momenta.iter().zip(&self.masses).map(|(&p, m)| dot(p, p) / (2.0 * m)).sum()
    }

    /// Kinetic energy of the motion relative to the centre of mass, Σ (p − m·P/M)²/2m, eV.
    pub fn internal_kinetic_energy(&self) -> f64 {
        let v = self.centre_of_mass_velocity();
        let internal = |(&p, &m): (&Vec3, &f64)| {
            let u = add(p, scale(-m, v));
            dot(u, u) / (2.0 * m)
        };
        self.momenta.iter().zip(&self.masses).map(internal).sum()
    }

    /// Velocity of the centre of mass P/M, √(eV/u).
    pub fn centre_of_mass_velocity(&self) -> Vec3 {
        scale(1.0 / self.total_mass(), self.total_momentum())
    }

    /// Degrees of freedom of the internal motion, 3N − 3.
    pub fn degrees_of_freedom(&self) -> usize {
        3 * self.len().saturating_sub(1)
    }

    /// Temperature of the internal motion 2K/(N_dof·k_B), K; 0 for a single atom, which has none.
    pub fn temperature(&self) -> f64 {
        match self.degrees_of_freedom() {
            0 => 0.0,
            dof => 2.0 * self.internal_kinetic_energy() / (dof as f64 * KB),
        }
    }
}

/// `Input` naming the atoms whose vector is not finite.
fn check_finite(what: &str, vectors: &[Vec3]) -> Result<()> {
    let bad = not_finite(vectors);
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{what} of {} are not finite: got {:?}; mend the structure",
        list_atoms(&bad),
        vectors[bad[0]]
    )))
}

/// Indices of vectors with a component that is not finite.
pub(crate) fn not_finite(vectors: &[Vec3]) -> Vec<usize> {
    vectors.iter().enumerate().filter(|(_, v)| v.iter().any(|x| !x.is_finite())).map(|(i, _)| i).collect()
}
