//! The neighbour search against an O(N²·images) oracle, as exact sets of (i, j, S).
#![allow(clippy::unwrap_used)]

mod common;

use common::numbers;
use flashmd::Cell;
use flashmd::linalg::{Mat3, Vec3, add, norm, scale, sub};
use flashmd::neighbors::{FullList, NeighborSearch, full_list};
use flashmd::neighbors::{PaddedEdges, Part};
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;
use proptest::prelude::*;

#[derive(Debug)]
struct Case {
    positions: Vec<Vec3>,
    cell: Cell,
    cutoff: f64,
}

/// Triclinic, skewed, tiny, slab, wire, cluster, far outside the cell, by turns.
fn random_case(seed: u64) -> Case {
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
fn oracle(case: &Case) -> Vec<(i64, i64, [i64; 3])> {
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

fn triples(list: &FullList) -> Vec<(i64, i64, [i64; 3])> {
    (0..list.i.len()).map(|e| (list.i[e], list.j[e], list.shifts[e])).collect()
}

#[test]
fn equals_the_oracle_on_700_random_cases() {
    let mut edges = 0;
    for seed in 0..700 {
        let case = random_case(seed);
        let list = full_list(&case.positions, &case.cell, case.cutoff).unwrap();
        let mut wanted = oracle(&case);
        wanted.sort_unstable();
        assert_eq!(triples(&list), wanted, "seed {seed}: sorted by (i, j, S) and complete");
        for e in 0..list.i.len() {
            let (i, j) = (list.i[e] as usize, list.j[e] as usize);
            let d = add(sub(case.positions[j], case.positions[i]), case.cell.translation(list.shifts[e]));
            assert!(norm(sub(d, list.vectors[e])) < 1e-9, "seed {seed}: D = r_j - r_i + S·cell");
            assert!((norm(d) - list.distances[e]).abs() < 1e-9);
        }
        edges += list.i.len();
    }
    assert!(edges > 100_000, "the cases must not be empty: {edges} edges");
}

#[test]
fn wrapping_and_translating_change_no_vector_and_no_order() {
    for seed in 0..60 {
        let case = random_case(seed);
        let list = full_list(&case.positions, &case.cell, case.cutoff).unwrap();
        let mut s = numbers(1000 + seed);
        let moved: Vec<Vec3> = case
            .positions
            .iter()
            .map(|&r| {
                let image = std::array::from_fn(|_| (s.uniform() * 9.0) as i64 - 4);
                add(add(r, [3.3, -7.7, 11.1]), case.cell.translation(image))
            })
            .collect();
        let other = full_list(&moved, &case.cell, case.cutoff).unwrap();
        assert_eq!((&list.i, &list.j), (&other.i, &other.j), "seed {seed}");
        for (a, b) in list.vectors.iter().zip(&other.vectors) {
            assert!(norm(sub(*a, *b)) < 1e-10, "seed {seed}");
        }
    }
}

#[test]
fn no_atoms_one_atom_and_atoms_apart_have_empty_lists() {
    let open = Cell::open();
    for positions in [vec![], vec![[1.0, 2.0, 3.0]], vec![[0.0; 3], [100.0, 0.0, 0.0]]] {
        assert_eq!(full_list(&positions, &open, 5.0).unwrap(), FullList::default());
    }
}

#[test]
fn the_cutoff_is_strict() {
    let positions = [[0.0; 3], [1.0, 0.0, 0.0]];
    assert_eq!(full_list(&positions, &Cell::open(), 1.0).unwrap().i.len(), 0);
    assert_eq!(full_list(&positions, &Cell::open(), 1.0 + 1e-12).unwrap().i.len(), 2);
}

#[test]
fn coincident_atoms_are_neighbours() {
    let list = full_list(&[[1.0; 3], [1.0; 3]], &Cell::open(), 2.0).unwrap();
    assert_eq!((list.i, list.j, list.distances), (vec![0, 1], vec![1, 0], vec![0.0, 0.0]));
}

/// The last bit decides, wherever the pair is and however round-off falls.
#[test]
fn pairs_at_the_cutoff_are_decided_in_double_precision() {
    let mut s = numbers(5);
    let cell = Cell::new([[900.0, 0.0, 0.0], [50.0, 1000.0, 0.0], [0.0, -30.0, 800.0]], [true, true, false]).unwrap();
    let cutoff = 4.7;
    let mut inside = 0;
    for case in 0..400 {
        let place: Vec3 = [300.0 + 300.0 * s.uniform(), 300.0 + 300.0 * s.uniform(), 1e4 * s.uniform()];
        let u = s.normal3();
        let stretch = 1.0 + (s.uniform() - 0.5) * 10f64.powi(-(case % 16));
        let pair = [place, add(place, scale(cutoff * stretch / norm(u), u))];
        let d = sub(pair[1], pair[0]);
        let wanted = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < cutoff * cutoff;
        assert_eq!(full_list(&pair, &cell, cutoff).unwrap().i.len(), 2 * usize::from(wanted), "{stretch}");
        inside += usize::from(wanted);
    }
    assert!((100..300).contains(&inside), "{inside} of 400 inside");
}

#[test]
fn far_flung_atoms_cost_no_memory() {
    let mut positions: Vec<Vec3> = (0..50).map(|i| [i as f64, 0.0, 0.0]).collect();
    positions.push([1e8, -1e8, 1e8]);
    let list = full_list(&positions, &Cell::open(), 1.5).unwrap();
    assert_eq!(list.i.len(), 98);
    let slab = Cell::new([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 1e7]], [true; 3]).unwrap();
    assert_eq!(full_list(&[[0.0; 3], [8.5, 0.0, 0.0]], &slab, 1.0).unwrap().i.len(), 2);
}

#[test]
fn unusable_input_is_an_error() {
    let message = |r: flashmd::Result<FullList>| r.unwrap_err().to_string();
    assert!(message(full_list(&[], &Cell::open(), 0.0)).contains("cutoff"));
    assert!(message(full_list(&[], &Cell::open(), f64::NAN)).contains("cutoff"));
    let thin = Cell::new([[1e-4, 0.0, 0.0], [0.0, 1e-4, 0.0], [0.0, 0.0, 9.0]], [true; 3]).unwrap();
    assert!(message(full_list(&[[0.0; 3]], &thin, 5.0)).contains("thinner than the cutoff"));
    let cell = Cell::new([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]], [true; 3]).unwrap();
    assert!(message(full_list(&[[1e12, 0.0, 0.0]], &cell, 3.0)).contains("wrap the atoms"));
    assert!(message(full_list(&[[1e12, 0.0, 0.0]], &Cell::open(), 3.0)).contains("wrap the atoms"));
    assert!(message(full_list(&[[f64::NAN, 0.0, 0.0]], &cell, 3.0)).contains("wrap the atoms"));
    assert!(Cell::new([[0.0; 3]; 3], [true; 3]).unwrap_err().to_string().contains("length zero"));
    assert!(Cell::new([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0; 3]], [true, true, false]).is_err());
    assert!(Cell::new([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [true; 3]).is_err());
    assert!(Cell::new([[f64::INFINITY; 3]; 3], [false; 3]).is_err());
}

#[test]
fn a_collapsed_structure_is_unstable_not_out_of_memory() {
    let mut search = NeighborSearch::new(3.0).unwrap().with_max_pairs(1000);
    let error = search.update(&vec![[0.0; 3]; 100], &Cell::open()).unwrap_err();
    assert!(matches!(error, flashmd::Error::Stability(_)), "{error}");
}

fn edges_of(case: &Case, rotation: Option<&Rotation>) -> PaddedEdges {
    let mut search = NeighborSearch::new(case.cutoff).unwrap();
    search.update(&case.positions, &case.cell).unwrap();
    let mut edges = PaddedEdges::default();
    edges.assemble(&[Part { search: &search, rotation }]).unwrap();
    edges
}

/// Reverse edges are mutual, point back, have the opposite vector; padding points at itself.
fn check_edges(edges: &PaddedEdges) {
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

/// Enough atoms for threads to pay; along the thin axis atoms see their own images and others twice.
fn large_case(thin: bool) -> Case {
    let (edges, count) = if thin { ([70.0, 60.0, 3.1], 6000) } else { ([50.0, 45.0, 40.0], 9000) };
    let mut s = numbers(11);
    let matrix = [[edges[0], 0.0, 0.0], [7.0, edges[1], 0.0], [-3.0, 1.0, edges[2]]];
    let cell = Cell::new(matrix, [true, !thin, true]).unwrap();
    let positions = (0..count).map(|_| std::array::from_fn(|k| s.uniform() * 1.5 * edges[k])).collect();
    Case { positions, cell, cutoff: if thin { 4.5 } else { 5.0 } }
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

/// Seconds of the better of two searches.
fn seconds(positions: &[Vec3], cell: &Cell) -> f64 {
    let mut search = NeighborSearch::new(5.0).unwrap();
    let mut time = || {
        let start = std::time::Instant::now();
        search.update(positions, cell).unwrap();
        start.elapsed().as_secs_f64()
    };
    time().min(time())
}

/// Vacuum, a cell 1000 times as long as thick, an atom that flew away: no slower than a compact box, with room for a
/// busy machine. With bins over the whole box each of them would take 100 times as long or more.
#[test]
fn awkward_shapes_cost_what_their_atoms_cost() {
    let compact = common::lattice(22, 2.15, 0.2, [1.0, 1.0], 4);
    let edge = compact.cell.matrix()[0][0];
    let usual = seconds(&compact.positions, &compact.cell);
    let vacuum = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, 1e6]], [true; 3]).unwrap();
    let mut flown = compact.positions.clone();
    flown[17] = [1e8, -1e8, 1e8];
    let wire: Vec<Vec3> = (0..10_648).map(|i| [0.1 + i as f64, 2.0 + (i % 7) as f64, 3.0 + (i % 5) as f64]).collect();
    let long = Cell::new([[10_648.0, 0.0, 0.0], [0.0, 10.648, 0.0], [0.0, 0.0, 10.648]], [true; 3]).unwrap();
    for (name, positions, cell) in [
        ("vacuum", &compact.positions, &vacuum),
        ("one atom far away, open", &flown, &Cell::open()),
        ("one atom far away, periodic", &flown, &compact.cell),
        ("1000:1:1", &wire, &long),
    ] {
        let taken = seconds(positions, cell);
        assert!(taken < 10.0 * usual + 0.05, "{name}: {taken} s, a compact box {usual} s");
    }
}

prop_compose! {
    /// Any cell that spans a volume, atoms anywhere, any mix of periodic axes.
    fn any_case()(
        edges in prop::array::uniform3(0.8f64..12.0),
        skew in prop::array::uniform3(-1.2f64..1.2),
        pbc in prop::array::uniform3(any::<bool>()),
        fractions in prop::collection::vec(prop::array::uniform3(-2.0f64..3.0), 0..25),
        cutoff in 0.3f64..6.0,
    ) -> Case {
        let [a, b, c] = edges;
        let matrix = [[a, 0.0, 0.0], [skew[0] * a, b, 0.0], [skew[1] * a, skew[2] * b, c]];
        let place = |f: [f64; 3]| std::array::from_fn(|k| (0..3).map(|l| f[l] * matrix[l][k]).sum());
        let positions = fractions.into_iter().map(place).collect();
        Case { positions, cell: Cell::new(matrix, pbc).unwrap(), cutoff }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_geometry_equals_the_oracle(case in any_case()) {
        let mut wanted = oracle(&case);
        wanted.sort_unstable();
        prop_assert_eq!(triples(&full_list(&case.positions, &case.cell, case.cutoff).unwrap()), wanted);
        check_edges(&edges_of(&case, None));
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

#[test]
fn what_cannot_be_computed_with_is_an_error_not_a_wrong_list() {
    let message = |r: flashmd::Result<FullList>| r.unwrap_err().to_string();
    let cube = |a: f64| Cell::new([[a, 0.0, 0.0], [0.0, a, 0.0], [0.0, 0.0, a]], [true; 3]);
    // Squares of these over- or underflow, and the list was empty.
    assert!(message(full_list(&[[0.0; 3]; 2], &Cell::open(), 1e-200)).contains("wanted one from 1e-6"));
    assert!(message(full_list(&[[0.0; 3]; 2], &Cell::open(), 1e200)).contains("wanted one from 1e-6"));
    assert!(message(full_list(&[[1e308, -1e308, 0.0]; 2], &Cell::open(), 4.0)).contains("wrap the atoms"));
    assert!(cube(5e-324).unwrap_err().to_string().contains("length zero"));
    assert!(cube(1e-7).unwrap_err().to_string().contains("too thin"));
    assert!(cube(1e10).unwrap_err().to_string().contains("too large"));
    // Open axes mean nothing, but their volume is asked for.
    assert!(Cell::new([[1e200; 3]; 3], [false; 3]).is_err());
    // So skewed that round-off puts a wrapped atom dozens of cells away.
    let skewed = [[0.0, 0.0, -6e8], [-6e8, -6e8, 0.0], [-6e8 + 1.0, -6e8, -6e8]];
    assert!(Cell::new(skewed, [true; 3]).unwrap_err().to_string().contains("do not span a volume"));
    // Less skewed, but so far out that it happens all the same.
    let skewed = [[1e4 / 3.0, 1e4 / 3.0, 0.0], [1e4 / 7.0 + 0.01, 1e4 / 7.0 - 0.01, 0.0], [0.0, 0.0, 10.0]];
    let skewed = Cell::new(skewed, [true; 3]).unwrap();
    let far: Vec<Vec3> = (0..100_000).map(|k| [5e6 + 1e-3 * k as f64, -5e6, 0.0]).collect();
    assert!(message(full_list(&far, &skewed, 0.01)).contains("its place in it is lost"));
}

#[test]
fn lists_that_would_fill_memory_are_refused_in_time() {
    let start = std::time::Instant::now();
    let small = Cell::new([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.3]], [true; 3]).unwrap();
    for (atoms, cell) in [(45_000, Cell::open()), (300, small.clone()), (100_000, small)] {
        let error = full_list(&vec![[0.0; 3]; atoms], &cell, 4.0).unwrap_err();
        assert!(matches!(&error, flashmd::Error::Input(m) if m.contains("smaller cutoff")), "{error}");
    }
    assert!(start.elapsed().as_secs_f64() < 6.0, "three of them took {:?}", start.elapsed());
}
