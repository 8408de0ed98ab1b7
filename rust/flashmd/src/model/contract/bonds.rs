//! The bonds that a model knows: how many of them each atom has, and what of a structure is otherwise.

use serde::Deserialize;

use super::fast_forces::{FastForces, LONGEST_BOND, element};
use crate::elements;
use crate::error::Result;
use crate::linalg::norm;
use crate::neighbors::NeighborSearch;
use crate::state::State;

/// Pairs within the length of a bond that a structure may have: beyond, it has collapsed.
const PAIRS_PER_ATOM: usize = 1000;

/// How many bonds all atoms of two species have with each other.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(non_snake_case)] // the keys of the contract carry their units
pub struct BondCounts {
    /// Chemical symbols.
    pub species: [String; 2],
    /// Atoms of them nearer than this are bonded, Å.
    pub longest_A: f64,
    /// Bonds of each atom of the first species to atoms of the second, and of each of the second to the first.
    pub counts: [u64; 2],
}

impl BondCounts {
    /// What is wrong with it, for a model of these species; None if nothing.
    pub(super) fn problem(&self, species: &[String]) -> Option<String> {
        let known = self.species.iter().all(|name| species.contains(name));
        let reach = self.longest_A > 0.0 && self.longest_A <= LONGEST_BOND;
        let mutual = self.species[0] != self.species[1] || self.counts[0] == self.counts[1];
        (!(known && reach && mutual)).then(|| {
            format!(
                "{self:?}; wanted species of the model, a longest_A of at most {LONGEST_BOND}, and the same count twice for \
                 one species"
            )
        })
    }
}

/// What every atom of one species is checked for.
#[derive(Debug, Clone, PartialEq)]
struct Rule<'a> {
    of: &'a str,
    to: &'a str,
    longest: f64,
    least: u64,
    most: u64,
}

/// The rules of `stated` bonds; without any, what the templates of `fast` forces imply.
fn rules<'a>(stated: &'a [BondCounts], fast: Option<&'a FastForces>) -> Vec<Rule<'a>> {
    if stated.is_empty() {
        return fast.map_or(Vec::new(), implied);
    }
    let both = |bond: &'a BondCounts| {
        let [a, b] = [0, 1].map(|k| bond.species[k].as_str());
        let [of_a, of_b] = bond.counts;
        let rule = |of, to, count| Rule { of, to, longest: bond.longest_A, least: count, most: count };
        [rule(a, b, of_a), rule(b, a, of_b)]
    };
    stated.iter().flat_map(both).collect()
}

/// An atom that only one template bonds has at least one such bond, and two if an angle bends about it. Environments say it
/// themselves: where the bonds of a run are found, each has to fit a template.
fn implied(fast: &FastForces) -> Vec<Rule<'_>> {
    if fast.bonds.iter().flat_map(|bond| &bond.species).any(|name| name != element(name)) {
        return Vec::new();
    }
    let templates = |of: &str| fast.bonds.iter().filter(|bond| bond.species.iter().any(|s| s == of)).count();
    let bends = |of: &str| fast.angles.iter().any(|angle| angle.species[1] == of);
    let ends = fast.bonds.iter().flat_map(|bond| [(bond, 0, 1), (bond, 1, 0)]);
    ends.filter(|(bond, of, _)| templates(&bond.species[*of]) == 1)
        .map(|(bond, of, to)| {
            let of = bond.species[of].as_str();
            let least = if bends(of) { 2 } else { 1 };
            Rule { of, to: &bond.species[to], longest: bond.longest_A, least, most: u64::MAX }
        })
        .collect()
}

/// What of the bonds of `state` is otherwise than a model knows them, in words; None if nothing.
///
/// # Errors
/// Those of the neighbour search.
pub(in crate::model) fn mismatch(
    state: &State,
    stated: &[BondCounts],
    fast: Option<&FastForces>,
) -> Result<Option<String>> {
    let rules = rules(stated, fast);
    let reach = rules.iter().fold(0.0f64, |most, rule| most.max(rule.longest));
    if rules.is_empty() {
        return Ok(None);
    }
    let mut search = NeighborSearch::new(reach)?.with_max_pairs(PAIRS_PER_ATOM * state.len());
    search.update(&state.positions, &state.cell)?;
    let symbol = |i: usize| elements::symbol(state.numbers[i]);
    let mut found: Vec<(usize, &Rule<'_>)> = Vec::new();
    for i in 0..state.len() {
        let broken = rules.iter().filter(|rule| rule.of == symbol(i)).find(|rule| {
            let count = partners(&search, i, rule.longest).iter().filter(|&&j| symbol(j) == rule.to).count() as u64;
            !(rule.least..=rule.most).contains(&count)
        });
        found.extend(broken.map(|rule| (i, rule)));
    }
    let Some(&(i, rule)) = found.first() else { return Ok(None) };
    let partners = partners(&search, i, rule.longest);
    let count = partners.iter().filter(|&&j| symbol(j) == rule.to).count();
    let names: Vec<String> = partners.iter().map(|&j| format!("{} of atom {j}", symbol(j))).collect();
    let near = if names.is_empty() { "nothing".into() } else { names.join(", ") };
    let but = if rule.most == rule.least { "exactly" } else { "at least" };
    let more = if found.len() > 1 { format!("; {} more atoms are like it", found.len() - 1) } else { String::new() };
    Ok(Some(format!(
        "atom {i} ({}) has {count} {} within {} Å ({near}), where the model knows {but} {}{more}",
        rule.of, rule.to, rule.longest, rule.least
    )))
}

/// The atoms nearer to atom `i` than `reach`, Å.
fn partners(search: &NeighborSearch, i: usize, reach: f64) -> Vec<usize> {
    let mut found = Vec::new();
    search.for_each_edge(i, |edge| {
        if norm(edge.vector) < reach {
            found.push(edge.neighbor);
        }
    });
    found
}
