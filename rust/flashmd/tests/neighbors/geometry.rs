//! Geometry on numbers of every size: what is accepted is computed with, what cannot be computed with is refused.

use std::collections::HashSet;

use flashmd::linalg::{Mat3, Vec3};
use flashmd::neighbors::{FullList, full_list};
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;
use flashmd::{Cell, Error};
use proptest::prelude::*;

const CASES: u32 = 2000;

/// Mostly lengths of chemistry, now and then anything.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![8 => -12.0..12.0f64, 1 => prop::num::f64::ANY, 1 => (-320..308i32).prop_map(|e| 10f64.powi(e))]
}

fn vector() -> impl Strategy<Value = Vec3> {
    prop::array::uniform3(number())
}

fn matrix() -> impl Strategy<Value = Mat3> {
    prop::array::uniform3(vector())
}

/// A cell of chemistry, not thin.
fn sound_cell() -> impl Strategy<Value = Cell> {
    (prop::array::uniform3(prop::array::uniform3(-6.0..6.0f64)), any::<[bool; 3]>()).prop_filter_map(
        "thin",
        |(mut matrix, pbc)| {
            (0..3).for_each(|k| matrix[k][k] += 6.0);
            Cell::new(matrix, pbc).ok().filter(|cell| (0..3).all(|k| cell.height(k) > 0.9))
        },
    )
}

fn sound_positions() -> impl Strategy<Value = Vec<Vec3>> {
    prop::collection::vec(prop::array::uniform3(-20.0..20.0f64), 0..12)
}

fn edges(list: &FullList) -> Vec<(i64, i64, [i64; 3])> {
    (0..list.i.len()).map(|e| (list.i[e], list.j[e], list.shifts[e])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wild_structures_are_refused_or_listed(
        matrix in matrix(),
        pbc: [bool; 3],
        positions in prop::collection::vec(vector(), 0..5),
        cutoff in number(),
    ) {
        let Ok(cell) = Cell::new(matrix, pbc) else { return Ok(()) };
        // Thin cells make long lists, which are tested elsewhere.
        prop_assume!((0..3).all(|k| !pbc[k] || (cutoff / cell.height(k)).max(0.0) <= 20.0));
        match full_list(&positions, &cell, cutoff) {
            Err(error) => prop_assert!(matches!(error, Error::Input(_)), "{error}"),
            Ok(list) => {
                prop_assert!(list.distances.iter().all(|&d| d < cutoff));
                let forth: HashSet<_> = edges(&list).into_iter().collect();
                prop_assert_eq!(forth.len(), list.i.len());
                prop_assert!(forth.iter().all(|&(i, j, s)| forth.contains(&(j, i, s.map(|x| -x)))));
            }
        }
    }

    #[test]
    fn distances_turn_with_the_frame(cell in sound_cell(), positions in sound_positions(), seed: u64) {
        let rotation = Rotation::random(&mut Stream::new(seed, Purpose::Rotation, 0));
        let turned = Cell::new(cell.matrix().map(|row| rotation.apply(row)), cell.pbc()).unwrap();
        let moved: Vec<Vec3> = positions.iter().map(|&r| rotation.apply(r)).collect();
        let (a, b) = (full_list(&positions, &cell, 4.0).unwrap(), full_list(&moved, &turned, 4.0).unwrap());
        // A pair on the edge of the cutoff may fall on either side.
        let sure = |list: &FullList| -> HashSet<_> {
            let far = |e: &usize| list.distances[*e] < 4.0 - 1e-9;
            (0..list.i.len()).filter(far).map(|e| edges(list)[e]).collect()
        };
        prop_assert_eq!(sure(&a), sure(&b));
    }

    #[test]
    fn the_order_of_the_atoms_does_not_matter(cell in sound_cell(), positions in sound_positions()) {
        let last = positions.len() as i64 - 1;
        let reversed: Vec<Vec3> = positions.iter().rev().copied().collect();
        let (a, b) = (full_list(&positions, &cell, 4.0).unwrap(), full_list(&reversed, &cell, 4.0).unwrap());
        let renamed: HashSet<_> = edges(&b).into_iter().map(|(i, j, s)| (last - i, last - j, s)).collect();
        prop_assert_eq!(edges(&a).into_iter().collect::<HashSet<_>>(), renamed);
    }
}
