//! The bonds of a system: which atoms they join is decided once, by distance.

use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, norm, scale, sub};
use crate::model::fast_forces::{BondTemplate, FastForces, fit};
use crate::state::{Cell, State};
use crate::topology::{bonded_pairs, environments};

/// An arm from atom `from` to atom `to`, the latter `shift` cells away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shift: [i64; 3],
}

/// ½k(r − r₀)² along an arm, or Morse's k/2a²·(1 − exp(−a(r − r₀)))².
#[derive(Debug, Clone, Copy)]
pub(super) struct Bond {
    pub(super) arm: Arm,
    constant: f64,
    pub(super) length: f64,
    /// a, 1/Å; 0 of a harmonic bond.
    morse: f64,
}

/// The bonds of one system.
#[derive(Debug)]
pub(super) struct Bonds {
    pub(super) bonds: Vec<Bond>,
    /// By atom, the arms from it.
    pub(super) arms: Vec<Vec<Arm>>,
    /// What surrounds each atom.
    pub(super) environments: Vec<String>,
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
    fn new(arm: Arm, template: &BondTemplate) -> Self {
        let &BondTemplate { constant_eV_per_A2: constant, length_A: length, morse_per_A: morse, .. } = template;
        Self { arm, constant, length, morse }
    }

    /// The force on the far end, eV/Å, of the bond's vector.
    pub(super) fn force(&self, vector: Vec3) -> Vec3 {
        let r = norm(vector);
        let stretch = r - self.length;
        if self.morse == 0.0 {
            return scale(-self.constant * stretch / r, vector);
        }
        let decay = (-self.morse * stretch).exp();
        scale(-self.constant / self.morse * (1.0 - decay) * decay / r, vector)
    }

    /// The same bond from its other end.
    pub(super) fn back(&self) -> Self {
        Self { arm: self.arm.back(), ..*self }
    }
}

/// The bonds of `state` by `templates`, and by atom the arms along them.
///
/// # Errors
/// `Input` for a bond that no template fits, or if the neighbour search fails.
pub(super) fn find(state: &State, fast: &FastForces) -> Result<Bonds> {
    let pairs = if state.bonds.is_empty() { bonded_pairs(state, &fast.reaches())? } else { state.bonds.clone() };
    let environments = environments(&state.numbers, &pairs.atoms);
    let mut arms: Vec<Vec<Arm>> = vec![Vec::new(); state.len()];
    let mut bonds = Vec::with_capacity(pairs.atoms.len());
    for ([from, to], shift) in pairs.iter() {
        let arm = Arm { from, to, shift };
        let names = [from, to].map(|atom| environments[atom].as_str());
        let template = fast.bonds.iter().find(|bond| fit(&bond.species, names));
        bonds.push(Bond::new(arm, template.ok_or_else(|| unknown(arm, names, &fast.bonds))?));
        arms[from].push(arm);
        arms[to].push(arm.back());
    }
    Ok(Bonds { bonds, arms, environments })
}

fn unknown(arm: Arm, names: [&str; 2], templates: &[BondTemplate]) -> Error {
    let known: Vec<String> = templates.iter().map(|bond| bond.species.join("–")).collect();
    Error::Input(format!(
        "atoms {} ({}) and {} ({}) are bonded, and the model knows no such bond; it knows {}; give molecules of the kinds it \
         was trained on",
        arm.from,
        names[0],
        arm.to,
        names[1],
        known.join(", ")
    ))
}
