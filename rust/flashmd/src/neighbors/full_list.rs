//! The full neighbour list as users see it: ASE's `ijdDS`.

use super::FREE_EDGES;
use super::search::{NeighborSearch, as_input};
use crate::error::Result;
use crate::linalg::{Vec3, norm};
use crate::state::Cell;

/// Most pairs per atom of a list for a user.
const PAIRS_PER_ATOM: usize = 1000;

/// The full list with shifts between the atoms as given: ASE's `ijdDS`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FullList {
    /// First atom of each pair, sorted.
    pub i: Vec<i64>,
    /// Second atom.
    pub j: Vec<i64>,
    /// Distance, Å.
    pub distances: Vec<f64>,
    /// D = r_j − r_i + S·cell, Å.
    pub vectors: Vec<Vec3>,
    /// S, between the positions as given.
    pub shifts: Vec<[i64; 3]>,
}

/// All ordered pairs with d < `cutoff`, sorted by (i, j, S).
///
/// S is that of the positions as given; for one (i, j) the order is the same as that of the wrapped atoms.
///
/// # Errors
/// `Input` as [`NeighborSearch::new`] and [`NeighborSearch::update`], and where the list would fill memory.
pub fn full_list(positions: &[Vec3], cell: &Cell, cutoff: f64) -> Result<FullList> {
    let most = (FREE_EDGES / 2).max(PAIRS_PER_ATOM.saturating_mul(positions.len()));
    let mut search = NeighborSearch::new(cutoff)?.with_max_pairs(most);
    search.update(positions, cell).map_err(|error| as_input(error, "mend it or give a smaller cutoff"))?;
    let total = search.edges();
    let images: Vec<[i64; 3]> = positions.iter().map(|&r| cell.image_of(r)).collect();
    let mut list = FullList {
        i: Vec::with_capacity(total),
        j: Vec::with_capacity(total),
        distances: Vec::with_capacity(total),
        vectors: Vec::with_capacity(total),
        shifts: Vec::with_capacity(total),
    };
    for i in 0..positions.len() {
        search.for_each_edge(i, |edge| {
            let (ni, nj) = (images[i], images[edge.neighbor]);
            list.i.push(i as i64);
            list.j.push(edge.neighbor as i64);
            list.distances.push(norm(edge.vector));
            list.vectors.push(edge.vector);
            list.shifts.push(std::array::from_fn(|k| i64::from(edge.shift[k]) + ni[k] - nj[k]));
        });
    }
    Ok(list)
}
