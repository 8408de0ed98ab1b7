//! Pairs near enough to have forces, in a list that is kept while no atom moves far (L. Verlet, Phys. Rev. 159, 98 (1967)).

use crate::error::Result;
use crate::linalg::{Vec3, add, dot, sub};
use crate::neighbors::NeighborSearch;
use crate::state::{Cell, State};

/// How much further than the cutoff the list reaches, Å. Two atoms may come this much nearer before it is made again.
const SKIN: f64 = 0.6;

/// A pair of an atom i with a later one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) j: usize,
    /// Number of its curve.
    pub(super) curve: usize,
    /// S·cell between the positions as they are, Å.
    translation: Vec3,
}

impl Pair {
    /// r_j − r_i + S·cell, Å.
    #[inline]
    pub(super) fn vector(&self, i: Vec3, j: Vec3) -> Vec3 {
        add(sub(j, i), self.translation)
    }
}

/// The pairs of one system. Their order does not depend on when the list was made.
#[derive(Debug)]
pub(super) struct PairList {
    search: NeighborSearch,
    pairs: Vec<Pair>,
    /// Number of pairs of each atom.
    counts: Vec<usize>,
    /// Positions and cell for which the list was made.
    made_for: Option<(Vec<Vec3>, Cell)>,
}

impl PairList {
    /// For pairs nearer than `cutoff`, Å.
    ///
    /// # Errors
    /// `Input` if the neighbour search refuses the cutoff.
    pub(super) fn new(cutoff: f64) -> Result<Self> {
        Ok(Self { search: NeighborSearch::new(cutoff + SKIN)?, pairs: Vec::new(), counts: Vec::new(), made_for: None })
    }

    /// Makes the list again if it may lack a pair; true if it did. `curve` gives the curve of i, j and their shift, if they have one.
    ///
    /// # Errors
    /// Those of the neighbour search.
    pub(super) fn update(
        &mut self,
        state: &State,
        curve: impl Fn(usize, usize, [i64; 3]) -> Option<usize>,
    ) -> Result<bool> {
        let is_new = self.made_for.as_ref().is_none_or(|made_for| have_moved(made_for, state));
        if is_new {
            self.search.update(&state.positions, &state.cell)?;
            let images: Vec<[i64; 3]> = state.positions.iter().map(|&r| state.cell.image_of(r)).collect();
            self.pairs.clear();
            self.counts.clear();
            for i in 0..state.len() {
                let before = self.pairs.len();
                self.search.for_each_edge(i, |edge| {
                    let j = edge.neighbor;
                    let shift = [0, 1, 2].map(|k| i64::from(edge.shift[k]) + images[i][k] - images[j][k]);
                    let curve = if i < j { curve(i, j, shift) } else { None };
                    let pair = |curve| Pair { j, curve, translation: state.cell.translation(shift) };
                    self.pairs.extend(curve.map(pair));
                });
                self.counts.push(self.pairs.len() - before);
            }
            self.made_for = Some((state.positions.clone(), state.cell.clone()));
        }
        Ok(is_new)
    }

    /// The pairs i < j of each atom i that are near enough, and some more.
    pub(super) fn by_atom(&self) -> impl Iterator<Item = &[Pair]> {
        self.counts.iter().scan(&self.pairs[..], |rest, &count| {
            let (own, others) = rest.split_at(count);
            *rest = others;
            Some(own)
        })
    }
}

/// True if a pair may have come nearer by the skin.
fn have_moved((positions, cell): &(Vec<Vec3>, Cell), state: &State) -> bool {
    // An atom at no number has moved.
    let is_near = |(&a, &b): (&Vec3, &Vec3)| {
        let moved = sub(a, b);
        dot(moved, moved) < (0.5 * SKIN).powi(2)
    };
    *cell != state.cell || positions.len() != state.len() || !positions.iter().zip(&state.positions).all(is_near)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// The near pairs of a list that was kept, in order, are those of one made anew.
    #[test]
    fn a_kept_list_has_the_pairs_of_a_new_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = move || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
        // So small that pairs have several images.
        let cell = Cell::new([[5.0, 0.0, 0.0], [1.0, 4.5, 0.0], [-0.5, 1.0, 6.0]], [true, true, false]).unwrap();
        let positions: Vec<Vec3> = (0..20).map(|_| [0, 1, 2].map(|_| 12.0 * draw())).collect();
        let mut state = State::new(positions, vec![[0.0; 3]; 20], vec![1.0; 20], vec![1; 20], cell).unwrap();
        let cutoff = 3.0;
        let near = |list: &mut PairList, state: &State| -> Vec<(usize, usize, Vec3)> {
            list.update(state, |_, _, _| Some(0)).unwrap();
            let r = &state.positions;
            let pairs = list.by_atom().enumerate().flat_map(|(i, pairs)| pairs.iter().map(move |pair| (i, pair)));
            let vectors = pairs.map(|(i, pair)| (i, pair.j, pair.vector(r[i], r[pair.j])));
            vectors.filter(|(_, _, v)| dot(*v, *v) < cutoff * cutoff).collect()
        };
        let mut kept = PairList::new(cutoff).unwrap();
        let mut made = 0;
        for _ in 0..300 {
            for r in &mut state.positions {
                *r = add(*r, [0, 1, 2].map(|_| 0.05 * draw()));
            }
            made += usize::from(kept.update(&state, |_, _, _| Some(0)).unwrap());
            let fresh = near(&mut PairList::new(cutoff).unwrap(), &state);
            assert!(!fresh.is_empty());
            assert_eq!(near(&mut kept, &state), fresh);
        }
        assert!((2..100).contains(&made), "{made}");
    }
}
