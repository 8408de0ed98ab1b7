//! The domain of a model: what it was trained on, and the check of a structure against it.
//!
//! Training data are a sample: a long run at the same conditions goes a little beyond their extremes. What counts as out of
//! the domain is therefore further out, by the margins below.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bonds::BondCounts;
use crate::error::{ModelFault, Result, list_atoms, one_line};
use crate::state::State;
use crate::violation::{Quantity, Violation};

/// A pair is too close below this times the smallest distance in the training data.
pub const DISTANCE_MARGIN: f64 = 0.85;
/// A component of a scaled momentum is too large beyond this times the largest in the training data.
pub const MOMENTUM_MARGIN: f64 = 1.5;
/// An atom has too many neighbours beyond this times the largest number in the training data.
pub const NEIGHBOR_MARGIN: f64 = 1.25;
/// Relative distance of the density from the range in the training data.
pub const DENSITY_MARGIN: f64 = 0.05;
/// Distance of the temperature from the range in the training data, in canonical standard deviations.
pub const TEMPERATURE_MARGIN: f64 = 6.0;

/// u/Å³ in g/cm³.
const DENSITY_UNIT: f64 = 1.660_539_040;

/// The checked domain; what the metadata leaves out is not checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[allow(non_snake_case, reason = "the keys of the contract carry their units")]
#[serde(default)]
pub struct Domain {
    /// Lowest and highest temperature, K.
    pub temperature_K: Option<[f64; 2]>,
    /// Lowest and highest density, g/cm³.
    pub density_g_per_cm3: Option<[f64; 2]>,
    /// Closest approach by pair of species, `O-H`, Å.
    pub smallest_pair_distance_A: BTreeMap<String, f64>,
    /// Largest component of p/√m, √eV.
    pub largest_scaled_momentum_sqrt_eV: Option<f64>,
    /// Most neighbours of an atom.
    pub largest_neighbor_count: Option<u64>,
    /// Fewest neighbours of an atom.
    pub smallest_neighbor_count: Option<u64>,
    /// Largest uncertainty to trust, one per column of the output `uncertainty`, in its unit.
    pub largest_uncertainty: Option<Vec<f64>>,
    /// The bonds of every atom; looked at before a run, not in it.
    pub bonds: Vec<BondCounts>,
}

/// The edges of one system as the network saw them.
#[derive(Debug, Clone, Copy)]
pub struct Neighborhoods<'a> {
    /// First row of the system.
    pub first: usize,
    /// Species index of its atoms, `[N]`.
    pub species: &'a [i32],
    /// r_j − r_i, 3·N·K numbers, Å.
    pub edge_vectors: &'a [f32],
    /// True where the edge is real, N·K.
    pub mask: &'a [bool],
    /// Row of the neighbour, N·K.
    pub neighbors: &'a [i32],
    /// p/√m, 3·N numbers, √eV.
    pub momenta: &'a [f32],
    /// Uncertainty, N × columns; empty if the model has none.
    pub uncertainty: &'a [f32],
}

impl Domain {
    /// Checks that every bound is a number, and bonds are between `species`.
    ///
    /// # Errors
    /// `Model`, naming the key.
    pub(super) fn validate(&self, species: &[String]) -> Result<()> {
        let ranges = [("temperature_K", self.temperature_K), ("density_g_per_cm3", self.density_g_per_cm3)];
        let largest = self.largest_uncertainty.iter().flatten().map(|&x| ("largest_uncertainty", x));
        let ends = ranges.iter().flat_map(|&(key, range)| range.into_iter().flatten().map(move |x| (key, x)));
        let distances = self.smallest_pair_distance_A.values().map(|&d| ("smallest_pair_distance_A", d));
        let momentum = self.largest_scaled_momentum_sqrt_eV.map(|p| ("largest_scaled_momentum_sqrt_eV", p));
        for (key, value) in ends.chain(distances).chain(momentum).chain(largest) {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ModelFault::UnsoundDomain { key, value }.into());
            }
        }
        match self.bonds.iter().find_map(|bond| bond.problem(species)) {
            Some(problem) => Err(ModelFault::UnsoundBonds { problem: one_line(&problem) }.into()),
            None => Ok(()),
        }
    }

    /// Largest of the closest distances, Å; 0 if none is stated.
    pub fn closest_approach(&self) -> f64 {
        self.smallest_pair_distance_A.values().fold(0.0, |m, &d| d.max(m))
    }

    /// Closest distance of atoms of two species, Å; 0 if none is stated.
    pub(in crate::model) fn smallest_pair_distance(&self, a: &str, b: &str) -> f64 {
        let pairs = &self.smallest_pair_distance_A;
        pairs.get(&format!("{a}-{b}")).or_else(|| pairs.get(&format!("{b}-{a}"))).copied().unwrap_or(0.0)
    }

    /// True if the training data were bulk, without surfaces: even the atom with the fewest neighbours had half as many as
    /// the one with the most.
    pub(in crate::model) fn is_bulk(&self) -> bool {
        let counts = self.smallest_neighbor_count.zip(self.largest_neighbor_count);
        self.density_g_per_cm3.is_some()
            && counts.is_some_and(|(fewest, most)| fewest > 0 && fewest.saturating_mul(2) >= most)
    }

    /// Squares of the distances that count as too close, by pair of indices into `species`; 0 where nothing is stated.
    fn too_close(&self, species: &[String]) -> Vec<f32> {
        let bound = |a: &String, b: &String| (DISTANCE_MARGIN * self.smallest_pair_distance(a, b)).powi(2) as f32;
        species.iter().flat_map(|a| species.iter().map(move |b| bound(a, b))).collect()
    }

    /// Everything about `state` that is out of the domain of a model that knows `species`.
    pub fn check(&self, species: &[String], state: &State, seen: Neighborhoods<'_>) -> Vec<Violation> {
        let found = [
            self.check_distances(species, seen),
            self.check_momenta(seen),
            self.check_neighbors(seen),
            self.check_density(state),
            self.check_temperature(state),
            self.check_uncertainty(seen),
            self.check_isolation(seen),
        ];
        found.into_iter().flatten().collect()
    }

    fn check_distances(&self, species: &[String], seen: Neighborhoods<'_>) -> Option<Violation> {
        if self.smallest_pair_distance_A.is_empty() {
            return None;
        }
        let bounds = self.too_close(species);
        let (mut atoms, mut worst) = (Vec::new(), None::<(f32, usize, usize)>);
        for (i, row) in rows(seen.mask, seen.species.len()).enumerate() {
            let max_neighbors = row.len();
            let own = seen.species[i] as usize * species.len();
            let mut close = false;
            for slot in (0..max_neighbors).filter(|&slot| row[slot]) {
                let edge = i * max_neighbors + slot;
                let [x, y, z] = [0, 1, 2].map(|c| seen.edge_vectors[3 * edge + c]);
                let square = x * x + y * y + z * z;
                let j = seen.neighbors[edge] as usize - seen.first;
                if square < bounds[own + seen.species[j] as usize] {
                    close = true;
                    if worst.is_none_or(|(least, ..)| square < least) {
                        worst = Some((square, i, j));
                    }
                }
            }
            if close {
                atoms.push(i);
            }
        }
        let (square, i, j) = worst?;
        let [a, b] = [i, j].map(|k| species[seen.species[k] as usize].as_str());
        let distance = f64::from(square).sqrt();
        let message =
            format!("atoms {i} ({a}) and {j} ({b}) are {distance:.3} Å apart, closer than the model was trained for");
        Some(Violation { quantity: Quantity::PairDistance, atoms, message })
    }

    fn check_momenta(&self, seen: Neighborhoods<'_>) -> Option<Violation> {
        let bound = MOMENTUM_MARGIN * self.largest_scaled_momentum_sqrt_eV?;
        // A turned frame has other components: what is bounded is the length of three of the largest.
        let length = |p: &[f32]| f64::from(p.iter().map(|x| x * x).sum::<f32>()).sqrt();
        let atoms: Vec<usize> = seen
            .momenta
            .chunks_exact(3)
            .enumerate()
            .filter(|(_, p)| length(p) > 3.0_f64.sqrt() * bound)
            .map(|(i, _)| i)
            .collect();
        let message = format!(
            "the scaled momentum p/√m of {} is beyond {bound:.3} √eV per component, more than the model was trained for",
            list_atoms(&atoms)
        );
        (!atoms.is_empty()).then_some(Violation { quantity: Quantity::Momentum, atoms, message })
    }

    fn check_neighbors(&self, seen: Neighborhoods<'_>) -> Option<Violation> {
        let bound = (NEIGHBOR_MARGIN * self.largest_neighbor_count? as f64) as usize;
        let count = |row: &[bool]| row.iter().filter(|&&real| real).count();
        let many = rows(seen.mask, seen.species.len()).map(count).enumerate().filter(|&(_, n)| n > bound);
        let (atoms, counts): (Vec<usize>, Vec<usize>) = many.unzip();
        let most = counts.into_iter().max()?;
        let message = format!(
            "{} have up to {most} neighbours, more than {bound}: denser than the model was trained for",
            list_atoms(&atoms)
        );
        Some(Violation { quantity: Quantity::NeighborCount, atoms, message })
    }

    fn check_isolation(&self, seen: Neighborhoods<'_>) -> Option<Violation> {
        if self.smallest_neighbor_count? == 0 {
            return None;
        }
        let alone = rows(seen.mask, seen.species.len()).enumerate().filter(|(_, row)| !row.contains(&true));
        let atoms: Vec<usize> = alone.map(|(i, _)| i).collect();
        let message = format!("{} left the others: there is no neighbour within the cutoff", list_atoms(&atoms));
        (!atoms.is_empty()).then_some(Violation { quantity: Quantity::Evaporation, atoms, message })
    }

    pub(in crate::model) fn check_density(&self, state: &State) -> Option<Violation> {
        let [low, high] = self.density_g_per_cm3?;
        if state.cell.pbc() != [true; 3] {
            return None;
        }
        let density = state.total_mass() / state.cell.volume() * DENSITY_UNIT;
        let within = (1.0 - DENSITY_MARGIN) * low <= density && density <= (1.0 + DENSITY_MARGIN) * high;
        let surfaces = if density < low && self.is_bulk() { ", without vacuum or surfaces" } else { "" };
        let message =
            format!("the density is {density:.4} g/cm³, the model was trained for {low} to {high} g/cm³{surfaces}");
        (!within).then_some(Violation { quantity: Quantity::Density, atoms: Vec::new(), message })
    }

    fn check_temperature(&self, state: &State) -> Option<Violation> {
        let [low, high] = self.temperature_K?;
        let freedom = state.degrees_of_freedom();
        if freedom == 0 {
            return None;
        }
        let kelvin = state.temperature();
        let margin = TEMPERATURE_MARGIN * (2.0 / freedom as f64).sqrt();
        let within = (1.0 - margin) * low <= kelvin && kelvin <= (1.0 + margin) * high;
        let message = format!("the temperature is {kelvin:.1} K, the model was trained for {low} to {high} K");
        (!within).then_some(Violation { quantity: Quantity::Temperature, atoms: Vec::new(), message })
    }

    fn check_uncertainty(&self, seen: Neighborhoods<'_>) -> Option<Violation> {
        let bounds = self.largest_uncertainty.as_ref()?;
        let columns = seen.uncertainty.len() / seen.species.len().max(1);
        if columns == 0 {
            return None;
        }
        let unsure = |row: &[f32]| row.iter().zip(bounds).any(|(&u, &bound)| f64::from(u) > bound);
        let rows = seen.uncertainty.chunks_exact(columns).enumerate();
        let atoms: Vec<usize> = rows.filter(|(_, row)| unsure(row)).map(|(i, _)| i).collect();
        let message = format!(
            "the model's own uncertainty about {} is beyond {bounds:?}, the largest to trust",
            list_atoms(&atoms)
        );
        (!atoms.is_empty()).then_some(Violation { quantity: Quantity::Uncertainty, atoms, message })
    }
}

/// The rows of an `[N, K]` array.
fn rows<T>(values: &[T], atoms: usize) -> impl Iterator<Item = &[T]> {
    values.chunks_exact((values.len() / atoms.max(1)).max(1))
}
