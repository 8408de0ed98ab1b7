//! The fields of a system in a checkpoint: one table, used for writing and for reading.

use safetensors::tensor::{SafeTensors, TensorView};

use super::damaged;
use super::tensor::{Stored, Tensor};
use crate::error::Result;
use crate::run::system::System;
use crate::state::{Cell, State};
use crate::violation::Quantity;

/// A field of a system and its tensor, which is called `<number of the system>.<name of the field>`.
struct Field {
    name: &'static str,
    store: fn(&System) -> Tensor,
    /// Puts the value into the system; `None` if the tensor has another type or shape.
    load: fn(&mut System, &TensorView<'_>) -> Option<Result<()>>,
}

macro_rules! field {
    ($name:literal, $($path:tt)+) => {
        Field {
            name: $name,
            store: |system| Stored::store(&system.$($path)+),
            load: |system, view| Some(Ok(system.$($path)+ = Stored::load(view)?)),
        }
    };
}

/// Axes of a cell.
const CELL: Field = Field {
    name: "cell",
    store: |system| system.state.cell.matrix().store(),
    load: |system, view| {
        let matrix = Stored::load(view)?;
        // Which axes are periodic is the next field.
        Some(Cell::new(matrix, [false; 3]).map(|cell| system.state.cell = cell))
    },
};

const PBC: Field = Field {
    name: "pbc",
    store: |system| system.state.cell.pbc().store(),
    load: |system, view| {
        let pbc = Stored::load(view)?;
        Some(Cell::new(*system.state.cell.matrix(), pbc).map(|cell| system.state.cell = cell))
    },
};

/// Names of the quantities out of bounds when the last stride began, one a line.
const OUT_OF_BOUNDS: Field = Field {
    name: "guard.out_of_bounds",
    store: |system| {
        let active = system.statistics.guard.active;
        let names = Quantity::ALL.into_iter().filter(|&q| active & (1 << q as usize) != 0).map(Quantity::name);
        names.collect::<Vec<_>>().join("\n").into_bytes().store()
    },
    load: |system, view| {
        let text = String::from_utf8(Stored::load(view)?).ok()?;
        for name in text.lines() {
            let quantity = Quantity::ALL.into_iter().find(|q| q.name() == name)?;
            system.statistics.guard.active |= 1 << quantity as usize;
        }
        Some(Ok(()))
    },
};

const FIELDS: &[Field] = &[
    field!("positions", state.positions),
    field!("momenta", state.momenta),
    field!("masses", state.masses),
    field!("numbers", state.numbers),
    field!("fixed", state.fixed),
    field!("bonds.atoms", state.bonds.atoms),
    field!("bonds.shifts", state.bonds.shifts),
    CELL,
    PBC,
    field!("step", state.step),
    field!("time", state.time),
    field!("seed", state.key.seed),
    field!("replica", state.key.replica),
    field!("molecules.of", molecules.of),
    field!("molecules.shifts", molecules.shifts),
    field!("heat", statistics.heat),
    field!("work", statistics.work),
    field!("start.energy", statistics.start_energy),
    field!("start.volume", statistics.start_volume),
    field!("start.temperature", statistics.start_temperature),
    field!("metropolis.tried", statistics.metropolis.tried),
    field!("metropolis.accepted", statistics.metropolis.accepted),
    field!("rescaling.count", statistics.rescaling.count),
    field!("rescaling.skipped", statistics.rescaling.skipped),
    field!("rescaling.clamped", statistics.rescaling.clamped),
    field!("rescaling.alpha_min", statistics.rescaling.alpha_min),
    field!("rescaling.alpha_max", statistics.rescaling.alpha_max),
    field!("barostat.tried", statistics.barostat.tried),
    field!("barostat.accepted", statistics.barostat.accepted),
    field!("guard.fallbacks", statistics.guard.fallbacks),
    field!("guard.fallback_left", statistics.guard.fallback_left),
    OUT_OF_BOUNDS,
    field!("guard.strides.pair_distance", statistics.guard.counts[Quantity::PairDistance as usize]),
    field!("guard.strides.momentum", statistics.guard.counts[Quantity::Momentum as usize]),
    field!("guard.strides.neighbor_count", statistics.guard.counts[Quantity::NeighborCount as usize]),
    field!("guard.strides.density", statistics.guard.counts[Quantity::Density as usize]),
    field!("guard.strides.temperature", statistics.guard.counts[Quantity::Temperature as usize]),
    field!("guard.strides.uncertainty", statistics.guard.counts[Quantity::Uncertainty as usize]),
    field!("guard.strides.explosion", statistics.guard.counts[Quantity::Explosion as usize]),
    field!("guard.strides.freezing", statistics.guard.counts[Quantity::Freezing as usize]),
    field!("guard.strides.evaporation", statistics.guard.counts[Quantity::Evaporation as usize]),
    field!("guard.strides.failed", statistics.guard.counts[Quantity::Stride as usize]),
];

/// The tensors of the system numbered `number`.
pub(super) fn store(number: usize, system: &System) -> impl Iterator<Item = (String, Tensor)> {
    FIELDS.iter().map(move |field| (tensor_name(number, field), (field.store)(system)))
}

/// The system numbered `number`, without filters.
pub(super) fn load(number: usize, file: &SafeTensors<'_>) -> Result<System> {
    let mut system = blank(number, file)?;
    for field in FIELDS {
        let name = tensor_name(number, field);
        let view = file.tensor(&name).map_err(damaged)?;
        (field.load)(&mut system, &view).ok_or_else(|| {
            damaged(format!("{name} is of another type or shape: {:?} {:?}", view.dtype(), view.shape()))
        })??;
    }
    check(&mut system)?;
    Ok(system)
}

fn tensor_name(number: usize, field: &Field) -> String {
    format!("{number}.{}", field.name)
}

/// A system of as many atoms as there are positions.
fn blank(number: usize, file: &SafeTensors<'_>) -> Result<System> {
    let view = file.tensor(&format!("{number}.positions")).map_err(damaged)?;
    let atoms = view.shape().first().copied().unwrap_or(0);
    let zeros = vec![[0.0; 3]; atoms];
    State::new(zeros.clone(), zeros, vec![1.0; atoms], vec![0; atoms], Cell::open()).map(System::new)
}

/// Checks that the fields fit each other.
fn check(system: &mut System) -> Result<()> {
    let State { positions, momenta, masses, numbers, cell, fixed, bonds, key, step, time } = system.state.clone();
    let atoms = positions.len();
    if !(fixed.is_empty() || fixed.len() == atoms) {
        return Err(damaged("fixed flags do not fit the atoms"));
    }
    if bonds.shifts.len() != bonds.atoms.len() || !bonds.iter().all(|([i, j], _)| i <= j && j < atoms) {
        return Err(damaged("bonds do not fit the atoms"));
    }
    system.state = State { fixed, bonds, key, step, time, ..State::new(positions, momenta, masses, numbers, cell)? };
    let molecules = &mut system.molecules;
    molecules.count = molecules.of.iter().max().map_or(0, |&m| m as usize + 1);
    if molecules.of.len() != atoms || molecules.shifts.len() != atoms || molecules.count > atoms {
        return Err(damaged("molecules do not fit the atoms"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own() {
        let names: HashSet<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), FIELDS.len());
        let strides = names.iter().filter(|name| name.starts_with("guard.strides."));
        assert_eq!(strides.count(), Quantity::ALL.len(), "one for each quantity");
    }
}
