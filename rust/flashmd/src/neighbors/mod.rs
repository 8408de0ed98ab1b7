//! Neighbours: the search, the list that users see, and the padded arrays that models are fed.

mod candidates;
mod cells;
mod full_list;
#[cfg(test)]
mod instructions;
mod padded_edges;
mod reverse_index;
mod search;
mod threads;

pub use full_list::{Columns, FullList, FullSearch, full_list};
pub use padded_edges::{MAX_SLOTS, PaddedEdges, Part};
pub use search::{Edge, NeighborSearch, as_input};

/// Edges that are always allowed, however few atoms they are among.
const FREE_EDGES: usize = 8_000_000;

/// An atom j seen through an image S, in one number that sorts by (j, S); the cells know how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u32);
