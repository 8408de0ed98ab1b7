//! Candidates of the search: everything that can be near the atoms of one cell, sorted once for all of them, with marks for what
//! is near each.
//!
//! A first look in f32, relative to the middle of the cell, decides nearly every pair with a margin wider than its
//! round-off; what falls within the margin is decided in f64.

use wide::{CmpGe, CmpLt, f32x8};

use super::cells::Cells;
use super::{Candidate, FREE_EDGES};
use crate::linalg::{Vec3, add, dot, sub};

/// Candidates per word of marks, and how many are looked at together.
pub(super) const BITS: usize = u64::BITS as usize;
const LANES: usize = 8;
/// Longest list that is worth going on with.
const MOST: usize = FREE_EDGES;
/// Round-off of an f32 coordinate relative to the largest, and of an f64 one.
const SINGLE: f64 = f32::EPSILON as f64;
const DOUBLE: f64 = 4.0 * f64::EPSILON;

/// D of the edge from the atom at `r` to `candidate`, Å. Seen from there, the same number with the other sign.
#[inline]
pub(super) fn vector(atoms: &[Vec3], cells: &Cells, r: Vec3, candidate: Candidate) -> Vec3 {
    add(sub(atoms[cells.atom(candidate)], r), cells.image(candidate).offset)
}

/// Coordinates of [`LANES`] candidates, Å.
type Lanes = [f32x8; 3];

/// The candidates of one cell.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// By (j, S).
    pub(super) list: Vec<Candidate>,
    /// From the middle of the cell; beyond the last candidate, out of reach.
    local: Vec<Lanes>,
    middle: Vec3,
    /// Squares of the distances below which a pair is certain, and from which on it is excluded, Å².
    certain: f32,
    excluded: f32,
}

impl Candidates {
    /// Gathers what is within reach of the atoms of cell `c`; false if that is more than any structure can have.
    pub(super) fn gather(&mut self, atoms: &[Vec3], cells: &Cells, c: usize, cutoff: f64) -> bool {
        let bounds = cells.bounds(c);
        self.list_near(atoms, cells, c);
        if self.list.len() > MOST {
            return false;
        }
        self.list.sort_unstable();
        self.middle = bounds.middle();
        self.set_margin(bounds.radius() + cells.range, cells.largest, cutoff);
        self.local.clear();
        for group in self.list.chunks(LANES) {
            let mut lanes = [[f32::INFINITY; LANES]; 3];
            for (lane, &candidate) in group.iter().enumerate() {
                let r = vector(atoms, cells, self.middle, candidate);
                (0..3).for_each(|k| lanes[k][lane] = r[k] as f32);
            }
            self.local.push(lanes.map(f32x8::new));
        }
        true
    }

    /// Atoms within reach of the box around the atoms of cell `c`.
    fn list_near(&mut self, atoms: &[Vec3], cells: &Cells, c: usize) {
        let bounds = cells.bounds(c);
        let reach2 = cells.range * cells.range;
        let mut count = 0;
        cells.for_each_near(c, |other, image| {
            if count > MOST {
                return;
            }
            let offset = cells.images[image].offset;
            let members = cells.atoms(other);
            self.list.resize(count + members.len(), Candidate(0));
            // About half are within reach: to write them all is cheaper than to guess.
            for &j in members {
                self.list[count] = cells.candidate(j, image);
                count += usize::from(bounds.distance2(add(atoms[j as usize], offset)) < reach2);
            }
        });
        self.list.truncate(count);
    }

    /// Local coordinates up to `radius` have errors δ, and so differences have 4δ with their own rounding:
    /// |d² − d²(f32)| ≤ 2·√3·d·4δ + 3·(4δ)² + rounding of the squares.
    fn set_margin(&mut self, radius: f64, largest: f64, cutoff: f64) {
        let delta = SINGLE * radius + DOUBLE * largest;
        let margin = 16.0 * cutoff * delta + 64.0 * delta * delta + 4.0 * SINGLE * cutoff * cutoff;
        let rc2 = cutoff * cutoff;
        (self.certain, self.excluded) = ((rc2 - margin) as f32, (rc2 + margin) as f32);
    }

    /// Appends one bit per candidate to `marks`, set where it is closer than `cutoff` to atom `i`; returns their number.
    pub(super) fn mark(&self, atoms: &[Vec3], cells: &Cells, i: usize, cutoff: f64, marks: &mut Vec<u64>) -> u32 {
        let local = sub(atoms[i], self.middle).map(|x| f32x8::splat(x as f32));
        let mut degree = 0;
        for (lanes, group) in self.local.chunks(BITS / LANES).zip(self.list.chunks(BITS)) {
            let (mut word, mut doubtful) = self.look(lanes, &local);
            while doubtful != 0 {
                let bit = doubtful.trailing_zeros();
                doubtful &= doubtful - 1;
                let is_near = group.get(bit as usize).is_some_and(|&candidate| {
                    let d = vector(atoms, cells, atoms[i], candidate);
                    dot(d, d) < cutoff * cutoff
                });
                word &= !(u64::from(!is_near) << bit);
            }
            degree += word.count_ones();
            marks.push(word);
        }
        degree
    }

    /// Which candidates are not excluded, and which of those are not certain either, one bit each.
    #[inline]
    fn look(&self, groups: &[Lanes], r: &Lanes) -> (u64, u64) {
        let (certain, excluded) = (f32x8::splat(self.certain), f32x8::splat(self.excluded));
        let (mut out, mut sure) = (0u64, 0u64);
        for (group, lanes) in groups.iter().enumerate() {
            let [x, y, z]: Lanes = std::array::from_fn(|k| lanes[k] - r[k]);
            let d2 = x * x + y * y + z * z;
            out |= (d2.cmp_ge(excluded).move_mask() as u64) << (LANES * group);
            sure |= (d2.cmp_lt(certain).move_mask() as u64) << (LANES * group);
        }
        // NaN, from coordinates too large for f32, is not excluded.
        let beyond = u64::MAX.checked_shl((LANES * groups.len()) as u32).unwrap_or(0);
        let near = !(out | beyond);
        (near, near & !sure)
    }
}
