//! Fixed work on which `benches/instructions.py` counts instructions.

#![allow(clippy::unwrap_used)]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::padded_edges::{PaddedEdges, Part};
use super::search::NeighborSearch;
use crate::linalg::Vec3;
use crate::state::Cell;

/// Random points at the density of water.
fn points(count: usize) -> (Vec<Vec3>, Cell) {
    let length = (count as f64 / 0.1).cbrt();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut draw = || length * f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let positions = (0..count).map(|_| [draw(), draw(), draw()]).collect();
    (positions, Cell::new([[length, 0.0, 0.0], [0.0, length, 0.0], [0.0, 0.0, length]], [true; 3]).unwrap())
}

#[inline(never)]
fn counted(act: impl FnOnce()) {
    act();
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_search() {
    let (positions, cell) = points(774);
    let mut search = NeighborSearch::new(5.0).unwrap();
    search.update(&positions, &cell).unwrap();
    counted(|| search.update(&positions, &cell).unwrap());
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_edges() {
    let (positions, cell) = points(774);
    let mut search = NeighborSearch::new(5.0).unwrap();
    search.update(&positions, &cell).unwrap();
    let mut edges = PaddedEdges::default();
    let mut fill = || edges.assemble(&[Part { search: &search, rotation: None }]).unwrap();
    fill();
    counted(fill);
}
