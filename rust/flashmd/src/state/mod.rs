//! The state of a simulation: structure of arrays, f64.

mod cell;
mod centre_of_mass;

pub use cell::Cell;
pub use centre_of_mass::CentreOfMass;

use crate::error::{Error, Result, list_atoms};
use crate::linalg::{Mat3, Vec3, add, dot, scale, sub};
use crate::random::{Key, Purpose, Stream};
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
    /// Which atoms never move, `[N]`; empty if all do. They are walls: momentum is then not conserved.
    pub fixed: Vec<bool>,
    /// Which atoms are bonded, once they were looked for; bonds never break.
    pub bonds: BondedPairs,
    /// Whose random numbers this simulation draws.
    pub key: Key,
    /// Strides done.
    pub step: u64,
    /// Simulated time, Å·√(u/eV).
    pub time: f64,
}

/// Bonded atoms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BondedPairs {
    /// Both atoms, the smaller index first, `[B]`.
    pub atoms: Vec<[u32; 2]>,
    /// Cells that the second is away from where it is given, `[B]`.
    pub shifts: Vec<[i64; 3]>,
}

impl BondedPairs {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }

    /// Both atoms and the shift of each.
    pub fn iter(&self) -> impl Iterator<Item = ([usize; 2], [i64; 3])> {
        self.atoms.iter().zip(&self.shifts).map(|(pair, &shift)| (pair.map(|atom| atom as usize), shift))
    }

    /// Keeps bonds between the same images where atoms go from `positions` in `cell` to others.
    fn follow(&mut self, positions: &[Vec3], cell: &Cell, to: &Placement) {
        for (pair, shift) in self.atoms.iter().zip(&mut self.shifts) {
            let [i, j] = pair.map(|atom| atom as usize);
            for k in (0..3).filter(|&k| cell.pbc()[k]) {
                let along = |cell: &Cell, q: &[Vec3]| cell.coordinate(q[j], k) - cell.coordinate(q[i], k);
                shift[k] -= (along(&to.cell, &to.positions) - along(cell, positions)).round() as i64;
            }
        }
    }
}

/// What a host program gives to a state in place of its own.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Positions, `[N]` Å.
    pub positions: Vec<Vec3>,
    /// Momenta, `[N]` √(eV·u).
    pub momenta: Vec<Vec3>,
    /// The cell.
    pub cell: Cell,
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
        let (fixed, bonds, key) = (Vec::new(), BondedPairs::default(), Key::default());
        Ok(Self { positions, momenta, masses, numbers, cell, fixed, bonds, key, step: 0, time: 0.0 })
    }

    /// Checks that the atoms can be placed so.
    ///
    /// # Errors
    /// `Input` for another number of atoms, other periodic axes, numbers that are not finite.
    pub fn check_placement(&self, to: &Placement) -> Result<()> {
        for (what, len) in [("positions", to.positions.len()), ("momenta", to.momenta.len())] {
            if len != self.len() {
                return Err(Error::Input(format!("{what} are given for {len} atoms, there are {}", self.len())));
            }
        }
        if to.cell.pbc() != self.cell.pbc() {
            return Err(Error::Input(format!(
                "the cell is periodic along {:?}, that of the run along {:?}; keep what is periodic",
                to.cell.pbc(),
                self.cell.pbc()
            )));
        }
        check_finite("positions", &to.positions)?;
        check_finite("momenta", &to.momenta)
    }

    /// Places the atoms, of which fixed ones stay at rest, and returns where they were.
    pub fn place(&mut self, to: Placement) -> Placement {
        self.bonds.follow(&self.positions, &self.cell, &to);
        let positions = std::mem::replace(&mut self.positions, to.positions);
        let momenta = std::mem::replace(&mut self.momenta, to.momenta);
        let cell = std::mem::replace(&mut self.cell, to.cell);
        self.rest_fixed();
        Placement { positions, momenta, cell }
    }

    /// The same state with some atoms fixed, at rest from now on.
    ///
    /// # Errors
    /// `Input` if there is not one flag per atom, or no atom left to move.
    pub fn with_fixed(mut self, fixed: Vec<bool>) -> Result<Self> {
        if fixed.len() != self.len() {
            return Err(Error::Input(format!(
                "fixed flags are given for {} atoms, positions for {}; give one per atom",
                fixed.len(),
                self.len()
            )));
        }
        if fixed.iter().all(|&f| f) {
            return Err(Error::Input("every atom is fixed; leave at least one free to move".into()));
        }
        if fixed.contains(&true) {
            self.fixed = fixed;
            self.rest_fixed();
        }
        Ok(self)
    }

    /// True if atom `i` never moves.
    #[inline]
    pub fn is_fixed(&self, i: usize) -> bool {
        self.fixed.get(i).copied().unwrap_or(false)
    }

    /// True if some atoms never move.
    pub fn has_fixed(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// Sets the momenta of fixed atoms to zero.
    pub fn rest_fixed(&mut self) {
        for (p, _) in self.momenta.iter_mut().zip(&self.fixed).filter(|(_, fixed)| **fixed) {
            *p = [0.0; 3];
        }
    }

    /// p += F·t for `forces` (eV/Å) during `time`; fixed atoms stay at rest.
    pub fn kick(&mut self, forces: &[Vec3], time: f64) {
        for (p, &f) in self.momenta.iter_mut().zip(forces) {
            *p = add(*p, scale(time, f));
        }
        self.rest_fixed();
    }

    /// q += p/m·t.
    pub fn drift(&mut self, time: f64) {
        for (q, (&p, &m)) in self.positions.iter_mut().zip(self.momenta.iter().zip(&self.masses)) {
            *q = add(*q, scale(time / m, p));
        }
    }

    /// This stride's stream of random numbers for `purpose`.
    pub fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.key, purpose, self.step)
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

    /// Σ p⊗p/m, eV: twice the kinetic energy is its trace.
    pub fn kinetic_tensor(&self) -> Mat3 {
        let mut sum = [[0.0; 3]; 3];
        for (p, m) in self.momenta.iter().zip(&self.masses) {
            for a in 0..3 {
                sum[a] = add(sum[a], scale(p[a] / m, *p));
            }
        }
        sum
    }

    /// Velocity of the centre of mass P/M, √(eV/u).
    pub fn centre_of_mass_velocity(&self) -> Vec3 {
        scale(1.0 / self.total_mass(), self.total_momentum())
    }

    /// Velocity of the frame that internal motion is measured in, √(eV/u): that of the centre of mass, or that of the
    /// fixed atoms, which is zero.
    pub fn frame_velocity(&self) -> Vec3 {
        if self.has_fixed() { [0.0; 3] } else { self.centre_of_mass_velocity() }
    }

    /// Internal momenta p − m·v of the [`frame`](Self::frame_velocity), √(eV·u).
    pub fn internal_momenta(&self) -> impl Iterator<Item = Vec3> {
        let v = self.frame_velocity();
        self.momenta.iter().zip(&self.masses).map(move |(&p, &m)| sub(p, scale(m, v)))
    }

    /// Kinetic energy of the internal motion, Σ (p − m·v)²/2m, eV.
    pub fn internal_kinetic_energy(&self) -> f64 {
        self.internal_momenta().zip(&self.masses).map(|(p, m)| dot(p, p) / (2.0 * m)).sum()
    }

    /// Scales internal momenta by α, one factor for all.
    pub fn scale_internal_momenta(&mut self, alpha: f64) {
        let v = self.frame_velocity();
        for (p, &m) in self.momenta.iter_mut().zip(&self.masses) {
            let drift = scale(m, v);
            *p = add(drift, scale(alpha, sub(*p, drift)));
        }
    }

    /// Degrees of freedom of the internal motion: 3N − 3, or 3 for each atom that is not fixed.
    pub fn degrees_of_freedom(&self) -> usize {
        match self.fixed.iter().filter(|f| **f).count() {
            0 => 3 * self.len().saturating_sub(1),
            fixed => 3 * (self.len() - fixed),
        }
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
