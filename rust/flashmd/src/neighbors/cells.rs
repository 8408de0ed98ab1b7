//! Cells of the search, a little wider than the cutoff, only the occupied ones: time and memory are O(N).
//!
//! Occupied cells are found by hashing, so vacuum, long cells and atoms that flew away cost nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::Candidate;
use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, norm};
use crate::state::Cell;

/// Guard against round-off in the decision which cells can hold a neighbour.
const SLACK: f64 = 1.0 + 1e-9;
/// Round-off of a sum of a few coordinates, relative to the largest of them.
const ROUND_OFF: f64 = 8.0 * f64::EPSILON;
/// Wanted width of a cell over the cutoff where there is room for [`MANY`] cells: wider ones have longer lists of
/// candidates, narrower ones have more lists.
const WIDTH: f64 = 1.25;
const MANY: f64 = 4.0;
/// Most cells along an axis: three such numbers must fit into a key.
const MAX_CELLS: f64 = (1u64 << 40) as f64;
/// Most cells a stencil may span: a periodic cell this much thinner than the cutoff is a mistake.
const MAX_STENCIL: usize = 1 << 20;

/// Cells along one axis.
#[derive(Debug, Default, Clone, Copy)]
struct Axis {
    periodic: bool,
    /// Number of cells, as far as it matters: open axes have no last one.
    count: i64,
    /// Smallest coordinate, and cells per unit of coordinate.
    origin: f64,
    per_unit: f64,
    /// How many cells away a neighbour can be, and how many lattice vectors.
    reach: i64,
    images: i64,
}

/// Smallest box with edges along x, y, z around some atoms, Å.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) low: Vec3,
    pub(super) high: Vec3,
}

/// A lattice translation that can lie between neighbours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    /// S.
    pub(super) shift: [i32; 3],
    /// S·cell, Å.
    pub(super) offset: Vec3,
}

/// The occupied cells over wrapped atoms, in the order of their first atoms.
#[derive(Debug, Default)]
pub(super) struct Cells {
    axes: [Axis; 3],
    /// How far apart neighbours can seem to be, Å: the cutoff and room for round-off.
    pub(super) range: f64,
    /// About the largest coordinate that enters a difference, Å.
    pub(super) largest: f64,
    /// Translations by ascending shift.
    pub(super) images: Vec<Image>,
    /// Bits of a candidate that hold its image.
    image_bits: u32,
    ids: HashMap<u128, u32, BuildHasherDefault<Mix>>,
    places: Vec<[i64; 3]>,
    bounds: Vec<Bounds>,
    /// `atoms[start[c]..start[c + 1]]` are in cell c, by ascending index.
    start: Vec<u32>,
    atoms: Vec<u32>,
    /// Cell of each atom, and its place among the atoms of the cell.
    of: Vec<[u32; 2]>,
}

impl Cells {
    /// Sorts `atoms` (wrapped, Å) into cells.
    ///
    /// # Errors
    /// `Input` if the periodic cell is absurdly thinner than the cutoff, or there are too many atoms.
    pub(super) fn fit(&mut self, atoms: &[Vec3], cell: &Cell, cutoff: f64) -> Result<()> {
        let edges = (0..3).filter(|&k| cell.pbc()[k]).map(|k| norm(cell.matrix()[k])).sum::<f64>();
        self.largest = edges + largest(atoms.iter().copied());
        self.range = cutoff * SLACK + ROUND_OFF * self.largest;
        self.divide(atoms, cell, cutoff)?;
        self.list_images(cell);
        if atoms.len() as u64 > 1 << (u32::BITS - self.image_bits) {
            let message =
                format!("{} atoms with {} images each are too many to search", atoms.len(), self.images.len());
            return Err(Error::Input(message));
        }
        self.assign(atoms, cell);
        self.sort();
        Ok(())
    }

    fn divide(&mut self, atoms: &[Vec3], cell: &Cell, cutoff: f64) -> Result<()> {
        let mut lengths = [0.0; 3];
        for k in 0..3 {
            let periodic = cell.pbc()[k];
            let (low, high) = if periodic { (0.0, cell.height(k)) } else { extent(atoms, cell, k) };
            lengths[k] = high - low;
            self.axes[k] = Axis::divide(periodic, low, lengths[k], self.range);
        }
        let stencil = self.axes.iter().fold(1usize, |n, a| n.saturating_mul(2 * a.reach as usize + 1));
        if stencil > MAX_STENCIL {
            return Err(Error::Input(format!(
                "the cell is {:.3e} × {:.3e} × {:.3e} Å between its faces, far thinner than the cutoff of {cutoff} Å; check the cell",
                lengths[0], lengths[1], lengths[2]
            )));
        }
        Ok(())
    }

    fn list_images(&mut self, cell: &Cell) {
        let [ra, rb, rc] = self.axes.map(|axis| axis.images);
        self.images.clear();
        for a in -ra..=ra {
            for b in -rb..=rb {
                for c in -rc..=rc {
                    let shift = [a, b, c];
                    self.images.push(Image { shift: shift.map(|s| s as i32), offset: cell.translation(shift) });
                }
            }
        }
        self.largest += largest(self.images.iter().map(|image| image.offset));
        self.image_bits = self.images.len().next_power_of_two().trailing_zeros();
    }

    fn assign(&mut self, atoms: &[Vec3], cell: &Cell) {
        self.ids.clear();
        self.places.clear();
        self.bounds.clear();
        self.start.clear();
        self.of.clear();
        for &r in atoms {
            let place = std::array::from_fn(|k| self.axes[k].place(cell.coordinate(r, k)));
            let id = match self.ids.entry(key(place)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.places.push(place);
                    self.bounds.push(Bounds { low: r, high: r });
                    self.start.push(0);
                    *new.insert(self.places.len() as u32 - 1)
                }
            };
            self.bounds[id as usize].include(r);
            let count = &mut self.start[id as usize];
            self.of.push([id, *count]);
            *count += 1;
        }
    }

    /// Turns the counts in `start` into beginnings, and puts each atom into its place.
    fn sort(&mut self) {
        let mut begin = 0;
        for count in &mut self.start {
            begin += std::mem::replace(count, begin);
        }
        self.start.push(begin);
        self.atoms.resize(self.of.len(), 0);
        for (i, &[id, place]) in self.of.iter().enumerate() {
            self.atoms[(self.start[id as usize] + place) as usize] = i as u32;
        }
    }

    /// Number of occupied cells.
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// Cell of atom `i`, and its place among the atoms of the cell.
    #[inline]
    pub(super) fn of(&self, i: usize) -> [usize; 2] {
        self.of[i].map(|x| x as usize)
    }

    /// Atoms of cell `c`, by ascending index.
    pub(super) fn atoms(&self, c: usize) -> &[u32] {
        let range: Range<usize> = self.start[c] as usize..self.start[c + 1] as usize;
        &self.atoms[range]
    }

    /// The box around the atoms of cell `c`.
    pub(super) fn bounds(&self, c: usize) -> Bounds {
        self.bounds[c]
    }

    /// Atom `j` seen through the image of this index.
    #[inline]
    pub(super) fn candidate(&self, j: u32, image: usize) -> Candidate {
        Candidate(j << self.image_bits | image as u32)
    }

    /// The atom of a candidate.
    #[inline]
    pub(super) fn atom(&self, candidate: Candidate) -> usize {
        (candidate.0 >> self.image_bits) as usize
    }

    /// The image of a candidate.
    #[inline]
    pub(super) fn image(&self, candidate: Candidate) -> &Image {
        &self.images[(candidate.0 & ((1 << self.image_bits) - 1)) as usize]
    }

    /// Index of the image S = 0.
    pub(super) fn no_shift(&self) -> usize {
        self.images.len() / 2
    }

    /// Calls `f` with every cell, and the index of the image it is seen in, that can hold neighbours of atoms of cell `c`.
    pub(super) fn for_each_near(&self, c: usize, mut f: impl FnMut(usize, usize)) {
        let [u, v, w] = &self.axes;
        let [a, b, d] = self.places[c];
        for (x, sx) in u.near(a) {
            for (y, sy) in v.near(b) {
                for (z, sz) in w.near(d) {
                    let Some(&other) = self.ids.get(&key([x, y, z])) else { continue };
                    let image = (sx * (2 * v.images + 1) + sy) * (2 * w.images + 1) + sz;
                    let (other, image) = (other as usize, image as usize);
                    if self.bounds[c].gap2(&self.bounds[other].moved(self.images[image].offset))
                        < self.range * self.range
                    {
                        f(other, image);
                    }
                }
            }
        }
    }
}

impl Axis {
    fn divide(periodic: bool, origin: f64, length: f64, range: f64) -> Self {
        let count = (length / (WIDTH * range)).max((length / range).min(MANY)).clamp(1.0, MAX_CELLS).floor();
        let width = if periodic { length / count } else { range.max(length / count) };
        let reach = (range / width).ceil().min(MAX_STENCIL as f64) as i64;
        let count = count as i64;
        // The coordinate of a periodic axis is a fraction.
        let per_unit = if periodic { count as f64 } else { 1.0 / width };
        let images = if periodic { (count - 1 + reach) / count } else { 0 };
        Self { periodic, count, origin, per_unit, reach, images }
    }

    fn place(&self, coordinate: f64) -> i64 {
        (((coordinate - self.origin) * self.per_unit) as i64).clamp(0, self.count - 1)
    }

    /// Cells around `place` with the rank of their shifts.
    fn near(self, place: i64) -> impl Iterator<Item = (i64, i64)> {
        (place - self.reach..=place + self.reach).filter_map(move |place| {
            if self.periodic {
                Some((place.rem_euclid(self.count), place.div_euclid(self.count) + self.images))
            } else {
                (0..self.count).contains(&place).then_some((place, 0))
            }
        })
    }
}

impl Bounds {
    fn include(&mut self, r: Vec3) {
        for c in 0..3 {
            self.low[c] = self.low[c].min(r[c]);
            self.high[c] = self.high[c].max(r[c]);
        }
    }

    fn moved(&self, by: Vec3) -> Self {
        Self { low: add(self.low, by), high: add(self.high, by) }
    }

    /// Square of the distance to another box, Å².
    fn gap2(&self, other: &Self) -> f64 {
        (0..3).map(|c| (other.low[c] - self.high[c]).max(self.low[c] - other.high[c]).max(0.0).powi(2)).sum()
    }

    /// Square of the distance to a point, Å².
    #[inline]
    pub(super) fn distance2(&self, r: Vec3) -> f64 {
        let [x, y, z]: Vec3 = std::array::from_fn(|c| (self.low[c] - r[c]).max(r[c] - self.high[c]).max(0.0));
        x * x + y * y + z * z
    }

    pub(super) fn middle(&self) -> Vec3 {
        std::array::from_fn(|c| 0.5 * (self.low[c] + self.high[c]))
    }

    /// From the middle to a corner, Å.
    pub(super) fn radius(&self) -> f64 {
        0.5 * norm(crate::linalg::sub(self.high, self.low))
    }
}

/// Largest component of vectors, Å.
fn largest(vectors: impl Iterator<Item = Vec3>) -> f64 {
    vectors.fold(0.0, |m, v| m.max(v[0].abs()).max(v[1].abs()).max(v[2].abs()))
}

/// Smallest and largest coordinate of `atoms` along axis `k`.
fn extent(atoms: &[Vec3], cell: &Cell, k: usize) -> (f64, f64) {
    let coordinates = atoms.iter().map(|&r| cell.coordinate(r, k));
    let (low, high) = coordinates.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

/// Three places along the axes as one number.
fn key(place: [i64; 3]) -> u128 {
    let [a, b, c] = place.map(|x| x as u128);
    a << 84 | b << 42 | c
}

/// Hash of a [`key`]: a folded product, which is all that keys made by ourselves need.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u128(b.into()));
    }

    fn write_u128(&mut self, key: u128) {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let folded = (key ^ (key >> 64)) as u64 ^ self.0;
        let product = u128::from(folded).wrapping_mul(u128::from(ODD));
        self.0 = (product ^ (product >> 64)) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
