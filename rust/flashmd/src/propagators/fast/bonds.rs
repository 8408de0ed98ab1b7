//! The bonds of a system: which atoms they join is decided once, by distance.

use crate::elements;
use crate::error::Result;
use crate::linalg::{Vec3, add, sub};
use crate::model::fast_forces::BondTemplate;
use crate::neighbors::full_list;
use crate::state::Cell;
use crate::state::State;

/// An arm from atom `from` to atom `to`, the latter `shift` cells away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shift: [i64; 3],
}

/// ½k(r − r₀)² along an arm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bond {
    pub(super) arm: Arm,
    pub(super) constant: f64,
    pub(super) length: f64,
}

impl Arm {
    pub(super) fn vector(&self, positions: &[Vec3], cell: &Cell) -> Vec3 {
        add(sub(positions[self.to], positions[self.from]), cell.translation(self.shift))
    }

    /// The same arm from its other end.
    pub(super) fn back(&self) -> Self {
        Self { from: self.to, to: self.from, shift: self.shift.map(|s| -s) }
    }

    /// `force` on the far end, and its reaction on the near one.
    pub(super) fn pull(&self, forces: &mut [Vec3], force: Vec3) {
        forces[self.to] = add(forces[self.to], force);
        forces[self.from] = sub(forces[self.from], force);
    }
}

impl Bond {
    /// The same bond from its other end.
    pub(super) fn back(&self) -> Self {
        Self { arm: self.arm.back(), ..*self }
    }
}

/// The bonds of `state` that fit one of `templates`, and by atom the arms along them.
///
/// # Errors
/// `Input` if the neighbour search fails.
pub(super) fn find(state: &State, templates: &[BondTemplate]) -> Result<(Vec<Bond>, Vec<Vec<Arm>>)> {
    let symbols: Vec<&str> = state.numbers.iter().map(|&z| elements::symbol(z)).collect();
    let reach = templates.iter().fold(0.0f64, |most, bond| most.max(bond.longest_A));
    let list = full_list(&state.positions, &state.cell, reach)?;
    let mut arms: Vec<Vec<Arm>> = vec![Vec::new(); state.len()];
    let mut bonds = Vec::new();
    for edge in 0..list.i.len() {
        let arm = Arm { from: list.i[edge] as usize, to: list.j[edge] as usize, shift: list.shifts[edge] };
        let ends = [symbols[arm.from], symbols[arm.to]];
        let near = |bond: &&BondTemplate| list.distances[edge] < bond.longest_A;
        let template = templates.iter().filter(near).find(|bond| either_way(&bond.species, ends));
        if let Some(template) = template {
            arms[arm.from].push(arm);
            if arm.from < arm.to {
                bonds.push(Bond { arm, constant: template.constant_eV_per_A2, length: template.length_A });
            }
        }
    }
    Ok((bonds, arms))
}

/// True if the symbols are these, read forwards or backwards.
pub(super) fn either_way<const N: usize>(species: &[String; N], symbols: [&str; N]) -> bool {
    species.iter().eq(symbols.iter()) || species.iter().eq(symbols.iter().rev())
}
