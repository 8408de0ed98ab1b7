//! The fast forces that a `hybrid` model names: bonds, angles and pair tables between its kicks.

use serde::Deserialize;

use crate::topology::{Reach, either_way};

/// Inner steps of a stride: each costs a look at every bond.
const MOST_INNER_STEPS: f64 = 1024.0;
/// Longest bond, Å.
pub(super) const LONGEST_BOND: f64 = 5.0;
/// Entries of a table of pair energies.
const TABLE: std::ops::RangeInclusive<usize> = 2..=4096;
/// A table has to end at zero, in eV and eV/Å, so that no force jumps at its end.
const END: f64 = 1e-6;

/// Contract from which bonds and angles may be told apart by environments, and bonds may be Morse's.
const ENVIRONMENTS_SINCE: u64 = 3;

/// Bonds and angles by species or environment, found by distance at the start of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FastForces {
    /// Step of the inner loop of r-RESPA, fs.
    #[serde(rename = "inner_fs")]
    pub inner_timestep_fs: f64,
    /// Kinds of bonds.
    pub bonds: Vec<BondTemplate>,
    /// Kinds of angles, each between two of the bonds.
    #[serde(default)]
    pub angles: Vec<AngleTemplate>,
    /// Pair forces.
    pub pairs: Option<PairTables>,
    /// The scalars see atoms that have one bond only at the rest length of it.
    #[serde(default)]
    pub mollified: bool,
}

/// ½k(r − r₀)², or Morse's k/2a²·(1 − exp(−a(r − r₀)))², between any two such atoms that are near enough at the start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)] // the keys of the contract carry their units
pub struct BondTemplate {
    /// Chemical symbols, or [environments](crate::topology::environments).
    pub species: [String; 2],
    /// k, eV/Å².
    pub constant_eV_per_A2: f64,
    /// r₀, Å.
    pub length_A: f64,
    /// a, 1/Å; 0 of a harmonic bond.
    #[serde(default)]
    pub morse_per_A: f64,
    /// Atoms nearer than this at the start are bonded, Å.
    pub longest_A: f64,
}

/// ½k(θ − θ₀)² between any two bonds that meet in an atom of the middle species.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)]
pub struct AngleTemplate {
    /// Chemical symbols or environments: end, middle, end.
    pub species: [String; 3],
    /// k, eV/rad².
    pub constant_eV_per_rad2: f64,
    /// θ₀, rad.
    pub angle_rad: f64,
}

/// Energies of pairs of atoms that no bond or angle joins, by distance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)]
pub struct PairTables {
    /// Step of velocity Verlet under them, fs.
    #[serde(rename = "step_fs")]
    pub timestep_fs: f64,
    /// First distance of the tables, Å; nearer, the force is as there.
    pub first_A: f64,
    /// Between two distances, Å.
    pub spacing_A: f64,
    /// One for each pair of species that has forces.
    pub tables: Vec<PairTable>,
}

/// A cubic between any two entries, with their energies and slopes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)]
pub struct PairTable {
    /// Chemical symbols.
    pub species: [String; 2],
    /// E of a pair, eV.
    pub energies_eV: Vec<f64>,
    /// dE/dr, eV/Å.
    pub slopes_eV_per_A: Vec<f64>,
}

impl PairTables {
    /// Where the tables end, Å.
    pub fn cutoff(&self) -> f64 {
        let entries = self.tables.iter().map(|table| table.energies_eV.len()).max().unwrap_or(1);
        self.first_A + self.spacing_A * (entries - 1) as f64
    }

    fn problem(&self, inner_fs: f64, stride_fs: f64, cutoff: f64, species: &[String]) -> Option<String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !(self.timestep_fs >= inner_fs && self.timestep_fs <= stride_fs) {
            return Some(format!(
                "has pairs of step_fs {:?}; wanted at least inner_fs and at most the stride",
                self.timestep_fs
            ));
        }
        if !(positive(self.first_A) && positive(self.spacing_A)) {
            return Some(format!(
                "has pairs with first_A {:?} and spacing_A {:?}; wanted two positive distances",
                self.first_A, self.spacing_A
            ));
        }
        let length = self.tables.first().map_or(0, |table| table.energies_eV.len());
        let end = |values: &[f64]| values.last().is_some_and(|last| last.abs() <= END);
        let sound = |table: &PairTable| {
            let PairTable { energies_eV: energies, slopes_eV_per_A: slopes, .. } = table;
            table.species.iter().all(|name| species.contains(name))
                && TABLE.contains(&length)
                && [energies.len(), slopes.len()] == [length; 2]
                && energies.iter().chain(slopes).all(|value| value.is_finite())
                && end(energies)
                && end(slopes)
        };
        if self.tables.is_empty() || !self.tables.iter().all(sound) {
            return Some(format!(
                "has pairs with unsound tables; wanted at least one, of species of the model, with {} to {} finite energies and \
                 as many slopes, the same number in each, the last of them zero",
                TABLE.start(),
                TABLE.end()
            ));
        }
        if self.cutoff() > cutoff + END {
            return Some(format!("has pairs that reach to {} Å; wanted at most cutoff_A, {cutoff} Å", self.cutoff()));
        }
        let sorted = |table: &PairTable| {
            let mut names = table.species.clone();
            names.sort_unstable();
            names
        };
        let twice =
            |(index, table): (usize, &PairTable)| self.tables[..index].iter().any(|t| sorted(t) == sorted(table));
        self.tables.iter().enumerate().any(twice).then(|| "names a pair of species twice".into())
    }
}

/// The element of a name: of an environment, what stands before its neighbours.
pub fn element(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// A name that stands for atoms: an environment for its own, an element for all of its environments.
#[derive(Clone, Copy)]
struct Name<'a>(&'a str);

impl PartialEq for Name<'_> {
    /// True if one atom can be called both.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0 == element(other.0) || element(self.0) == other.0
    }
}

/// True if atoms of these names can be those of a template, read forwards or backwards.
pub fn fit<const N: usize>(template: &[String; N], names: [&str; N]) -> bool {
    either_way(&template.each_ref().map(|name| Name(name)), names.map(Name))
}

/// The first two of `templates` that one group of atoms fits.
fn ambiguous<const N: usize>(templates: &[&[String; N]]) -> Option<String> {
    let names = |k: usize| templates[k].each_ref().map(String::as_str);
    let twice = |k: usize| (0..k).find(|&before| fit(templates[before], names(k))).map(|before| (before, k));
    (0..templates.len()).find_map(twice).map(|(first, second)| {
        format!(
            "has two entries for the same atoms, {} and {}",
            templates[first].join("–"),
            templates[second].join("–")
        )
    })
}

impl FastForces {
    /// Which distances are bonds.
    pub fn reaches(&self) -> Vec<Reach<'_>> {
        self.bonds
            .iter()
            .map(|bond| Reach { elements: bond.species.each_ref().map(|name| element(name)), longest: bond.longest_A })
            .collect()
    }

    /// What is wrong with it, in a file of version `contract`, for a stride of `stride_fs` of a model of that cutoff (Å) and
    /// these species; None if nothing.
    pub(super) fn problem(&self, contract: u64, stride_fs: f64, cutoff: f64, species: &[String]) -> Option<String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let known = |names: &[String]| names.iter().all(|name| species.iter().any(|symbol| symbol == element(name)));
        let plain = |names: &[String]| names.iter().all(|name| name == element(name));
        if contract < ENVIRONMENTS_SINCE
            && !(self.bonds.iter().all(|bond| plain(&bond.species) && bond.morse_per_A == 0.0)
                && self.angles.iter().all(|angle| plain(&angle.species)))
        {
            return Some(format!(
                "has environments or Morse bonds, which need contract {ENVIRONMENTS_SINCE}; the file says {contract}"
            ));
        }
        if !(positive(self.inner_timestep_fs)
            && self.inner_timestep_fs <= stride_fs
            && stride_fs / self.inner_timestep_fs <= MOST_INNER_STEPS)
        {
            return Some(format!(
                "has an inner_fs of {:?}; wanted a step of at most the stride and at least a {MOST_INNER_STEPS}th of it",
                self.inner_timestep_fs
            ));
        }
        if self.bonds.is_empty() {
            return Some("names no bonds; a model without any is of kind splitting".into());
        }
        let bond = |b: &&BondTemplate| {
            known(&b.species)
                && positive(b.constant_eV_per_A2)
                && positive(b.length_A)
                && (b.morse_per_A == 0.0 || positive(b.morse_per_A))
                && b.longest_A > b.length_A
                && b.longest_A <= LONGEST_BOND
        };
        if let Some(bad) = self.bonds.iter().find(|b| !bond(b)) {
            return Some(format!(
                "has the bond {bad:?}; wanted species of the model, a positive constant and length, no negative morse_per_A, \
                 and a longest_A beyond the length, at most {LONGEST_BOND}"
            ));
        }
        let angle = |a: &&AngleTemplate| {
            known(&a.species) && positive(a.constant_eV_per_rad2) && (0.0..=std::f64::consts::PI).contains(&a.angle_rad)
        };
        if let Some(bad) = self.angles.iter().find(|a| !angle(a)) {
            return Some(format!(
                "has the angle {bad:?}; wanted species of the model, a positive constant and an angle from 0 to π"
            ));
        }
        let bonds: Vec<_> = self.bonds.iter().map(|bond| &bond.species).collect();
        let angles: Vec<_> = self.angles.iter().map(|angle| &angle.species).collect();
        let pairs = || self.pairs.as_ref()?.problem(self.inner_timestep_fs, stride_fs, cutoff, species);
        ambiguous(&bonds).or_else(|| ambiguous(&angles)).or_else(pairs)
    }
}
