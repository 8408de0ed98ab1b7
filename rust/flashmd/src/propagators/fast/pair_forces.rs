//! Pair forces from tables, the middle level of a `hybrid` stride: too fast to be kicked with the network, cheap enough to be
//! computed many times between its kicks.

use super::bonds::Arm;
use crate::elements;
use crate::error::Result;
use crate::linalg::{Vec3, add, dot, scale, sub};
use crate::model::fast_forces::{PairTable, PairTables};
use crate::neighbors::NeighborSearch;
use crate::propagators::kick_drift_kick::Forces;
use crate::state::State;
use crate::units::FS;

/// Two edges are the same if their ends are this near, Å².
const SAME: f64 = 1e-6;

/// The pair forces of one system; pairs that bonds and angles join are left out.
#[derive(Debug)]
pub(super) struct PairForces {
    timestep: f64,
    curves: Vec<Curve>,
    /// Number of each atom's species among those of the curves.
    species: Vec<usize>,
    /// Number of a pair's curve, by both species.
    curve_of: Vec<Vec<Option<usize>>>,
    /// By atom, the arms to those that are joined to it.
    joined: Vec<Vec<Arm>>,
    search: NeighborSearch,
    forces: Vec<Vec3>,
}

/// dE/dr by intervals of the table: c₀ + c₁s + c₂s² with s from 0 to 1 in each, the slope of the cubic that has the table's
/// energies and slopes at both ends.
#[derive(Debug)]
struct Curve {
    first: f64,
    spacing: f64,
    slopes: Vec<[f64; 3]>,
}

impl Curve {
    fn new(pairs: &PairTables, table: &PairTable) -> Self {
        let h = pairs.spacing_A;
        let slope = |entry: usize| {
            let step = (table.energies_eV[entry + 1] - table.energies_eV[entry]) / h;
            let [m0, m1] = [table.slopes_eV_per_A[entry], table.slopes_eV_per_A[entry + 1]];
            [m0, 6.0 * step - 4.0 * m0 - 2.0 * m1, 3.0 * (m0 + m1) - 6.0 * step]
        };
        Self { first: pairs.first_A, spacing: h, slopes: (0..table.energies_eV.len() - 1).map(slope).collect() }
    }

    /// dE/dr; nearer than the table begins it is as there.
    fn slope(&self, r: f64) -> f64 {
        let place = ((r - self.first) / self.spacing).max(0.0);
        let interval = (place as usize).min(self.slopes.len() - 1);
        let [c0, c1, c2] = self.slopes[interval];
        let s = (place - interval as f64).min(1.0);
        c0 + s * (c1 + s * c2)
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
            curves: pairs.tables.iter().map(|table| Curve::new(pairs, table)).collect(),
            species: state.numbers.iter().map(|&z| number(elements::symbol(z))).collect(),
            curve_of,
            joined,
            search: NeighborSearch::new(pairs.cutoff())?,
            forces: Vec::new(),
        })
    }

    /// Length of a step under them, Å·√(u/eV).
    pub(super) fn timestep(&self) -> f64 {
        self.timestep
    }
}

impl Forces for PairForces {
    fn update(&mut self, state: &State) -> Result<()> {
        self.search.update(&state.positions, &state.cell)?;
        let Self { curves, species, curve_of, joined, search, forces, .. } = self;
        forces.clear();
        forces.resize(state.len(), [0.0; 3]);
        for i in 0..state.len() {
            let (mine, partners) = (&curve_of[species[i]], &joined[i]);
            search.for_each_edge(i, |edge| {
                let j = edge.neighbor;
                let Some(curve) = mine[species[j]].filter(|_| i < j) else { return };
                let is_edge = |arm: &Arm| {
                    let off = sub(arm.vector(&state.positions, &state.cell), edge.vector);
                    dot(off, off) < SAME
                };
                if partners.iter().any(|arm| arm.to == j && is_edge(arm)) {
                    return;
                }
                let r = dot(edge.vector, edge.vector).sqrt();
                let pull = scale(curves[curve].slope(r) / r, edge.vector);
                forces[i] = add(forces[i], pull);
                forces[j] = sub(forces[j], pull);
            });
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
    use super::*;

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
        let curve = Curve::new(&pairs, &pairs.tables[0]);
        for r in [1.0, 1.1, 1.25, 2.0, 2.337, 2.9999, 3.0] {
            assert!((curve.slope(r) - slope(r)).abs() < 1e-12, "{r}");
        }
        assert!((curve.slope(0.3) - slope(1.0)).abs() < 1e-12);
    }
}
