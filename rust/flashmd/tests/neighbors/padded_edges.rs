//! The padded arrays hold the list and its reverse.

use crate::oracle::{Case, check_edges, edges_of, large_case, oracle, random_case};
use flashmd::linalg::{add, sub};
use flashmd::neighbors::{NeighborSearch, PaddedEdges, Part, full_list};
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;
use proptest::prelude::*;

/// Every slot and its reverse, one by one.
#[test]
fn padded_edges_equals_the_oracle_on_500_random_cases() {
    for seed in 1000..1500 {
        let case = random_case(seed);
        let edges = edges_of(&case, None);
        let mut wanted = oracle(&case);
        wanted.sort_unstable();
        let mut row_starts = vec![0; case.positions.len() + 1];
        wanted.iter().for_each(|&(i, ..)| row_starts[i as usize + 1] += 1);
        let tight = row_starts.iter().max().unwrap().max(&1);
        assert_eq!((edges.atoms, edges.max_neighbors), (case.positions.len(), *tight), "seed {seed}");
        for i in 0..edges.atoms {
            row_starts[i + 1] += row_starts[i];
        }
        let slot = |e: usize| wanted[e].0 as usize * edges.max_neighbors + e - row_starts[wanted[e].0 as usize];
        for (e, &(i, j, s)) in wanted.iter().enumerate() {
            let back = wanted.binary_search(&(j, i, s.map(|n| -n))).unwrap();
            let d = add(sub(case.positions[j as usize], case.positions[i as usize]), case.cell.translation(s));
            let at = slot(e);
            assert!(edges.mask[at]);
            assert_eq!((edges.neighbors[at], edges.reverse[at] as usize), (j as i32, slot(back)), "seed {seed}");
            assert!((0..3).all(|c| (f64::from(edges.edge_vectors[3 * at + c]) - d[c]).abs() < 1e-5), "seed {seed}");
        }
        assert_eq!(edges.mask.iter().filter(|m| **m).count(), wanted.len(), "seed {seed}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let rotation = Rotation::random(&mut Stream::new(3, Purpose::Rotation, 0));
    for thin in [false, true] {
        let case = large_case(thin);
        let with = |threads: usize| {
            let mut search = NeighborSearch::new(case.cutoff).unwrap().with_threads(threads);
            search.update(&case.positions, &case.cell).unwrap();
            assert_eq!(search.threads(), threads.min(case.positions.len() / 2048));
            let mut edges = PaddedEdges::default();
            edges.assemble(&[Part { search: &search, rotation: Some(&rotation) }]).unwrap();
            edges
        };
        let one = with(1);
        check_edges(&one);
        assert!(
            !thin || (0..one.max_neighbors).any(|slot| one.mask[slot] && one.neighbors[slot] == 0),
            "it sees itself"
        );
        let bits = |edges: &PaddedEdges| edges.edge_vectors.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for threads in [2, 3, 4, 64] {
            let many = with(threads);
            assert_eq!((&one.mask, &one.neighbors, &one.reverse), (&many.mask, &many.neighbors, &many.reverse));
            assert_eq!(bits(&one), bits(&many));
        }
    }
}

/// What was searched before leaves no trace: a run that goes on from a checkpoint sees the same bits.
#[test]
fn a_used_search_gives_the_same_bits_as_a_new_one() {
    let mut search = NeighborSearch::new(3.0).unwrap();
    for seed in 0..40 {
        let case = Case { cutoff: 3.0, ..random_case(seed) };
        search.update(&case.positions, &case.cell).unwrap();
        let mut edges = PaddedEdges::default();
        edges.assemble(&[Part { search: &search, rotation: None }]).unwrap();
        let fresh = edges_of(&case, None);
        assert_eq!((&edges.edge_vectors, &edges.neighbors), (&fresh.edge_vectors, &fresh.neighbors), "seed {seed}");
        assert_eq!((&edges.mask, &edges.reverse), (&fresh.mask, &fresh.reverse), "seed {seed}");
    }
}

#[test]
fn parts_of_a_batch_are_their_arrays_one_after_another() {
    let cases = [random_case(6), random_case(33), random_case(7)].map(|case| Case { cutoff: 3.0, ..case });
    let searches = cases.each_ref().map(|case| {
        let mut search = NeighborSearch::new(case.cutoff).unwrap();
        search.update(&case.positions, &case.cell).unwrap();
        search
    });
    let mut batch = PaddedEdges::default();
    batch.assemble(&searches.each_ref().map(|search| Part { search, rotation: None })).unwrap();
    check_edges(&batch);
    let mut first = 0;
    for case in &cases {
        let alone = edges_of(case, None).padded(case.positions.len(), batch.max_neighbors);
        let rows = first * batch.max_neighbors..(first + alone.atoms) * batch.max_neighbors;
        assert_eq!(batch.mask[rows.clone()], alone.mask);
        assert_eq!(batch.edge_vectors[3 * rows.start..3 * rows.end], alone.edge_vectors);
        let moved: Vec<i32> = alone.reverse.iter().map(|r| r + rows.start as i32).collect();
        assert_eq!(batch.reverse[rows], moved);
        first += alone.atoms;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn padded_edges_holds_the_list_and_its_reverse(seed in 0u64..1_000_000, extra in 0usize..4) {
        let case = random_case(seed);
        let edges = edges_of(&case, None);
        check_edges(&edges);
        check_edges(&edges.padded(edges.atoms + extra, edges.max_neighbors + extra));
        let list = full_list(&case.positions, &case.cell, case.cutoff).unwrap();
        let real: Vec<usize> = (0..edges.mask.len()).filter(|&e| edges.mask[e]).collect();
        prop_assert_eq!(real.len(), list.i.len());
        prop_assert!(edges.max_neighbors >= 1);
        for (e, &at) in real.iter().enumerate() {
            prop_assert_eq!((at / edges.max_neighbors, edges.neighbors[at] as usize), (list.i[e] as usize, list.j[e] as usize));
            for c in 0..3 {
                prop_assert_eq!(edges.edge_vectors[3 * at + c], list.vectors[e][c] as f32);
            }
        }
    }
}

#[test]
fn padded_edges_buffers_shrink_and_grow() {
    let (mut search, mut edges) = (NeighborSearch::new(3.0).unwrap(), PaddedEdges::default());
    for seed in [3, 10, 4, 100, 7] {
        let case = random_case(seed);
        search.update(&case.positions, &case.cell).unwrap();
        edges.assemble(&[Part { search: &search, rotation: None }]).unwrap();
        check_edges(&edges);
    }
}

#[test]
fn padded_edges_turns_with_its_frame() {
    let case = random_case(4);
    let rotation = Rotation::random(&mut Stream::new(3, Purpose::Rotation, 0));
    let (straight, turned) = (edges_of(&case, None), edges_of(&case, Some(&rotation)));
    assert_eq!(
        (&straight.mask, &straight.neighbors, &straight.reverse),
        (&turned.mask, &turned.neighbors, &turned.reverse)
    );
    for (a, b) in straight.edge_vectors.chunks(3).zip(turned.edge_vectors.chunks(3)) {
        let wanted = rotation.apply([a[0], a[1], a[2]].map(f64::from));
        assert!((0..3).all(|c| (wanted[c] - f64::from(b[c])).abs() < 1e-6));
    }
}
