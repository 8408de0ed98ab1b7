//! Bins over the atoms: who is near whom, in time and memory O(N).

use std::ops::Range;

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::linalg::{Vec3, scale};

/// Guard against round-off in the decision which bins can hold a neighbour.
pub(crate) const SLACK: f64 = 1.0 + 1e-9;
/// Most bins a stencil may span: a cell this much thinner than the cutoff is a mistake.
const MAX_STENCIL: usize = 1 << 20;

/// Bins along one axis.
#[derive(Debug, Default, Clone, Copy)]
struct Axis {
    periodic: bool,
    bins: usize,
    /// Smallest coordinate, and bins per unit of coordinate.
    origin: f64,
    per_unit: f64,
    /// Thickness of a bin, Å.
    width: f64,
    /// How many bins away a neighbour can be.
    reach: i64,
    /// Distance in memory of bins next to each other along this axis; 1 for the last.
    stride: usize,
    /// Lattice vector, Å; zero for open axes.
    period: Vec3,
}

/// An atom in its bin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Binned {
    pub(crate) position: Vec3,
    pub(crate) index: u32,
}

/// A slab of bins, across one axis, that may hold neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slab {
    /// Its share of the index of a bin.
    pub(crate) base: usize,
    /// S of an edge from an atom in it to the one that looks, and S times the lattice vector, Å.
    pub(crate) shift: i32,
    pub(crate) offset: Vec3,
    /// Square of the distance of the slab's face from the atom, Å².
    pub(crate) gap2: f64,
}

/// Bins next to each other along the last axis, seen through the same shift.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) shift: i32,
    pub(crate) offset: Vec3,
}

/// What an atom has to look at: two axes of slabs, and runs along the third, by ascending shift.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) slabs: [Vec<Slab>; 2],
    pub(crate) runs: Vec<Run>,
}

/// Bins over wrapped atoms.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    axes: [Axis; 3],
    orthogonal: bool,
    /// Coordinates of each atom, in bins.
    coordinates: Vec<Vec3>,
    /// `atoms[start[b]..start[b+1]]` are in bin b, by ascending index.
    start: Vec<u32>,
    atoms: Vec<Binned>,
}

impl Grid {
    /// Chooses bins for `atoms` (wrapped, Å) and sorts the atoms into them.
    ///
    /// # Errors
    /// `Input` if the cell is absurdly thinner than the cutoff.
    pub(crate) fn fit(&mut self, atoms: &[Vec3], cell: &Cell, cutoff: f64) -> Result<()> {
        self.orthogonal = cell.is_orthogonal();
        let mut lengths = [0.0; 3];
        for k in 0..3 {
            let coordinates = atoms.iter().map(|&r| cell.coordinate(r, k));
            let (low, high) = coordinates.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
            let periodic = cell.pbc()[k];
            lengths[k] = if periodic { cell.height(k) } else { (high - low).max(0.0) };
            let axis = &mut self.axes[k];
            axis.periodic = periodic;
            axis.origin = if periodic || !low.is_finite() { 0.0 } else { low };
            axis.period = if periodic { cell.matrix()[k] } else { [0.0; 3] };
        }
        let bins = choose_bins(lengths, cutoff, atoms.len());
        for k in 0..3 {
            self.axes[k].divide(lengths[k], bins[k], cutoff);
            self.axes[k].stride = bins[k + 1..].iter().product();
        }
        let stencil = self.axes.iter().fold(1usize, |n, a| n.saturating_mul(2 * a.reach as usize + 1));
        if stencil > MAX_STENCIL {
            return Err(Error::Input(format!(
                "the cell is {:.3e} × {:.3e} × {:.3e} Å between its faces, far thinner than the cutoff of {cutoff} Å; check the cell",
                lengths[0], lengths[1], lengths[2]
            )));
        }
        self.sort(atoms, cell);
        Ok(())
    }

    /// Counting sort by bin; stable, so that a bin's atoms keep their order.
    fn sort(&mut self, atoms: &[Vec3], cell: &Cell) {
        let axes = self.axes;
        let in_bins = |&r: &Vec3| std::array::from_fn(|k| (cell.coordinate(r, k) - axes[k].origin) * axes[k].per_unit);
        self.coordinates.clear();
        self.coordinates.extend(atoms.iter().map(in_bins));
        let total = axes.iter().map(|a| a.bins).product::<usize>();
        self.start.clear();
        self.start.resize(total + 1, 0);
        for i in 0..atoms.len() {
            let bin = self.bin_of(i);
            self.start[bin] += 1;
        }
        let mut end = 0;
        for count in &mut self.start {
            end += *count;
            *count = end;
        }
        self.atoms.resize(atoms.len(), Binned::default());
        for (i, &position) in atoms.iter().enumerate().rev() {
            let bin = self.bin_of(i);
            self.start[bin] -= 1;
            self.atoms[self.start[bin] as usize] = Binned { position, index: i as u32 };
        }
    }

    fn bin_of(&self, i: usize) -> usize {
        (0..3).map(|k| self.axes[k].bin(self.coordinates[i][k]) * self.axes[k].stride).sum()
    }

    /// True if the gaps along different axes add up in squares.
    pub(crate) fn orthogonal(&self) -> bool {
        self.orthogonal
    }

    /// Atoms in a range of bins.
    #[inline]
    pub(crate) fn atoms(&self, bins: Range<usize>) -> &[Binned] {
        &self.atoms[self.start[bins.start] as usize..self.start[bins.end] as usize]
    }

    /// Where neighbours of atom `j` closer than `cutoff` can be.
    pub(crate) fn look_around(&self, j: usize, cutoff: f64, around: &mut Around) {
        for k in 0..2 {
            around.slabs[k].clear();
            let slabs = &mut around.slabs[k];
            self.axes[k].near(self.coordinates[j][k], cutoff, |slab| slabs.push(slab));
        }
        let runs = &mut around.runs;
        runs.clear();
        self.axes[2].near(self.coordinates[j][2], cutoff, |slab| match runs.last_mut() {
            // Slabs come from the far end down.
            Some(run) if run.shift == slab.shift && run.first == slab.base + 1 => run.first = slab.base,
            _ => runs.push(Run { first: slab.base, end: slab.base + 1, shift: slab.shift, offset: slab.offset }),
        });
    }
}

impl Axis {
    fn divide(&mut self, length: f64, bins: usize, cutoff: f64) {
        self.bins = bins;
        self.width = length / bins as f64;
        let span = if self.periodic { 1.0 } else { length };
        self.per_unit = if span > 0.0 { bins as f64 / span } else { 0.0 };
        let reach = (cutoff * SLACK / self.width).ceil();
        let most = if self.periodic { MAX_STENCIL } else { bins };
        self.reach = if reach.is_finite() { reach.min(most as f64) as i64 } else { 0 };
    }

    fn bin(&self, coordinate: f64) -> usize {
        (coordinate.max(0.0) as usize).min(self.bins - 1)
    }

    /// Calls `f` with the slabs closer than `cutoff` to an atom at `coordinate` (in bins), by ascending shift.
    fn near(&self, coordinate: f64, cutoff: f64, mut f: impl FnMut(Slab)) {
        let bins = self.bins as i64;
        let here = self.bin(coordinate) as i64;
        for at in (here - self.reach..=here + self.reach).rev() {
            if !self.periodic && !(0..bins).contains(&at) {
                continue;
            }
            let gap = match at - here {
                0 => 0.0,
                1.. => (at as f64 - coordinate) * self.width,
                _ => (coordinate - (at + 1) as f64) * self.width,
            };
            if gap < cutoff * SLACK {
                let shift = -at.div_euclid(bins);
                f(Slab {
                    base: at.rem_euclid(bins) as usize * self.stride,
                    shift: shift as i32,
                    offset: scale(shift as f64, self.period),
                    gap2: gap.max(0.0).powi(2),
                });
            }
        }
    }
}

/// Bins about half a cutoff thick, but no more of them than O(N).
fn choose_bins(lengths: [f64; 3], cutoff: f64, atoms: usize) -> [usize; 3] {
    let limit = 64 + 4 * atoms;
    let mut bins = lengths.map(|l| ((2.0 * l / (cutoff * SLACK)) as usize).clamp(1, limit));
    while bins.iter().fold(1usize, |n, &b| n.saturating_mul(b)) > limit {
        let most = (0..3).fold(0, |best, k| if bins[k] > bins[best] { k } else { best });
        bins[most] = bins[most].div_ceil(2);
    }
    bins
}
