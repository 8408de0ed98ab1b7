//! O(N) neighbour search: every pair closer than a cutoff, over all periodic images.
//!
//! Atoms are wrapped and sorted into cells a little wider than the cutoff (module `cells`). What is near any atom of a
//! cell is gathered and sorted once for all of them (module `candidates`); the neighbours of an atom are the marked ones
//! among these, one bit each. So rows come out sorted by (j, S) and their lengths are known before anything is written.
//! All of it takes about 150 bytes per atom of a liquid at a cutoff of 5 Å; nothing is stored per pair.

use std::ops::{Range, RangeInclusive};

use super::candidates::{self, BITS, Candidates};
use super::cells::Cells;
use super::threads::share;
use super::{Candidate, FREE_EDGES};
use crate::error::{Error, Result};
use crate::linalg::Vec3;
use crate::state::Cell;

/// An atom further out than this many cells, or Å along an open axis, has lost the digits that place it there.
const MAX_IMAGE: f64 = 1e9;
/// How far outside the cell, in cells, a wrapped atom may be by round-off.
const WRAP_BLUR: f64 = 1e-6;
/// Cutoffs that can be squared and divided by, Å.
const CUTOFFS: RangeInclusive<f64> = 1e-6..=1e9;
/// Fewest atoms worth a thread of their own.
const ATOMS_PER_THREAD: usize = 2048;
/// What is out of bounds about an atom that is too far away.
const POSITION: &str = "position";
/// Blocks of cells per thread, so that a thread with easy ones can take more.
const BLOCKS_PER_THREAD: usize = 8;

/// One directed edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// The atom it points at, j.
    pub neighbor: usize,
    /// S between the wrapped atoms.
    pub shift: [i32; 3],
    /// r_j − r_i + S·cell, Å; the edge j→i with the opposite shift has exactly the opposite one.
    pub vector: Vec3,
}

/// A neighbour search with its buffers, which are reused from call to call.
#[derive(Debug, Default)]
pub struct NeighborSearch {
    cutoff: f64,
    max_pairs: usize,
    threads: usize,
    wrapped: Vec<Vec3>,
    cells: Cells,
    blocks: Vec<Block>,
    cells_per_block: usize,
    max_degree: usize,
}

/// Candidates and marks of cells that follow each other.
#[derive(Debug, Default)]
struct Block {
    rows: Vec<CellRows>,
    candidates: Vec<Candidate>,
    marks: Vec<u64>,
    edges: usize,
    max_degree: u32,
    /// The atom at which there were too many edges.
    crowded: Option<usize>,
    scratch: Candidates,
}

/// How many edges may be found: a collapsed structure is noticed before it fills memory.
#[derive(Debug, Clone, Copy)]
struct Limit {
    edges: usize,
    atoms: usize,
}

impl Limit {
    /// What `done` of the atoms may have: their share of all edges.
    fn of(self, done: usize) -> usize {
        let share = self.edges as f64 / self.atoms as f64 * done as f64;
        (share as usize).max(FREE_EDGES).min(self.edges)
    }
}

/// Where the rows of one cell begin: `words` marks per atom, one bit per candidate.
#[derive(Debug, Clone, Copy)]
struct CellRows {
    candidates: usize,
    marks: usize,
    words: usize,
}

impl NeighborSearch {
    /// A search for pairs with d < `cutoff` (Å), on one thread.
    ///
    /// # Errors
    /// `Input` if the cutoff is not between 1e-6 and 1e9 Å.
    pub fn new(cutoff: f64) -> Result<Self> {
        if !CUTOFFS.contains(&cutoff) {
            let (least, most) = (CUTOFFS.start(), CUTOFFS.end());
            return Err(Error::Input(format!("the cutoff is {cutoff:e} Å; wanted one from {least:e} to {most:e} Å")));
        }
        Ok(Self { cutoff, max_pairs: usize::MAX, threads: 1, ..Self::default() })
    }

    /// Fails with `Stability` instead of filling memory when a collapsed structure has more pairs than this.
    #[must_use]
    pub fn with_max_pairs(mut self, max_pairs: usize) -> Self {
        self.max_pairs = max_pairs;
        self
    }

    /// Uses up to this many threads where the structure is large enough for it to pay; the result is the same.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
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

    /// Threads worth using for these atoms.
    pub fn threads(&self) -> usize {
        self.threads.min(self.atoms() / ATOMS_PER_THREAD).max(1)
    }

    /// Finds all pairs of `positions` (Å, finite) in `cell`.
    ///
    /// # Errors
    /// `Stability` if an atom is absurdly far away, or beyond the pair limit; `Input` if the cell is absurdly thin.
    pub fn update(&mut self, positions: &[Vec3], cell: &Cell) -> Result<()> {
        self.wrap(positions, cell)?;
        self.cells.fit(&self.wrapped, cell, self.cutoff)?;
        self.find()
    }

    fn wrap(&mut self, positions: &[Vec3], cell: &Cell) -> Result<()> {
        self.wrapped.clear();
        for (i, &r) in positions.iter().enumerate() {
            if !(0..3).all(|k| cell.coordinate(r, k).abs() < MAX_IMAGE) {
                return Err(far(
                    i,
                    format!("atom {i} is at {r:?} Å, more than {MAX_IMAGE:e} cells (along an open axis: Å) away"),
                ));
            }
            let wrapped = cell.wrap(r);
            let inside = |k| (-WRAP_BLUR..=1.0 + WRAP_BLUR).contains(&cell.coordinate(wrapped, k));
            if !(0..3).all(|k| !cell.pbc()[k] || inside(k)) {
                return Err(far(
                    i,
                    format!("atom {i} at {r:?} Å is so far outside this skewed cell that its place in it is lost"),
                ));
            }
            self.wrapped.push(wrapped);
        }
        Ok(())
    }

    fn find(&mut self) -> Result<()> {
        let threads = self.threads();
        let count = self.cells.count();
        let blocks = if threads == 1 { 1 } else { (threads * BLOCKS_PER_THREAD).min(count) };
        self.cells_per_block = count.div_ceil(blocks).max(1);
        self.blocks.resize_with(blocks, Block::default);
        let Self { cutoff, max_pairs, wrapped, cells, blocks, cells_per_block, .. } = self;
        let limit = Limit { edges: max_pairs.saturating_mul(2), atoms: wrapped.len() };
        share(threads, blocks.iter_mut().enumerate(), |(b, block)| {
            let first = (b * *cells_per_block).min(count);
            let last = (first + *cells_per_block).min(count);
            block.find(wrapped, cells, first..last, *cutoff, limit);
        });
        self.max_degree = self.blocks.iter().map(|block| block.max_degree as usize).max().unwrap_or(0);
        let crowded = self.blocks.iter().find_map(|block| block.crowded);
        if self.edges() <= limit.edges && crowded.is_none() {
            return Ok(());
        }
        let message = format!(
            "more pairs of atoms are within {} Å than can be: the structure has collapsed, or the cell is far too small",
            self.cutoff
        );
        Err(Error::unstable("number of neighbours", crowded.into_iter().collect(), message))
    }

    /// Number of directed edges.
    pub fn edges(&self) -> usize {
        self.blocks.iter().map(|block| block.edges).sum()
    }

    /// Number of neighbours of atom `i`.
    pub fn degree(&self, i: usize) -> usize {
        self.marked(i).1.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Largest number of neighbours.
    pub fn max_degree(&self) -> usize {
        self.max_degree
    }

    /// Calls `f` with the edges of atom `i`, sorted by (j, S).
    #[inline]
    pub fn for_each_edge(&self, i: usize, mut f: impl FnMut(Edge)) {
        let r = self.wrapped[i];
        self.for_each_neighbor(i, |candidate| {
            f(Edge {
                neighbor: self.cells.atom(candidate),
                shift: self.cells.image(candidate).shift,
                vector: candidates::vector(&self.wrapped, &self.cells, r, candidate),
            });
        });
    }

    /// How many neighbours of atom `j` have an index below `i`.
    pub(crate) fn rank(&self, j: usize, i: usize) -> usize {
        let (candidates, marks) = self.marked(j);
        let below = candidates.partition_point(|&candidate| self.cells.atom(candidate) < i);
        let (whole, rest) = (below / BITS, below % BITS);
        let count = marks[..whole].iter().map(|word| word.count_ones()).sum::<u32>();
        let partial = marks.get(whole).map_or(0, |word| (word & ((1 << rest) - 1)).count_ones());
        (count + partial) as usize
    }

    #[inline]
    fn for_each_neighbor(&self, i: usize, mut f: impl FnMut(Candidate)) {
        let (candidates, marks) = self.marked(i);
        for (group, &word) in candidates.chunks(BITS).zip(marks) {
            let mut bits = word;
            while bits != 0 {
                f(group[bits.trailing_zeros() as usize]);
                bits &= bits - 1;
            }
        }
    }

    /// The candidates around the cell of atom `i`, and its marks on them.
    #[inline]
    fn marked(&self, i: usize) -> (&[Candidate], &[u64]) {
        let [cell, place] = self.cells.of(i);
        let block = &self.blocks[cell / self.cells_per_block];
        let cell_in_block = cell % self.cells_per_block;
        let rows = block.rows[cell_in_block];
        let end = block.rows.get(cell_in_block + 1).map_or(block.candidates.len(), |next| next.candidates);
        let first = rows.marks + place * rows.words;
        (&block.candidates[rows.candidates..end], &block.marks[first..first + rows.words])
    }
}

/// The error of an atom that is too far away to be placed. In a run it has flown there.
fn far(atom: usize, message: String) -> Error {
    Error::unstable(POSITION, vec![atom], message)
}

/// A failed search of a structure that a user has just given, where nothing is unstable: `advice` says what to do if there
/// are too many pairs.
pub fn as_input(error: Error, advice: &str) -> Error {
    match error {
        Error::Stability(e) if e.quantity == POSITION => Error::Input(format!("{}; wrap the atoms", e.message)),
        Error::Stability(e) => Error::Input(format!("{}; {advice}", e.message)),
        other => other,
    }
}

impl Block {
    /// Marks the neighbours of all atoms in `range` of cells; stops when there are more than `limit`.
    fn find(&mut self, atoms: &[Vec3], cells: &Cells, range: Range<usize>, cutoff: f64, limit: Limit) {
        self.rows.clear();
        self.candidates.clear();
        self.marks.clear();
        (self.edges, self.max_degree, self.crowded) = (0, 0, None);
        let mut done = 0;
        for c in range {
            if !self.scratch.gather(atoms, cells, c, cutoff) {
                self.crowded = cells.atoms(c).first().map(|&i| i as usize);
                return;
            }
            let list = &self.scratch.list;
            let rows = CellRows {
                candidates: self.candidates.len(),
                marks: self.marks.len(),
                words: list.len().div_ceil(BITS),
            };
            self.rows.push(rows);
            self.candidates.extend_from_slice(list);
            let mut own = 0;
            for &i in cells.atoms(c) {
                let first = self.marks.len();
                let degree = self.scratch.mark(atoms, cells, i as usize, cutoff, &mut self.marks) - 1;
                let itself = cells.candidate(i, cells.no_shift());
                own += self.scratch.list[own..].partition_point(|&candidate| candidate < itself);
                self.marks[first + own / BITS] &= !(1 << (own % BITS));
                self.edges += degree as usize;
                self.max_degree = self.max_degree.max(degree);
                done += 1;
                if self.edges > limit.of(done) {
                    self.crowded = Some(i as usize);
                    return;
                }
            }
        }
    }
}
