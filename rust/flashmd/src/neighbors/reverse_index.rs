//! The reverse index of edges: the slot of j→i for every edge i→j.

use super::search::NeighborSearch;

/// Slots of the edges j→i for atoms i that come in order: rows are sorted by j, so theirs come in order, too.
pub(super) struct ReverseIndex<'a> {
    search: &'a NeighborSearch,
    begin: usize,
    /// The next slot in each row, once an atom has asked for it.
    next: Vec<u32>,
}

impl<'a> ReverseIndex<'a> {
    const UNASKED: u32 = u32::MAX;

    /// For atoms from `begin` on.
    pub(super) fn new(search: &'a NeighborSearch, begin: usize) -> Self {
        let unasked = if begin == 0 { 0 } else { Self::UNASKED };
        Self { search, begin, next: vec![unasked; search.atoms()] }
    }

    /// The slot in row `j` for the edge of the atom whose turn it is.
    #[inline]
    pub(super) fn next(&mut self, j: usize) -> usize {
        let next = &mut self.next[j];
        if *next == Self::UNASKED {
            *next = self.search.rank(j, self.begin) as u32;
        }
        *next += 1;
        *next as usize - 1
    }
}
