//! NEF (node, edge, feature) arrays: the neighbour list as the padded tensors of the model contract.

use crate::error::{Error, Result};
use crate::neighbors::{Edge, NeighborSearch};
use crate::rotation::Rotation;

/// Most slots N·K: beyond it the arrays would take gigabytes, and the structure is not one to simulate.
pub const MAX_SLOTS: usize = 1 << 28;

/// Edges as `[N, K]` tensors, padded to the largest neighbour count K ≥ 1; f32 begins here.
#[derive(Debug, Clone, Default)]
pub struct Nef {
    /// Rows, N.
    pub atoms: usize,
    /// Slots per row, K.
    pub slots: usize,
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
    pub search: &'a mut NeighborSearch,
    /// Frame its edges are seen from.
    pub rotation: Option<&'a Rotation>,
}

impl Nef {
    /// Fills the arrays from the edges of `parts`, whose rows follow each other.
    ///
    /// # Errors
    /// `Stability` if the arrays would be absurdly large.
    pub fn assemble(&mut self, parts: &mut [Part<'_>]) -> Result<()> {
        let atoms = parts.iter().map(|p| p.search.atoms()).sum::<usize>();
        let slots = parts.iter().map(|p| p.search.max_degree()).max().unwrap_or(0).max(1);
        if atoms.saturating_mul(slots) > MAX_SLOTS {
            return Err(Error::unstable(
                "number of neighbours",
                Vec::new(),
                format!("an atom has {slots} neighbours among {atoms} atoms: the structure has collapsed"),
            ));
        }
        self.resize(atoms, slots);
        let mut first = 0;
        for part in parts {
            self.write(part, first);
            first += part.search.atoms();
        }
        Ok(())
    }

    /// Fills the rows from `first` on with the edges of one system.
    fn write(&mut self, part: &mut Part<'_>, first: usize) {
        for i in 0..part.search.atoms() {
            self.pad(first + i, part.search.degree(i));
        }
        let Self { slots, edge_vectors, mask, neighbors, reverse, .. } = self;
        let slots = *slots;
        let mut write = |edge: &Edge, vector: [f32; 3]| {
            let at = (first + edge.center) * slots + edge.slot;
            edge_vectors[3 * at..3 * at + 3].copy_from_slice(&vector);
            mask[at] = true;
            neighbors[at] = (first + edge.neighbor) as i32;
            reverse[at] = ((first + edge.neighbor) * slots + edge.reverse_slot) as i32;
        };
        part.search.visit(|edge, back| {
            let vector = part.rotation.map_or(edge.vector, |r| r.apply(edge.vector)).map(|x| x as f32);
            write(&edge, vector);
            if let Some(back) = &back {
                write(back, vector.map(|x| -x));
            }
        });
    }

    /// The same edges in arrays of `atoms` × `slots`, both at least as large.
    #[must_use]
    pub fn padded(&self, atoms: usize, slots: usize) -> Self {
        let mut wide = Self::default();
        wide.resize(atoms.max(self.atoms), slots.max(self.slots));
        for i in 0..wide.atoms {
            let real = if i < self.atoms { self.slots } else { 0 };
            wide.pad(i, real);
            for slot in 0..real {
                let (from, to) = (i * self.slots + slot, i * wide.slots + slot);
                wide.edge_vectors[3 * to..3 * to + 3].copy_from_slice(&self.edge_vectors[3 * from..3 * from + 3]);
                wide.mask[to] = self.mask[from];
                wide.neighbors[to] = self.neighbors[from];
                let back = self.reverse[from] as usize;
                wide.reverse[to] = (back / self.slots * wide.slots + back % self.slots) as i32;
            }
        }
        wide
    }

    fn resize(&mut self, atoms: usize, slots: usize) {
        self.atoms = atoms;
        self.slots = slots;
        let cells = atoms * slots;
        self.edge_vectors.resize(3 * cells, 0.0);
        self.mask.resize(cells, false);
        self.neighbors.resize(cells, 0);
        self.reverse.resize(cells, 0);
    }

    /// Marks the slots of row `i` from `real` on as padding.
    fn pad(&mut self, i: usize, real: usize) {
        let (from, to) = (i * self.slots + real, (i + 1) * self.slots);
        self.edge_vectors[3 * from..3 * to].fill(0.0);
        self.mask[from..to].fill(false);
        self.neighbors[from..to].fill(i as i32);
        for at in from..to {
            self.reverse[at] = at as i32;
        }
    }
}
