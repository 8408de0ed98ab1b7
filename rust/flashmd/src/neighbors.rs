//! O(N) neighbour search: every pair closer than a cutoff, over all periodic images.
//!
//! Atoms are wrapped into the cell and sorted into bins about half a cutoff wide (module `grid`). Each atom j looks
//! around for atoms i < j: every pair is found once, ordered by j, and for one (i, j) by ascending shift.
//! [`NeighborSearch::visit`] turns that half list into full rows sorted by (j, shift) without comparing anything,
//! and knows the reverse of each edge for free.

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::grid::{Around, Grid, SLACK};
use crate::linalg::{Vec3, add, dot, norm, sub};

/// An atom further out than this many cells, or Å along an open axis, has lost the digits that place it there.
const MAX_IMAGE: f64 = 1e9;
/// Cutoffs that can be squared and divided by, Å.
const CUTOFFS: std::ops::RangeInclusive<f64> = 1e-6..=1e9;
/// Pairs are numbered by u32.
const MOST_PAIRS: usize = u32::MAX as usize;
/// How far outside the cell, in cells, a wrapped atom may be by round-off.
const WRAP_BLUR: f64 = 1e-6;
/// Pairs that are always allowed, however few atoms they are among.
const FREE_PAIRS: usize = 4_000_000;
/// Most pairs per atom of a list for a user.
const LIST_PAIRS_PER_ATOM: usize = 1000;

/// One pair i < j: D = r_j − r_i + S·cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Lower index.
    pub i: u32,
    /// Higher index.
    pub j: u32,
    /// Shift between the *wrapped* atoms.
    pub shift: [i32; 3],
    /// D, Å.
    pub vector: Vec3,
}

/// An atom's own periodic image within the cutoff; the same for every atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfImage {
    /// S.
    pub shift: [i32; 3],
    /// S·cell, Å.
    pub vector: Vec3,
}

/// One directed edge of the full list, as seen by [`NeighborSearch::visit`].
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    /// The atom the edge starts at, i.
    pub center: usize,
    /// Its place in the row of i, sorted by (j, shift).
    pub slot: usize,
    /// The atom it points at, j.
    pub neighbor: usize,
    /// Place of the edge j→i with the opposite shift in the row of j.
    pub reverse_slot: usize,
    /// r_j − r_i + S·cell, Å.
    pub vector: Vec3,
    /// Shift between the wrapped atoms.
    pub shift: [i32; 3],
}

impl Edge {
    /// The edge j→i with the opposite shift.
    #[must_use]
    #[inline]
    pub fn reversed(self) -> Self {
        Self {
            center: self.neighbor,
            slot: self.reverse_slot,
            neighbor: self.center,
            reverse_slot: self.slot,
            vector: self.vector.map(|x| -x),
            shift: self.shift.map(|s| -s),
        }
    }
}

/// A neighbour search with its buffers, which are reused from call to call.
#[derive(Debug, Default)]
pub struct NeighborSearch {
    cutoff: f64,
    max_pairs: usize,
    images: Vec<[i64; 3]>,
    wrapped: Vec<Vec3>,
    pairs: Vec<Pair>,
    self_images: Vec<SelfImage>,
    grid: Grid,
    around: Around,
    layout: Layout,
}

impl NeighborSearch {
    /// A search for pairs with d < `cutoff` (Å).
    ///
    /// # Errors
    /// `Input` if the cutoff is not between 1e-6 and 1e9 Å.
    pub fn new(cutoff: f64) -> Result<Self> {
        if !CUTOFFS.contains(&cutoff) {
            let (least, most) = (CUTOFFS.start(), CUTOFFS.end());
            return Err(Error::Input(format!("the cutoff is {cutoff:e} Å; wanted one from {least:e} to {most:e} Å")));
        }
        Ok(Self { cutoff, max_pairs: MOST_PAIRS, ..Self::default() })
    }

    /// Fails with `Stability` instead of filling memory when a collapsed structure has more pairs than this.
    #[must_use]
    pub fn with_max_pairs(mut self, max_pairs: usize) -> Self {
        self.max_pairs = max_pairs.min(MOST_PAIRS);
        self
    }

    /// Atoms of the last [`update`](Self::update).
    pub fn atoms(&self) -> usize {
        self.wrapped.len()
    }

    /// The cutoff, Å.
    pub fn cutoff(&self) -> f64 {
        self.cutoff
    }

    /// Pairs i < j found by the last [`update`](Self::update), ordered by j.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Images of an atom that it sees of itself, sorted by shift.
    pub fn self_images(&self) -> &[SelfImage] {
        &self.self_images
    }

    /// The cell each atom was in before it was wrapped.
    pub fn images(&self) -> &[[i64; 3]] {
        &self.images
    }

    /// Finds all pairs of `positions` (Å, finite) in `cell`.
    ///
    /// # Errors
    /// `Input` if an atom is absurdly far away or the cell absurdly thin; `Stability` beyond the pair limit.
    pub fn update(&mut self, positions: &[Vec3], cell: &Cell) -> Result<()> {
        self.wrap(positions, cell)?;
        self.grid.fit(&self.wrapped, cell, self.cutoff)?;
        self.find_self_images(cell);
        if positions.len().saturating_mul(self.self_images.len()) / 2 > self.max_pairs {
            return Err(self.collapsed(self.max_pairs, 0));
        }
        self.find_pairs()?;
        self.layout.arrange(positions.len(), &self.pairs);
        Ok(())
    }

    fn wrap(&mut self, positions: &[Vec3], cell: &Cell) -> Result<()> {
        self.images.clear();
        self.wrapped.clear();
        for (i, &r) in positions.iter().enumerate() {
            if !(0..3).all(|k| cell.coordinate(r, k).abs() < MAX_IMAGE) {
                return Err(Error::Input(format!(
                    "atom {i} is at {r:?} Å, more than {MAX_IMAGE:e} cells (along an open axis: Å) away; wrap the atoms"
                )));
            }
            let image = cell.image_of(r);
            let wrapped = sub(r, cell.translation(image));
            let inside = |k| (-WRAP_BLUR..=1.0 + WRAP_BLUR).contains(&cell.coordinate(wrapped, k));
            if !(0..3).all(|k| !cell.pbc()[k] || inside(k)) {
                return Err(Error::Input(format!(
                    "atom {i} at {r:?} Å is so far outside this skewed cell that its place in it is lost; wrap the atoms"
                )));
            }
            self.images.push(image);
            self.wrapped.push(wrapped);
        }
        Ok(())
    }

    /// All S ≠ 0 with |S·cell| < cutoff, in lexicographic order; symmetric under S → −S.
    fn find_self_images(&mut self, cell: &Cell) {
        self.self_images.clear();
        let reach: [i32; 3] =
            std::array::from_fn(
                |k| {
                    if cell.pbc()[k] { (self.cutoff * SLACK / cell.height(k)).floor() as i32 } else { 0 }
                },
            );
        for a in -reach[0]..=reach[0] {
            for b in -reach[1]..=reach[1] {
                for c in -reach[2]..=reach[2] {
                    let vector = cell.translation([a.into(), b.into(), c.into()]);
                    if (a, b, c) != (0, 0, 0) && norm(vector) < self.cutoff {
                        self.self_images.push(SelfImage { shift: [a, b, c], vector });
                    }
                }
            }
        }
    }

    fn find_pairs(&mut self) -> Result<()> {
        let Self { wrapped, pairs, grid, around, cutoff, max_pairs, .. } = self;
        let rc2 = *cutoff * *cutoff;
        let share = *max_pairs as f64 / wrapped.len() as f64;
        pairs.clear();
        for (j, &rj) in wrapped.iter().enumerate() {
            // Atoms up to j have their share of the pairs: a collapsed structure is noticed before it fills memory.
            let allowed = ((share * (j + 1) as f64) as usize).max(FREE_PAIRS).min(*max_pairs);
            grid.look_around(j, *cutoff, around);
            for a in &around.slabs[0] {
                for b in &around.slabs[1] {
                    if grid.orthogonal() && a.gap2 + b.gap2 > rc2 * SLACK {
                        continue;
                    }
                    let column = add(rj, add(a.offset, b.offset));
                    for run in &around.runs {
                        // `shift` is S of the edge i→j: the atoms are seen displaced by −S·cell.
                        let shift = [a.shift, b.shift, run.shift];
                        let origin = add(column, run.offset);
                        for atom in grid.atoms(a.base + b.base + run.first..a.base + b.base + run.end) {
                            let vector = sub(origin, atom.position);
                            // One branch, not two: half of the indices pass, so a branch of their own cannot be predicted.
                            if (dot(vector, vector) < rc2) & (atom.index < j as u32) {
                                pairs.push(Pair { i: atom.index, j: j as u32, shift, vector });
                            }
                        }
                    }
                    if pairs.len() > allowed {
                        return Err(self.collapsed(allowed, j));
                    }
                }
            }
        }
        Ok(())
    }

    fn collapsed(&self, allowed: usize, atom: usize) -> Error {
        let message = format!(
            "more than {allowed} pairs of atoms are within {} Å: the structure has collapsed, or the cell is far too small",
            self.cutoff
        );
        Error::unstable("number of neighbours", vec![atom], message)
    }

    /// Number of neighbours of atom `i`.
    pub fn degree(&self, i: usize) -> usize {
        self.layout.lower[i] as usize + self.self_images.len() + self.layout.higher(i).len()
    }

    /// Largest number of neighbours.
    pub fn max_degree(&self) -> usize {
        (0..self.wrapped.len()).map(|i| self.degree(i)).max().unwrap_or(0)
    }

    /// Calls `f` once per pair with the edge i→j and its reverse, and once per edge to a self-image, whose reverse has
    /// a call of its own; within a row, slots are sorted by (j, shift).
    pub fn visit(&mut self, mut f: impl FnMut(Edge, Option<Edge>)) {
        let Self { pairs, self_images, layout, wrapped, .. } = self;
        let own = self_images.len();
        layout.filled.clear();
        layout.filled.resize(wrapped.len(), 0);
        for i in 0..wrapped.len() {
            let first_own = layout.lower[i] as usize;
            for (a, image) in self_images.iter().enumerate() {
                let (slot, reverse_slot) = (first_own + a, first_own + own - 1 - a);
                f(Edge { center: i, slot, neighbor: i, reverse_slot, vector: image.vector, shift: image.shift }, None);
            }
            let row = &layout.order[layout.start[i] as usize..layout.start[i + 1] as usize];
            let mut begin = 0;
            while begin < row.len() {
                let j = pairs[row[begin] as usize].j as usize;
                let len = row[begin..].iter().take_while(|&&p| pairs[p as usize].j as usize == j).count();
                for (t, &p) in row[begin..begin + len].iter().enumerate() {
                    let pair = &pairs[p as usize];
                    let here = first_own + own + begin + t;
                    // Seen from j the shifts change sign, so the images of one atom come in opposite order.
                    let there = layout.filled[j] as usize + len - 1 - t;
                    let (vector, shift) = (pair.vector, pair.shift);
                    let edge = Edge { center: i, slot: here, neighbor: j, reverse_slot: there, vector, shift };
                    f(edge, Some(edge.reversed()));
                }
                layout.filled[j] += len as u32;
                begin += len;
            }
        }
    }
}

/// Where the rows of the full list begin, from the half list.
#[derive(Debug, Default)]
struct Layout {
    /// Number of neighbours with a lower index, `[N]`.
    lower: Vec<u32>,
    /// `order[start[i]..start[i+1]]` are the pairs in which i is the lower index, by j and shift.
    start: Vec<u32>,
    order: Vec<u32>,
    /// Cursor of `visit`, `[N]`.
    filled: Vec<u32>,
}

impl Layout {
    fn arrange(&mut self, n: usize, pairs: &[Pair]) {
        self.lower.clear();
        self.lower.resize(n, 0);
        self.start.clear();
        self.start.resize(n + 1, 0);
        for pair in pairs {
            self.lower[pair.j as usize] += 1;
            self.start[pair.i as usize + 1] += 1;
        }
        for i in 0..n {
            self.start[i + 1] += self.start[i];
        }
        self.filled.clear();
        self.filled.extend_from_slice(&self.start[..n]);
        self.order.clear();
        self.order.resize(pairs.len(), 0);
        for (p, pair) in pairs.iter().enumerate() {
            let at = &mut self.filled[pair.i as usize];
            self.order[*at as usize] = p as u32;
            *at += 1;
        }
    }

    fn higher(&self, i: usize) -> &[u32] {
        &self.order[self.start[i] as usize..self.start[i + 1] as usize]
    }
}

/// The full list with shifts between the atoms as given, for users: ASE's `ijdDS`.
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

/// Nothing runs here that could be unstable: a list too long is a bad argument.
fn too_many(error: Error) -> Error {
    match error {
        Error::Stability(e) => Error::Input(format!("{}; mend it or give a smaller cutoff", e.message)),
        other => other,
    }
}

/// All ordered pairs with d < `cutoff`, sorted by (i, j, S).
///
/// # Errors
/// `Input` as [`NeighborSearch::new`] and [`NeighborSearch::update`], and where the list would fill memory.
pub fn full_list(positions: &[Vec3], cell: &Cell, cutoff: f64) -> Result<FullList> {
    let most = FREE_PAIRS.max(LIST_PAIRS_PER_ATOM.saturating_mul(positions.len()));
    let mut search = NeighborSearch::new(cutoff)?.with_max_pairs(most);
    search.update(positions, cell).map_err(too_many)?;
    let n = positions.len();
    let mut start = vec![0usize; n + 1];
    for i in 0..n {
        start[i + 1] = start[i] + search.degree(i);
    }
    let total = start[n];
    let images = std::mem::take(&mut search.images);
    let mut list = FullList {
        i: vec![0; total],
        j: vec![0; total],
        distances: vec![0.0; total],
        vectors: vec![[0.0; 3]; total],
        shifts: vec![[0; 3]; total],
    };
    let mut write = |edge: Edge| {
        let at = start[edge.center] + edge.slot;
        let (ni, nj) = (images[edge.center], images[edge.neighbor]);
        list.i[at] = edge.center as i64;
        list.j[at] = edge.neighbor as i64;
        list.distances[at] = norm(edge.vector);
        list.vectors[at] = edge.vector;
        list.shifts[at] = std::array::from_fn(|k| i64::from(edge.shift[k]) + ni[k] - nj[k]);
    };
    search.visit(|edge, reverse| {
        write(edge);
        reverse.into_iter().for_each(&mut write);
    });
    Ok(list)
}
