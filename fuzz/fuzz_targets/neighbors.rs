//! The neighbour list against its own symmetry, and against trying every image where there are few.
#![no_main]

use std::collections::HashSet;

use flashmd::linalg::{Vec3, add, norm, sub};
use flashmd::neighbors::{FullList, full_list};
use flashmd::{Cell, Error};
use flashmd_fuzz::Reader;
use libfuzzer_sys::fuzz_target;

/// Most images the oracle tries, and most that the search is given, now and then ten times as many: the rest is slow
/// under a sanitizer, and the same.
const IMAGES: f64 = 5e3;
const SEARCHED: f64 = 3e3;

type Triple = (i64, i64, [i64; 3]);

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let (pbc, [wild, wild_positions]) = reader.flags();
    let atoms = usize::from(reader.byte() % 13);
    let cutoff = reader.number(wild);
    let matrix = reader.matrix(wild);
    let Ok(cell) = Cell::new(matrix, pbc) else { return };
    let positions: Vec<Vec3> = (0..atoms).map(|_| reader.vector(wild_positions)).collect();
    let most = if bytes.len() % 64 == 0 { 10.0 * SEARCHED } else { SEARCHED };
    if images(&cell, cutoff) > most {
        return;
    }
    match full_list(&positions, &cell, cutoff) {
        Ok(list) => check(&list, &positions, &cell, cutoff),
        Err(Error::Input(message)) => assert!(!message.is_empty() && !message.contains('\n')),
        Err(other) => panic!("a structure is bad input, not {other:?}"),
    }
});

fn check(list: &FullList, positions: &[Vec3], cell: &Cell, cutoff: f64) {
    let triples: Vec<Triple> = (0..list.i.len()).map(|e| (list.i[e], list.j[e], list.shifts[e])).collect();
    assert!(triples.is_sorted_by(|a, b| a < b), "sorted, each once");
    for (e, &(i, j, shift)) in triples.iter().enumerate() {
        let (ri, rj) = (positions[i as usize], positions[j as usize]);
        let travel = cell.translation(shift);
        let blur = blur(&[ri, rj, travel], cell);
        let vector = list.vectors[e];
        assert!(norm(sub(add(sub(rj, ri), travel), vector)) <= blur, "D = r_j − r_i + S·cell");
        assert_eq!(norm(vector), list.distances[e]);
        assert!(list.distances[e] < cutoff);
    }
    let found: HashSet<Triple> = triples.iter().copied().collect();
    assert!(triples.iter().all(|&(i, j, s)| found.contains(&(j, i, s.map(|x| -x)))), "both directions");
    compare(&found, positions, cell, cutoff);
}

/// Round-off in a sum of vectors that were wrapped into the cell.
fn blur(vectors: &[Vec3], cell: &Cell) -> f64 {
    let rows = (0..3).filter(|&k| cell.pbc()[k]).map(|k| norm(cell.matrix()[k])).sum::<f64>();
    1e-14 * (rows + vectors.iter().map(|&v| norm(v)).sum::<f64>())
}

/// How many cells away along each axis an image within the cutoff can be.
fn reach(cell: &Cell, cutoff: f64) -> [f64; 3] {
    std::array::from_fn(|k| if cell.pbc()[k] { cutoff / cell.height(k) + 2.0 } else { 0.0 })
}

/// Number of images within that reach.
fn images(cell: &Cell, cutoff: f64) -> f64 {
    reach(cell, cutoff).iter().map(|r| 2.0 * r + 1.0).product()
}

/// Every image that could be within the cutoff, unless there are too many to try.
fn compare(found: &HashSet<Triple>, positions: &[Vec3], cell: &Cell, cutoff: f64) {
    if images(cell, cutoff) * (positions.len() * positions.len()) as f64 > IMAGES {
        return;
    }
    let reach = reach(cell, cutoff);
    for (i, &ri) in positions.iter().enumerate() {
        for (j, &rj) in positions.iter().enumerate() {
            let apart = sub(rj, ri);
            let middle: [i64; 3] = std::array::from_fn(|k| match cell.pbc()[k] {
                true => -cell.coordinate(apart, k).round() as i64,
                false => 0,
            });
            let range = |k: usize| middle[k] - reach[k] as i64..=middle[k] + reach[k] as i64;
            for shift in range(0).flat_map(|a| range(1).flat_map(move |b| range(2).map(move |c| [a, b, c]))) {
                let travel = cell.translation(shift);
                let distance = norm(add(apart, travel));
                let sure = (distance - cutoff).abs() > 10.0 * blur(&[ri, rj, travel], cell);
                if sure && (i != j || shift != [0; 3]) {
                    let listed = found.contains(&(i as i64, j as i64, shift));
                    assert_eq!(listed, distance < cutoff, "({i}, {j}, {shift:?}) at {distance} Å");
                }
            }
        }
    }
}
