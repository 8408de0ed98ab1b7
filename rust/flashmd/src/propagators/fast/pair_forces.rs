//! Pair forces from tables, the middle level of a `hybrid` stride: too fast to be kicked with the network, cheap enough to be
//! computed many times between its kicks.

use super::bonds::Arm;
use super::pair_list::{Pair, PairList};
use crate::elements;
use crate::error::Result;
use crate::kernels::{InstructionSet, for_each_set};
use crate::linalg::{Vec3, add, dot, scale, sub};
use crate::model::fast_forces::{PairTable, PairTables};
use crate::propagators::kick_drift_kick::Forces;
use crate::state::State;
use crate::units::FS;

/// The pair forces of one system; pairs that bonds and angles join are left out.
#[derive(Debug)]
pub(super) struct PairForces {
    timestep: f64,
    curves: Curves,
    /// Number of each atom's species among those of the curves.
    species: Vec<usize>,
    /// Number of a pair's curve, by both species.
    curve_of: Vec<Vec<Option<usize>>>,
    /// By atom, the arms to those that are joined to it.
    joined: Vec<Vec<Arm>>,
    cutoff: f64,
    list: PairList,
    /// Positions at which the forces were computed, and the forces.
    positions: Vec<Vec3>,
    forces: Vec<Vec3>,
}

/// dE/dr of every curve by intervals of its table: c₀ + c₁s + c₂s² with s from 0 to 1 in each, the slope of the cubic that has the
/// table's energies and slopes at both ends.
#[derive(Debug)]
struct Curves {
    first: f64,
    /// 1 / spacing.
    per_spacing: f64,
    /// Of one curve.
    intervals: usize,
    /// One curve after the other.
    slopes: Vec<[f64; 3]>,
}

impl Curves {
    fn new(pairs: &PairTables) -> Self {
        let h = pairs.spacing_A;
        let slope = |table: &PairTable, entry: usize| {
            let step = (table.energies_eV[entry + 1] - table.energies_eV[entry]) / h;
            let [m0, m1] = [table.slopes_eV_per_A[entry], table.slopes_eV_per_A[entry + 1]];
            [m0, 6.0 * step - 4.0 * m0 - 2.0 * m1, 3.0 * (m0 + m1) - 6.0 * step]
        };
        let intervals = pairs.tables.first().map_or(0, |table| table.energies_eV.len() - 1);
        let of_table = |table| (0..intervals).map(move |entry| slope(table, entry));
        Self {
            first: pairs.first_A,
            per_spacing: 1.0 / h,
            intervals,
            slopes: pairs.tables.iter().flat_map(of_table).collect(),
        }
    }
}

impl PairForces {
    /// Those of `state`, without the pairs in `joined`, by first atom.
    ///
    /// # Errors
    /// `Input` if the neighbour search refuses the cutoff.
    pub(crate) fn new(state: &State, pairs: &PairTables, joined: Vec<Vec<Arm>>) -> Result<Self> {
        let mut names: Vec<&str> = pairs.tables.iter().flat_map(|t| &t.species).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let number = |symbol: &str| names.binary_search(&symbol).unwrap_or(names.len());
        let mut curve_of = vec![vec![None; names.len() + 1]; names.len() + 1];
        for (index, table) in pairs.tables.iter().enumerate() {
            let [a, b] = [0, 1].map(|end| number(&table.species[end]));
            (curve_of[a][b], curve_of[b][a]) = (Some(index), Some(index));
        }
        Ok(Self {
            timestep: pairs.timestep_fs * FS,
            curves: Curves::new(pairs),
            species: state.numbers.iter().map(|&z| number(elements::symbol(z))).collect(),
            curve_of,
            joined,
            cutoff: pairs.cutoff(),
            list: PairList::new(pairs.cutoff())?,
            positions: Vec::new(),
            forces: Vec::new(),
        })
    }

    /// Length of a step under them, Å·√(u/eV).
    pub(super) fn timestep(&self) -> f64 {
        self.timestep
    }
}

/// Pairs that are computed side by side.
const TILE: usize = 16;

for_each_set! {
    /// dE/dr / r at the distances whose squares are given, by each pair's curve; nearer than the tables begin dE/dr is as there, and
    /// beyond `most`, a square too, it is zero.
    fn slopes_over_distances(curves: &Curves, most: f64, squares: &[f64; TILE], numbers: &[usize; TILE], found: &mut [f64; TILE]) {
        debug_assert!(curves.intervals > 0, "tables have two entries at least");
        let last = curves.intervals - 1;
        let mut distances = [0.0; TILE];
        let mut places = [0.0; TILE];
        let mut intervals = [0_i32; TILE];
        for k in 0..TILE {
            distances[k] = squares[k].sqrt();
            places[k] = ((distances[k] - curves.first) * curves.per_spacing).max(0.0);
            intervals[k] = places[k].min(last as f64) as i32;
        }
        let mut terms = [[0.0; TILE]; 3];
        for k in 0..TILE {
            let [c0, c1, c2] = curves.slopes[numbers[k] * curves.intervals + intervals[k] as usize];
            (terms[0][k], terms[1][k], terms[2][k]) = (c0, c1, c2);
        }
        for k in 0..TILE {
            let s = (places[k] - f64::from(intervals[k])).min(1.0);
            let slope = terms[0][k] + s * (terms[1][k] + s * terms[2][k]);
            // Without a branch, which could not be foreseen.
            let near = u64::from(squares[k] < most).wrapping_neg();
            found[k] = f64::from_bits(slope.to_bits() & near) / distances[k];
        }
    }
}

/// Adds the forces of at most [`TILE`] pairs of an atom, in their order.
fn add_forces(
    set: InstructionSet,
    i: usize,
    pairs: &[Pair],
    positions: &[Vec3],
    curves: &Curves,
    most: f64,
    forces: &mut [Vec3],
) {
    let mut vectors = [[0.0; 3]; TILE];
    let mut squares = [1.0; TILE];
    let mut numbers = [0; TILE];
    for (k, pair) in pairs.iter().enumerate() {
        vectors[k] = pair.vector(positions[i], positions[pair.j]);
        squares[k] = dot(vectors[k], vectors[k]);
        numbers[k] = pair.curve;
    }
    let mut slopes = [0.0; TILE];
    slopes_over_distances(set, curves, most, &squares, &numbers, &mut slopes);
    let mut sum = forces[i];
    for ((pair, &vector), slope) in pairs.iter().zip(&vectors).zip(slopes) {
        let pull = scale(slope, vector);
        sum = add(sum, pull);
        forces[pair.j] = sub(forces[pair.j], pull);
    }
    forces[i] = sum;
}

impl Forces for PairForces {
    fn update(&mut self, state: &State) -> Result<()> {
        let Self { curves, species, curve_of, joined, cutoff, list, positions, forces, .. } = self;
        let curve = |i: usize, j: usize, shift: [i64; 3]| {
            let is_joined = joined[i].iter().any(|arm| (arm.to, arm.shift) == (j, shift));
            curve_of[species[i]][species[j]].filter(|_| !is_joined)
        };
        let is_new = list.update(state, curve)?;
        // A step begins where the one before it ended.
        if !is_new && *positions == state.positions {
            return Ok(());
        }
        positions.clone_from(&state.positions);
        forces.clear();
        forces.resize(state.len(), [0.0; 3]);
        let set = InstructionSet::best();
        for (i, pairs) in list.by_atom().enumerate() {
            for pairs in pairs.chunks(TILE) {
                add_forces(set, i, pairs, positions, curves, *cutoff * *cutoff, forces);
            }
        }
        Ok(())
    }

    fn get(&self) -> &[Vec3] {
        &self.forces
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::state::Cell;

    /// The same with one pair after the other, to the last bit.
    fn one_by_one(of: &PairForces, state: &State) -> Vec<Vec3> {
        let mut forces = vec![[0.0; 3]; state.len()];
        for (i, pair) in of.list.by_atom().enumerate().flat_map(|(i, pairs)| pairs.iter().map(move |pair| (i, pair))) {
            let vector = pair.vector(state.positions[i], state.positions[pair.j]);
            let r = dot(vector, vector).sqrt();
            let place = ((r - of.curves.first) * of.curves.per_spacing).max(0.0);
            let interval = (place as usize).min(of.curves.intervals - 1);
            let [c0, c1, c2] = of.curves.slopes[pair.curve * of.curves.intervals + interval];
            let s = (place - interval as f64).min(1.0);
            let slope = if dot(vector, vector) < of.cutoff * of.cutoff { c0 + s * (c1 + s * c2) } else { 0.0 };
            let pull = scale(slope / r, vector);
            forces[i] = add(forces[i], pull);
            forces[pair.j] = sub(forces[pair.j], pull);
        }
        forces
    }

    /// Forces of a kept list are those of one made anew, to the last bit: under moves, changes of the cell, and back.
    #[test]
    fn forces_do_not_depend_on_what_was_before() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut draw = move || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
        let cell = |a: f64| Cell::new([[a, 0.0, 0.0], [1.0, 4.5, 0.0], [-0.5, 1.0, 6.0]], [true; 3]).unwrap();
        let table = |a: &str, b: &str| PairTable {
            species: [a.into(), b.into()],
            energies_eV: (0..30).map(|k| (-0.1 * f64::from(k)).exp()).collect(),
            slopes_eV_per_A: (0..30).map(|k| -(-0.1 * f64::from(k)).exp() * if b == "O" { 2.0 } else { 1.0 }).collect(),
        };
        let tables = vec![table("H", "H"), table("H", "O")];
        let pairs = PairTables { timestep_fs: 1.0, first_A: 0.2, spacing_A: 0.1, tables };
        let positions: Vec<Vec3> = (0..20).map(|_| [0, 1, 2].map(|_| 12.0 * draw())).collect();
        let numbers = (0..20).map(|k| if k % 3 == 0 { 8 } else { 1 }).collect();
        let mut state = State::new(positions, vec![[0.0; 3]; 20], vec![1.0; 20], numbers, cell(5.0)).unwrap();
        let mut joined = vec![Vec::new(); 20];
        joined[1].push(Arm { from: 1, to: 2, shift: [0; 3] });
        let new = |state: &State| PairForces::new(state, &pairs, joined.clone()).unwrap();
        let mut kept = new(&state);
        let mut before = state.clone();
        for step in 0..200 {
            match step % 50 {
                20 => before = state.clone(),
                30 => state = before.clone(),
                40 => state.cell = cell(5.0 + 0.1 * draw()),
                _ => state.positions.iter_mut().for_each(|r| *r = add(*r, [0, 1, 2].map(|_| 0.05 * draw()))),
            }
            let mut fresh = new(&state);
            kept.update(&state).unwrap();
            fresh.update(&state).unwrap();
            assert_eq!(kept.get(), fresh.get());
            assert_eq!(kept.get(), one_by_one(&kept, &state));
            assert!(kept.get().iter().flatten().any(|f| *f != 0.0));
        }
    }

    #[test]
    fn a_cubic_is_read_from_its_table_exactly() {
        let energy = |r: f64| 0.3 * r.powi(3) - r * r + 0.25 * r;
        let slope = |r: f64| 0.9 * r * r - 2.0 * r + 0.25;
        let distance = |k: usize| 1.0 + 0.25 * k as f64;
        let table = PairTable {
            species: ["H".into(), "O".into()],
            energies_eV: (0..9).map(|k| energy(distance(k))).collect(),
            slopes_eV_per_A: (0..9).map(|k| slope(distance(k))).collect(),
        };
        let pairs = PairTables { timestep_fs: 1.0, first_A: 1.0, spacing_A: 0.25, tables: vec![table] };
        let curves = Curves::new(&pairs);
        let slope_at = |r: f64| {
            let [mut found, mut plain] = [[0.0; TILE]; 2];
            slopes_over_distances(InstructionSet::best(), &curves, 16.0, &[r * r; TILE], &[0; TILE], &mut found);
            slopes_over_distances(InstructionSet::Baseline, &curves, 16.0, &[r * r; TILE], &[0; TILE], &mut plain);
            assert_eq!(found, plain);
            r * found[0]
        };
        for r in [1.0, 1.1, 1.25, 2.0, 2.337, 2.9999, 3.0] {
            assert!((slope_at(r) - slope(r)).abs() < 1e-12, "{r}");
        }
        assert!((slope_at(0.3) - slope(1.0)).abs() < 1e-12);
        assert_eq!(slope_at(4.0), 0.0);
    }
}
