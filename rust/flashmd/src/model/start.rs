//! The check of a structure before a model moves it: what no model can move is refused, and what this one has not seen is said.

use super::Model;
use super::contract::bonds;
use super::contract::domain::Domain;
use crate::elements;
use crate::error::{Error, Result};
use crate::linalg::norm;
use crate::neighbors::{NeighborSearch, as_input};
use crate::state::State;
use crate::topology::bonded_pairs;

/// Atoms are nearer than this only by mistake, Å: half of the shortest bond, that of H₂.
const CLOSEST: f64 = 0.37;
/// So are those nearer than this times the smallest distance in the training data, up to so many Å.
const CLOSEST_SHARE: f64 = 0.4;
const CLOSEST_MOST: f64 = 1.5;
/// Pairs so near that a structure may have: beyond, it has collapsed.
const PAIRS_PER_ATOM: usize = 100;
/// Atoms per Å³ beyond which a cell is too small by mistake: several times those of diamond.
const DENSEST: f64 = 1.0;

impl Model {
    /// Checks a structure that this model is to move; returns what it has not seen about the surroundings of its atoms.
    ///
    /// # Errors
    /// `Input` for atoms at one place, a cell too small for its atoms, or bonds that the model does not know; `Model` for an
    /// unknown element or a wrong mass.
    pub fn check_start(&self, state: &State) -> Result<Option<String>> {
        let metadata = self.metadata();
        self.assign(&state.numbers, &state.masses)?;
        check_room(state)?;
        check_distances(state, &metadata.domain)?;
        if let Some(mismatch) =
            bonds::mismatch(state, &metadata.domain.bonds, metadata.fast.as_ref()).map_err(refused)?
        {
            return Err(Error::Input(format!(
                "{mismatch}; give {} whole molecules of the kind it was trained on, or another model; a run with guard='off' \
                 does not look at bonds",
                self.name()
            )));
        }
        Ok(surfaces(state, &metadata.domain, metadata.cutoff)
            .map(|found| format!("{found}; {} was trained on bulk without any", self.name())))
    }

    /// Decides which atoms of a structure are bonded, if the model's bonds act within its strides and nobody has yet.
    ///
    /// # Errors
    /// `Input` if bonds cannot be looked for.
    pub fn find_bonds(&self, state: &mut State) -> Result<()> {
        if let Some(fast) = &self.metadata().fast
            && state.bonds.is_empty()
        {
            state.bonds = bonded_pairs(state, &fast.reaches())?;
        }
        Ok(())
    }
}

/// Refuses a periodic cell that cannot hold its atoms.
fn check_room(state: &State) -> Result<()> {
    let (atoms, volume) = (state.len(), state.cell.volume());
    if state.cell.pbc() != [true; 3] || atoms as f64 <= DENSEST * volume {
        return Ok(());
    }
    Err(Error::Input(format!(
        "the cell is too small for its atoms: {atoms} in {volume:.4} Å³; wanted at most {DENSEST} per Å³, and positions and \
         cell in Å"
    )))
}

/// Refuses atoms at one place, periodic images included.
fn check_distances(state: &State, domain: &Domain) -> Result<()> {
    let symbol = |i: usize| elements::symbol(state.numbers[i]);
    let absurd = |seen: f64| (CLOSEST_SHARE * seen).clamp(CLOSEST, CLOSEST_MOST);
    let bound = |i, j| absurd(domain.smallest_pair_distance(symbol(i), symbol(j)));
    let most = PAIRS_PER_ATOM * state.len();
    let mut search = NeighborSearch::new(absurd(domain.closest_approach()))?.with_max_pairs(most);
    search.update(&state.positions, &state.cell).map_err(refused)?;
    let mut worst = None::<(f64, usize, usize)>;
    for i in 0..state.len() {
        search.for_each_edge(i, |edge| {
            let (distance, j) = (norm(edge.vector), edge.neighbor);
            if distance < bound(i, j) && worst.is_none_or(|(least, ..)| distance < least) {
                worst = Some((distance, i, j));
            }
        });
    }
    let Some((distance, i, j)) = worst else { return Ok(()) };
    let pair = if i == j {
        format!("atom {i} ({}) and its own periodic image are", symbol(i))
    } else {
        format!("atoms {i} ({}) and {j} ({}) are", symbol(i), symbol(j))
    };
    Err(Error::Input(format!(
        "{pair} {distance:.3} Å apart, periodic images counted: two atoms at one place, or a cell too small; wanted at least \
         {:.3} Å, and positions and cell in Å",
        bound(i, j)
    )))
}

/// Where a structure has surfaces, in words, if the model was trained on bulk only; None elsewhere.
///
/// A vacuum that the density shows is left to the guard.
fn surfaces(state: &State, domain: &Domain, cutoff: f64) -> Option<String> {
    if !domain.is_bulk() {
        return None;
    }
    let axes = |wanted: [bool; 3]| -> String { (0..3).filter(|&k| wanted[k]).map(|k| ["a", "b", "c"][k]).collect() };
    let pbc = state.cell.pbc();
    if pbc == [false; 3] {
        return Some("the structure has no cell: it is a cluster, all surface".into());
    }
    if pbc != [true; 3] {
        return Some(format!("the structure does not repeat along {}: it has surfaces", axes(pbc.map(|p| !p))));
    }
    let empty: [bool; 3] = std::array::from_fn(|k| widest_gap(state, k) >= cutoff);
    (empty != [false; 3] && domain.check_density(state).is_none())
        .then(|| format!("there is vacuum in the cell along {}: the structure has surfaces", axes(empty)))
}

/// The longest way along periodic axis `k` without an atom, between planes parallel to the other two, Å.
fn widest_gap(state: &State, k: usize) -> f64 {
    let cell = &state.cell;
    let mut places: Vec<f64> = state.positions.iter().map(|&r| cell.coordinate(r, k).rem_euclid(1.0)).collect();
    places.sort_by(f64::total_cmp);
    let around = places.first().zip(places.last()).map_or(1.0, |(first, last)| 1.0 + first - last);
    places.windows(2).map(|pair| pair[1] - pair[0]).fold(around, f64::max) * cell.height(k)
}

fn refused(error: Error) -> Error {
    as_input(error, "mend the structure")
}
