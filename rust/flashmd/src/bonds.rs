//! The bonds of a system: which atoms they join is decided once, by distance.

use crate::cell::Cell;
use crate::elements;
use crate::error::Result;
use crate::linalg::{Vec3, add, sub};
use crate::model::fast::BondKind;
use crate::neighbors::full_list;
use crate::state::State;

/// An arm from atom `from` to atom `to`, the latter `shift` cells away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) shift: [i64; 3],
}

/// ½k(r − r₀)² along an arm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bond {
    pub(crate) arm: Arm,
    pub(crate) constant: f64,
    pub(crate) length: f64,
}

impl Arm {
    pub(crate) fn vector(&self, positions: &[Vec3], cell: &Cell) -> Vec3 {
        add(sub(positions[self.to], positions[self.from]), cell.translation(self.shift))
    }

    /// The same arm from its other end.
    pub(crate) fn back(&self) -> Self {
        Self { from: self.to, to: self.from, shift: self.shift.map(|s| -s) }
    }

    /// `force` on the far end, and its reaction on the near one.
    pub(crate) fn pull(&self, forces: &mut [Vec3], force: Vec3) {
        forces[self.to] = add(forces[self.to], force);
        forces[self.from] = sub(forces[self.from], force);
    }
}

impl Bond {
    /// The same bond from its other end.
    pub(crate) fn back(&self) -> Self {
        Self { arm: self.arm.back(), ..*self }
    }
}

/// The bonds of `state` of these kinds, and by atom the arms along them.
///
/// # Errors
/// `Input` if the neighbour search fails.
pub(crate) fn find(state: &State, kinds: &[BondKind]) -> Result<(Vec<Bond>, Vec<Vec<Arm>>)> {
    let symbols: Vec<&str> = state.numbers.iter().map(|&z| elements::symbol(z)).collect();
    let reach = kinds.iter().fold(0.0f64, |most, bond| most.max(bond.longest_A));
    let list = full_list(&state.positions, &state.cell, reach)?;
    let mut arms: Vec<Vec<Arm>> = vec![Vec::new(); state.len()];
    let mut bonds = Vec::new();
    for at in 0..list.i.len() {
        let arm = Arm { from: list.i[at] as usize, to: list.j[at] as usize, shift: list.shifts[at] };
        let ends = [symbols[arm.from], symbols[arm.to]];
        let near = |bond: &&BondKind| list.distances[at] < bond.longest_A;
        let kind = kinds.iter().filter(near).find(|bond| either_way(&bond.species, ends));
        if let Some(kind) = kind {
            arms[arm.from].push(arm);
            if arm.from < arm.to {
                bonds.push(Bond { arm, constant: kind.constant_eV_per_A2, length: kind.length_A });
            }
        }
    }
    Ok((bonds, arms))
}

/// True if the symbols are these, read forwards or backwards.
pub(crate) fn either_way<const N: usize>(species: &[String; N], symbols: [&str; N]) -> bool {
    species.iter().eq(symbols.iter()) || species.iter().eq(symbols.iter().rev())
}
