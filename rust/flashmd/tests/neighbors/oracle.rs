//! Structures, and every edge of them by trying all shifts that could be.

use crate::common::numbers;
use flashmd::Cell;
use flashmd::linalg::{Mat3, Vec3, add, norm, scale, sub};
use flashmd::neighbors::{FullList, NeighborSearch, PaddedEdges, Part};
use flashmd::rotation::Rotation;

#[derive(Debug)]
pub struct Case {
    pub positions: Vec<Vec3>,
    pub cell: Cell,
    pub cutoff: f64,
}

/// Triclinic, skewed, tiny, slab, wire, cluster, far outside the cell, by turns.
pub fn random_case(seed: u64) -> Case {
    let mut s = numbers(seed);
    let edge = [2.0 + 8.0 * s.uniform(), 1.0 + 2.0 * s.uniform(), 12.0][seed as usize % 3];
    let skew = [0.0, 0.3, 1.5][seed as usize / 3 % 3];
    let mut matrix: Mat3 = [[0.0; 3]; 3];
    for k in 0..3 {
        matrix[k] = scale(skew * edge * 0.5, s.normal3());
        matrix[k][k] += edge * (0.7 + 0.6 * s.uniform());
    }
    let pbc = std::array::from_fn(|k| ((seed as usize / 9) >> k) & 1 == 0);
    if seed.is_multiple_of(4) {
        (0..3).filter(|&k: &usize| !pbc[k]).for_each(|k| matrix[k] = [0.0; 3]);
    }
    let cutoff = if edge < 3.0 { 0.5 + 3.0 * s.uniform() } else { 1.0 + 4.0 * s.uniform() };
    let count = (s.uniform() * 40.0) as usize;
    let spread = [1.0, 1.0, 30.0, 1e3][seed as usize % 4];
    let positions = (0..count)
        .map(|_| {
            let u: Vec3 = std::array::from_fn(|_| s.uniform() * edge);
            add(u, scale(if spread > 1.0 { spread } else { 0.0 }, s.normal3()))
        })
        .collect();
    match Cell::new(matrix, pbc) {
        Ok(cell) if (0..3).all(|k| !pbc[k] || cell.height(k) > 0.4) => Case { positions, cell, cutoff },
        _ => random_case(seed + 100_003),
    }
}

/// Every (i, j, S) with |r_j − r_i + S·cell| < cutoff, by trying all S that could be.
pub fn oracle(case: &Case) -> Vec<(i64, i64, [i64; 3])> {
    let Case { positions, cell, cutoff } = case;
    let mut found = Vec::new();
    for (i, &ri) in positions.iter().enumerate() {
        for (j, &rj) in positions.iter().enumerate() {
            let apart = sub(rj, ri);
            let range = |k: usize| {
                if !cell.pbc()[k] {
                    return 0..=0;
                }
                let reach = cutoff / cell.height(k);
                let middle = -cell.coordinate(apart, k);
                (middle - reach).floor() as i64 - 1..=(middle + reach).ceil() as i64 + 1
            };
            for a in range(0) {
                for b in range(1) {
                    for c in range(2) {
                        let d = norm(add(apart, cell.translation([a, b, c])));
                        if d < *cutoff && (i != j || [a, b, c] != [0; 3]) {
                            found.push((i as i64, j as i64, [a, b, c]));
                        }
                    }
                }
            }
        }
    }
    found
}

pub fn triples(list: &FullList) -> Vec<(i64, i64, [i64; 3])> {
    (0..list.i.len()).map(|e| (list.i[e], list.j[e], list.shifts[e])).collect()
}

pub fn edges_of(case: &Case, rotation: Option<&Rotation>) -> PaddedEdges {
    let mut search = NeighborSearch::new(case.cutoff).unwrap();
    search.update(&case.positions, &case.cell).unwrap();
    let mut edges = PaddedEdges::default();
    edges.assemble(&[Part { search: &search, rotation }]).unwrap();
    edges
}

/// Reverse edges are mutual, point back, have the opposite vector; padding points at itself.
pub fn check_edges(edges: &PaddedEdges) {
    let k = edges.max_neighbors;
    for at in 0..edges.atoms * k {
        let back = edges.reverse[at] as usize;
        let vector = |e: usize| [0, 1, 2].map(|c| edges.edge_vectors[3 * e + c]);
        assert_eq!(edges.reverse[back] as usize, at);
        if edges.mask[at] {
            assert_eq!(back / k, edges.neighbors[at] as usize);
            assert_eq!(edges.neighbors[back] as usize, at / k);
            assert_eq!(vector(back), vector(at).map(|x| -x));
            assert!(back != at);
        } else {
            assert_eq!((back, edges.neighbors[at] as usize, vector(at)), (at, at / k, [0.0; 3]));
        }
    }
}

/// Enough atoms for threads to pay; along the thin axis atoms see their own images and others twice.
pub fn large_case(thin: bool) -> Case {
    let (edges, count) = if thin { ([70.0, 60.0, 3.1], 6000) } else { ([50.0, 45.0, 40.0], 9000) };
    let mut s = numbers(11);
    let matrix = [[edges[0], 0.0, 0.0], [7.0, edges[1], 0.0], [-3.0, 1.0, edges[2]]];
    let cell = Cell::new(matrix, [true, !thin, true]).unwrap();
    let positions = (0..count).map(|_| std::array::from_fn(|k| s.uniform() * 1.5 * edges[k])).collect();
    Case { positions, cell, cutoff: if thin { 4.5 } else { 5.0 } }
}
