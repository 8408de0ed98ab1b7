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

/// Where the pairs of a [`FullSearch`] are written, each column as long as there are pairs; what is None is not computed.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// First atom of each pair.
    pub i: Option<&'a mut [i64]>,
    /// Second atom.
    pub j: Option<&'a mut [i64]>,
    /// Distance, Å.
    pub distances: Option<&'a mut [f64]>,
    /// D, Å.
    pub vectors: Option<&'a mut [Vec3]>,
    /// S.
    pub shifts: Option<&'a mut [[i64; 3]]>,
}

/// All ordered pairs with d < cutoff, found but not written yet.
#[derive(Debug)]
pub struct FullSearch {
    search: NeighborSearch,
    images: Vec<[i64; 3]>,
}

impl FullSearch {
    /// Finds the pairs.
    ///
    /// # Errors
    /// `Input` as [`NeighborSearch::new`] and [`NeighborSearch::update`], and where the list would fill memory.
    pub fn new(positions: &[Vec3], cell: &Cell, cutoff: f64) -> Result<Self> {
        let most = (FREE_EDGES / 2).max(PAIRS_PER_ATOM.saturating_mul(positions.len()));
        let mut search = NeighborSearch::new(cutoff)?.with_max_pairs(most);
        search.update(positions, cell).map_err(|error| as_input(error, "mend it or give a smaller cutoff"))?;
        Ok(Self { search, images: positions.iter().map(|&r| cell.image_of(r)).collect() })
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.search.edges()
    }

    /// Writes the pairs, sorted by (i, j, S).
    ///
    /// S is that of the positions as given; for one (i, j) the order is the same as that of the wrapped atoms.
    pub fn write(&self, mut columns: Columns<'_>) {
        let mut pair = 0;
        for (i, &ni) in self.images.iter().enumerate() {
            self.search.for_each_edge(i, |edge| {
                if let Some(column) = &mut columns.i {
                    column[pair] = i as i64;
                }
                if let Some(column) = &mut columns.j {
                    column[pair] = edge.neighbor as i64;
                }
                if let Some(column) = &mut columns.distances {
                    column[pair] = norm(edge.vector);
                }
                if let Some(column) = &mut columns.vectors {
                    column[pair] = edge.vector;
                }
                if let Some(column) = &mut columns.shifts {
                    let nj = self.images[edge.neighbor];
                    column[pair] = std::array::from_fn(|k| i64::from(edge.shift[k]) + ni[k] - nj[k]);
                }
                pair += 1;
            });
        }
    }
}

/// All ordered pairs with d < `cutoff`, sorted by (i, j, S).
///
/// # Errors
/// Those of [`FullSearch::new`].
pub fn full_list(positions: &[Vec3], cell: &Cell, cutoff: f64) -> Result<FullList> {
    let search = FullSearch::new(positions, cell, cutoff)?;
    let total = search.pairs();
    let mut list = FullList {
        i: vec![0; total],
        j: vec![0; total],
        distances: vec![0.0; total],
        vectors: vec![[0.0; 3]; total],
        shifts: vec![[0; 3]; total],
    };
    search.write(Columns {
        i: Some(&mut list.i),
        j: Some(&mut list.j),
        distances: Some(&mut list.distances),
        vectors: Some(&mut list.vectors),
        shifts: Some(&mut list.shifts),
    });
    Ok(list)
}
