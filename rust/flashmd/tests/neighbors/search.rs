//! The search against an O(N²·images) oracle, as exact sets of (i, j, S).

use crate::common::numbers;
use crate::oracle::{Case, check_edges, edges_of, oracle, random_case, triples};
use flashmd::Cell;
use flashmd::linalg::{Vec3, add, norm, scale, sub};
use flashmd::neighbors::{FullList, NeighborSearch, full_list};
use proptest::prelude::*;

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
    let compact = crate::common::lattice(22, 2.15, 0.2, [1.0, 1.0], 4);
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
