//! Molecules: atoms joined by bonds, made whole across periodic boundaries.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, scale, sub};
use crate::neighbors::full_list;
use crate::state::{Cell, Placement, State};

/// Two atoms are bonded within this many times the sum of their covalent radii.
const BOND: f64 = 1.25;

/// Which atoms move together. Bonds are looked for once, at the start of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Molecules {
    /// Molecule of each atom, `[N]`, numbered by the first atom.
    pub of: Vec<u32>,
    /// r + shift·cell puts an atom beside the others of its molecule, `[N]`.
    pub shifts: Vec<[i64; 3]>,
    /// Number of molecules.
    pub count: usize,
}

/// Centre of mass of a molecule.
#[derive(Debug, Clone, Copy, Default)]
pub struct Centre {
    /// Mass, u.
    pub mass: f64,
    /// Position, of the whole molecule, Å.
    pub position: Vec3,
    /// Momentum, √(eV·u).
    pub momentum: Vec3,
}

impl Molecules {
    /// Every one of `n` atoms on its own.
    pub fn single_atoms(n: usize) -> Self {
        Self { of: (0..n as u32).collect(), shifts: vec![[0; 3]; n], count: n }
    }

    /// Molecules of `state` by distance: atoms closer than 1.25 times the sum of their covalent `radii` (Å) are bonded.
    ///
    /// Atoms of a network without end, such as a covalent crystal bonded to its own image, stay on their own.
    ///
    /// # Errors
    /// `Input` if there is not one positive radius per atom, or the neighbour search fails.
    pub fn find(state: &State, radii: &[f64]) -> Result<Self> {
        let n = state.len();
        if radii.len() != n || radii.iter().any(|r| !(r.is_finite() && *r > 0.0)) {
            return Err(Error::Input(format!("bond radii must be {n} positive numbers of Å, got {}", radii.len())));
        }
        let bonds = Bonds::of(state, radii)?;
        let mut found = Self { of: vec![u32::MAX; n], shifts: vec![[0; 3]; n], count: 0 };
        for first in 0..n {
            if found.of[first] == u32::MAX {
                found.add_molecule(first, &bonds);
            }
        }
        Ok(found)
    }

    /// The molecule of `first`, breadth first along its bonds.
    fn add_molecule(&mut self, first: usize, bonds: &Bonds) {
        let number = self.count as u32;
        let (mut members, mut queue, mut endless) = (vec![first], VecDeque::from([first]), false);
        self.of[first] = number;
        while let Some(i) = queue.pop_front() {
            for &(j, bond) in bonds.from(i) {
                let shift = std::array::from_fn(|k| self.shifts[i][k] + bond[k]);
                if self.of[j] == number {
                    endless |= self.shifts[j] != shift;
                } else {
                    (self.of[j], self.shifts[j]) = (number, shift);
                    members.push(j);
                    queue.push_back(j);
                }
            }
        }
        self.count += 1;
        if endless {
            self.count -= 1;
            for i in members {
                (self.of[i], self.shifts[i]) = (self.count as u32, [0; 3]);
                self.count += 1;
            }
        }
    }

    /// Keeps molecules whole where atoms of `state` are placed elsewhere, or at other images of themselves.
    ///
    /// The first atom of a molecule may go anywhere; the others stay within half a cell of where they were beside it.
    pub fn follow(&mut self, state: &State, to: &Placement) {
        let mut first = vec![usize::MAX; self.count];
        for i in 0..self.of.len() {
            let leader = &mut first[self.of[i] as usize];
            if *leader == usize::MAX {
                *leader = i;
            }
            let leader = *leader;
            for k in (0..3).filter(|&k| state.cell.pbc()[k]) {
                let beside = |cell: &Cell, positions: &[Vec3]| {
                    cell.coordinate(positions[i], k) - cell.coordinate(positions[leader], k)
                };
                let images = beside(&to.cell, &to.positions) - beside(&state.cell, &state.positions);
                self.shifts[i][k] -= images.round() as i64;
            }
        }
    }

    /// Centres of mass, by molecule.
    pub fn centres(&self, state: &State) -> Vec<Centre> {
        let mut centres = vec![Centre::default(); self.count];
        for (i, &m) in state.masses.iter().enumerate() {
            let centre = &mut centres[self.of[i] as usize];
            let whole = add(state.positions[i], state.cell.translation(self.shifts[i]));
            centre.mass += m;
            centre.position = add(centre.position, scale(m, whole));
            centre.momentum = add(centre.momentum, state.momenta[i]);
        }
        for centre in &mut centres {
            centre.position = scale(1.0 / centre.mass, centre.position);
        }
        centres
    }

    /// From the centre of its molecule to atom `i`, Å.
    pub fn arm(&self, state: &State, centres: &[Centre], i: usize) -> Vec3 {
        let whole = add(state.positions[i], state.cell.translation(self.shifts[i]));
        sub(whole, centres[self.of[i] as usize].position)
    }
}

/// Bonds by atom: `to[start[i]..start[i + 1]]`.
struct Bonds {
    start: Vec<usize>,
    to: Vec<(usize, [i64; 3])>,
}

impl Bonds {
    fn of(state: &State, radii: &[f64]) -> Result<Self> {
        let reach = BOND * 2.0 * radii.iter().fold(0.0f64, |m, &r| m.max(r));
        let list = full_list(&state.positions, &state.cell, reach)?;
        let mut bonds = Self { start: vec![0; state.len() + 1], to: Vec::new() };
        for index in 0..list.i.len() {
            let (i, j) = (list.i[index] as usize, list.j[index] as usize);
            if list.distances[index] < BOND * (radii[i] + radii[j]) {
                bonds.start[i + 1] += 1;
                bonds.to.push((j, list.shifts[index]));
            }
        }
        for i in 0..state.len() {
            bonds.start[i + 1] += bonds.start[i];
        }
        Ok(bonds)
    }

    fn from(&self, i: usize) -> &[(usize, [i64; 3])] {
        &self.to[self.start[i]..self.start[i + 1]]
    }
}
