//! Edges as the padded `[N, K]` tensors of the model contract.

use super::reverse_index::ReverseIndex;
use super::search::NeighborSearch;
use super::threads::share;
use crate::error::{Error, Result};
use crate::linalg::Vec3;
use crate::rotation::Rotation;

/// Most slots N·K: beyond it the arrays would take gigabytes, and the structure is not one to simulate.
pub const MAX_SLOTS: usize = 1 << 28;

/// Edges as `[N, K]` tensors, padded to the largest neighbour count K ≥ 1; f32 begins here.
#[derive(Debug, Clone, Default)]
pub struct PaddedEdges {
    /// Rows, N.
    pub atoms: usize,
    /// Slots per row, K.
    pub max_neighbors: usize,
    /// r_j − r_i + S·cell, `[N, K, 3]` Å, in the rotated frame; zeros where padded.
    pub edge_vectors: Vec<f32>,
    /// True where the edge is real, `[N, K]`.
    pub mask: Vec<bool>,
    /// j, `[N, K]`; padded slots point at i.
    pub neighbors: Vec<i32>,
    /// Flat index of the edge j→i with the opposite shift, `[N, K]`; padded slots point at themselves.
    pub reverse: Vec<i32>,
}

/// One of the systems that share the arrays.
#[derive(Debug)]
pub struct Part<'a> {
    /// Its updated search.
    pub search: &'a NeighborSearch,
    /// Frame its edges are seen from.
    pub rotation: Option<&'a Rotation>,
}

impl PaddedEdges {
    /// Fills the arrays from the edges of `parts`, whose rows follow each other.
    ///
    /// # Errors
    /// `Stability` if the arrays would be absurdly large.
    pub fn assemble(&mut self, parts: &[Part<'_>]) -> Result<()> {
        let atoms = parts.iter().map(|p| p.search.atoms()).sum::<usize>();
        let max_neighbors = parts.iter().map(|p| p.search.max_degree()).max().unwrap_or(0).max(1);
        if atoms.saturating_mul(max_neighbors) > MAX_SLOTS {
            return Err(Error::unstable(
                "number of neighbours",
                Vec::new(),
                format!("an atom has {max_neighbors} neighbours among {atoms} atoms: the structure has collapsed"),
            ));
        }
        self.resize(atoms, max_neighbors);
        let mut first = 0;
        for part in parts {
            self.write(part, first);
            first += part.search.atoms();
        }
        Ok(())
    }

    /// Fills the rows from `first` on with the edges of one system.
    fn write(&mut self, part: &Part<'_>, first: usize) {
        let (atoms, max_neighbors, threads) = (part.search.atoms(), self.max_neighbors, part.search.threads());
        let rows_each = atoms.div_ceil(threads).max(1);
        let cells = first * max_neighbors..(first + atoms) * max_neighbors;
        let vectors = self.edge_vectors[3 * cells.start..3 * cells.end].chunks_mut(3 * rows_each * max_neighbors);
        let mask = self.mask[cells.clone()].chunks_mut(rows_each * max_neighbors);
        let neighbors = self.neighbors[cells.clone()].chunks_mut(rows_each * max_neighbors);
        let reverse = self.reverse[cells].chunks_mut(rows_each * max_neighbors);
        let chunks = vectors.zip(mask).zip(neighbors.zip(reverse)).enumerate();
        share(threads, chunks, |(chunk, ((edge_vectors, mask), (neighbors, reverse)))| {
            let rows = Rows { max_neighbors, first, edge_vectors, mask, neighbors, reverse };
            match part.rotation {
                None => rows.write(part.search, chunk * rows_each, |v| v),
                Some(rotation) => rows.write(part.search, chunk * rows_each, |v| rotation.apply(v)),
            }
        });
    }

    /// The same edges in arrays of `atoms` × `max_neighbors`, both at least as large.
    #[must_use]
    pub fn padded(&self, atoms: usize, max_neighbors: usize) -> Self {
        let mut wide = Self::default();
        wide.resize(atoms.max(self.atoms), max_neighbors.max(self.max_neighbors));
        for i in 0..wide.atoms {
            let real = if i < self.atoms { self.max_neighbors } else { 0 };
            wide.pad(i, real);
            for slot in 0..real {
                let (from, to) = (i * self.max_neighbors + slot, i * wide.max_neighbors + slot);
                wide.edge_vectors[3 * to..3 * to + 3].copy_from_slice(&self.edge_vectors[3 * from..3 * from + 3]);
                wide.mask[to] = self.mask[from];
                wide.neighbors[to] = self.neighbors[from];
                let back = self.reverse[from] as usize;
                wide.reverse[to] = (back / self.max_neighbors * wide.max_neighbors + back % self.max_neighbors) as i32;
            }
        }
        wide
    }

    fn resize(&mut self, atoms: usize, max_neighbors: usize) {
        self.atoms = atoms;
        self.max_neighbors = max_neighbors;
        let cells = atoms * max_neighbors;
        self.edge_vectors.resize(3 * cells, 0.0);
        self.mask.resize(cells, false);
        self.neighbors.resize(cells, 0);
        self.reverse.resize(cells, 0);
    }

    /// Marks the slots of row `i` from `real` on as padding.
    fn pad(&mut self, i: usize, real: usize) {
        let (from, to) = (i * self.max_neighbors + real, (i + 1) * self.max_neighbors);
        self.edge_vectors[3 * from..3 * to].fill(0.0);
        self.mask[from..to].fill(false);
        self.neighbors[from..to].fill(i as i32);
        for slot in from..to {
            self.reverse[slot] = slot as i32;
        }
    }
}

/// Rows of the arrays that follow each other, all of one system.
struct Rows<'a> {
    max_neighbors: usize,
    /// Row of the first atom of the system.
    first: usize,
    edge_vectors: &'a mut [f32],
    mask: &'a mut [bool],
    neighbors: &'a mut [i32],
    reverse: &'a mut [i32],
}

impl Rows<'_> {
    /// Fills the rows with the edges of atoms from `begin` on, seen through `turn`.
    fn write(self, search: &NeighborSearch, begin: usize, turn: impl Fn(Vec3) -> Vec3) {
        let Self { max_neighbors, first, edge_vectors, mask, neighbors, reverse } = self;
        let mut reverse_index = ReverseIndex::new(search, begin);
        let vectors = edge_vectors.as_chunks_mut::<3>().0.chunks_exact_mut(max_neighbors);
        let rows = neighbors.chunks_exact_mut(max_neighbors).zip(reverse.chunks_exact_mut(max_neighbors));
        for (row_number, ((vectors, mask), (neighbors, reverse))) in
            vectors.zip(mask.chunks_exact_mut(max_neighbors)).zip(rows).enumerate()
        {
            let (i, mut degree) = (begin + row_number, 0);
            let (mut previous, mut repeated) = (usize::MAX, false);
            let mut row = vectors.iter_mut().zip(neighbors.iter_mut().zip(reverse.iter_mut()));
            search.for_each_edge(i, |edge| {
                let j = edge.neighbor;
                if let Some((vector, (neighbor, back))) = row.next() {
                    *vector = turn(edge.vector).map(|x| x as f32);
                    *neighbor = (first + j) as i32;
                    *back = ((first + j) * max_neighbors + reverse_index.next(j)) as i32;
                }
                repeated |= j == previous;
                (previous, degree) = (j, degree + 1);
            });
            if repeated {
                turn_images(&neighbors[..degree], &mut reverse[..degree]);
            }
            mask[..degree].fill(true);
            let itself = first + i;
            vectors[degree..].fill([0.0; 3]);
            mask[degree..].fill(false);
            neighbors[degree..].fill(itself as i32);
            reverse[degree..]
                .iter_mut()
                .zip(itself * max_neighbors + degree..)
                .for_each(|(back, slot)| *back = slot as i32);
        }
    }
}

/// Seen from j the shifts change sign, so the images of one atom come in opposite order.
fn turn_images(neighbors: &[i32], mut reverse: &mut [i32]) {
    for same in neighbors.chunk_by(|a, b| a == b) {
        let (images, rest) = reverse.split_at_mut(same.len());
        images.reverse();
        reverse = rest;
    }
}
