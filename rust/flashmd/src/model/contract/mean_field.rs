//! What an energy model cannot learn from forces: an energy that depends on the densities of the species alone.
//!
//! ```text
//! E = Σ_ab A_ab N_a N_b / V + Σ_abc B_abc N_a N_b N_c / V²      over the listed pairs and triples of species
//! ```
//!
//! Forces at a fixed volume do not show it, pressures do. The attraction beyond the cutoff is its largest part: it pulls
//! an atom of a homogeneous fluid or solid equally in all directions. For Lennard-Jones pairs of one species whose forces are
//! learned up to r_c, A = −16π ε σ⁶ / (3 r_c³): half of it is the energy beyond r_c, half the step at r_c. The triples hold
//! what else the network misses, to the next order in the density.
//!
//! Source of the pair term: Allen and Tildesley, Computer Simulation of Liquids, 2nd ed. (2017), section 2.8.

use serde::Deserialize;

use crate::elements;
use crate::state::State;

/// Largest coefficients, eV·Å³ and eV·Å⁶: beyond any of atoms.
const LARGEST_PAIR: f64 = 1e6;
const LARGEST_TRIPLE: f64 = 1e9;

/// A_ab.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case, reason = "the keys of the contract carry their units")]
pub struct PairTerm {
    /// Chemical symbols, in any order.
    pub species: [String; 2],
    /// A_ab, eV·Å³.
    pub coefficient_eV_A3: f64,
}

/// B_abc.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case, reason = "the keys of the contract carry their units")]
pub struct TripleTerm {
    /// Chemical symbols, in any order.
    pub species: [String; 3],
    /// B_abc, eV·Å⁶.
    pub coefficient_eV_A6: f64,
}

/// The terms of an energy model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct MeanField {
    /// Of pairs of species.
    pub pairs: Vec<PairTerm>,
    /// Of triples of species.
    #[serde(default)]
    pub triples: Vec<TripleTerm>,
}

impl MeanField {
    /// What is wrong with it, for a model of these species; None if nothing.
    pub(super) fn problem(&self, species: &[String]) -> Option<String> {
        let known = |names: &[String]| names.iter().all(|name| species.contains(name));
        let pair = |term: &&PairTerm| !(known(&term.species) && term.coefficient_eV_A3.abs() <= LARGEST_PAIR);
        let triple = |term: &&TripleTerm| !(known(&term.species) && term.coefficient_eV_A6.abs() <= LARGEST_TRIPLE);
        let bad_pair = self.pairs.iter().find(pair).map(|term| format!("{term:?}"));
        if let Some(bad) = bad_pair.or_else(|| self.triples.iter().find(triple).map(|term| format!("{term:?}"))) {
            return Some(format!(
                "has the term {bad}; wanted species of the model, and a coefficient within {LARGEST_PAIR:e} eV Å³ or \
                 {LARGEST_TRIPLE:e} eV Å⁶ of zero"
            ));
        }
        None
    }

    /// Energy of `state`, eV, and its virial in every direction, −V ∂E/∂V, eV.
    ///
    /// Both are zero unless the cell is periodic along three axes: a cluster or a wire has no mean field.
    pub fn energy_and_virial(&self, state: &State) -> (f64, f64) {
        if state.cell.pbc() != [true; 3] {
            return (0.0, 0.0);
        }
        let volume = state.cell.volume();
        let count = |symbol: &String| state.numbers.iter().filter(|&&z| elements::symbol(z) == symbol).count() as f64;
        let product = |species: &[String]| species.iter().map(count).product::<f64>();
        let pair = |term: &PairTerm| product(&term.species) * term.coefficient_eV_A3;
        let triple = |term: &TripleTerm| product(&term.species) * term.coefficient_eV_A6;
        let pairs = self.pairs.iter().map(pair).sum::<f64>() / volume;
        let triples = self.triples.iter().map(triple).sum::<f64>() / (volume * volume);
        (pairs + triples, pairs + 2.0 * triples)
    }
}
