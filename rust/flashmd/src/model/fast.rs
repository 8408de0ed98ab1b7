//! The bonds and angles that a `hybrid` model names: what swings between its kicks.

use serde::Deserialize;

/// Inner steps of a stride: each costs a look at every bond.
const MOST_INNER_STEPS: f64 = 1024.0;
/// Longest bond, Å.
const LONGEST_BOND: f64 = 5.0;

/// Harmonic bonds and angles by species, found by distance at the start of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Fast {
    /// Step of velocity Verlet under them, fs.
    pub inner_fs: f64,
    /// Kinds of bonds.
    pub bonds: Vec<BondKind>,
    /// Kinds of angles, each between two of the bonds.
    #[serde(default)]
    pub angles: Vec<AngleKind>,
}

/// ½k(r − r₀)² between any two atoms of these species that are near enough at the start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)] // the keys of the contract carry their units
pub struct BondKind {
    /// Chemical symbols.
    pub species: [String; 2],
    /// k, eV/Å².
    pub constant_eV_per_A2: f64,
    /// r₀, Å.
    pub length_A: f64,
    /// Atoms nearer than this at the start are bonded, Å.
    pub longest_A: f64,
}

/// ½k(θ − θ₀)² between any two bonds that meet in an atom of the middle species.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)]
pub struct AngleKind {
    /// Chemical symbols: end, middle, end.
    pub species: [String; 3],
    /// k, eV/rad².
    pub constant_eV_per_rad2: f64,
    /// θ₀, rad.
    pub angle_rad: f64,
}

impl Fast {
    /// What is wrong with it, for a stride of `stride_fs` of a model of these species; None if nothing.
    pub fn fault(&self, stride_fs: f64, species: &[String]) -> Option<String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let known = |names: &[String]| names.iter().all(|name| species.contains(name));
        if !(positive(self.inner_fs) && self.inner_fs <= stride_fs && stride_fs / self.inner_fs <= MOST_INNER_STEPS) {
            return Some(format!(
                "has an inner_fs of {:?}; wanted a step of at most the stride and at least a {MOST_INNER_STEPS}th of it",
                self.inner_fs
            ));
        }
        if self.bonds.is_empty() {
            return Some("names no bonds; a model without any is of kind splitting".into());
        }
        let bond = |b: &&BondKind| {
            known(&b.species)
                && positive(b.constant_eV_per_A2)
                && positive(b.length_A)
                && b.longest_A > b.length_A
                && b.longest_A <= LONGEST_BOND
        };
        if let Some(bad) = self.bonds.iter().find(|b| !bond(b)) {
            return Some(format!(
                "has the bond {bad:?}; wanted species of the model, a positive constant and length, and a longest_A beyond \
                 the length, at most {LONGEST_BOND}"
            ));
        }
        let angle = |a: &&AngleKind| {
            known(&a.species) && positive(a.constant_eV_per_rad2) && (0.0..=std::f64::consts::PI).contains(&a.angle_rad)
        };
        self.angles.iter().find(|a| !angle(a)).map(|bad| {
            format!("has the angle {bad:?}; wanted species of the model, a positive constant and an angle from 0 to π")
        })
    }
}
