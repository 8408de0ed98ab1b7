//! The mollified impulse: the slow scalars of a `hybrid` model see every molecule with its outer bonds at rest, so that kicks
//! cannot resonate with the fastest vibrations (García-Archilla, Sanz-Serna & Skeel, SIAM J. Sci. Comput. 20,
//! 930 (1998); equilibrium version: Izaguirre, Reich & Skeel, J. Chem. Phys. 110, 9853 (1999)).
//!
//! W(A(q)) is a function of q like any other: kicks by its gradient stay symplectic and reversible.
//!
//! | symbol | here |
//! |---|---|
//! | A(q) | [`Mollifier::map_positions`]: every leaf at the rest length of its bond, along it |
//! | (∂A/∂q)ᵀ·F | [`Mollifier::apply_jacobian_transpose`] |
//! | b, r | `b`, `bond.length`: the vector of a bond and its rest length, Å |
//! | d = r·b/|b| − b | `Leaf::missing`: what the bond lacks to its rest length, Å |
//! | (∂d/∂b)ᵀ·h | `Leaf::jacobian_transpose_times` |

use super::bonds::Bond;
use crate::linalg::{Vec3, add, dot, norm, scale, sub};
use crate::state::State;

/// A(q) of one system and its derivative.
#[derive(Debug)]
pub struct Mollifier {
    groups: Vec<Group>,
}

/// An atom and the atoms that are bonded to it alone.
#[derive(Debug)]
struct Group {
    center: usize,
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    bond: Bond,
    /// Its mass as a share of the group's.
    share: f64,
}

impl Mollifier {
    /// Of the bonds of `state`.
    pub(super) fn new(state: &State, bonds: &[Bond]) -> Self {
        let mut degree = vec![0; state.len()];
        bonds.iter().for_each(|bond| {
            degree[bond.arm.from] += 1;
            degree[bond.arm.to] += 1;
        });
        let mut leaves: Vec<Vec<Bond>> = vec![Vec::new(); state.len()];
        for bond in bonds {
            // Of two atoms that only have each other, the first is the centre.
            if degree[bond.arm.to] == 1 {
                leaves[bond.arm.from].push(*bond);
            } else if degree[bond.arm.from] == 1 {
                leaves[bond.arm.to].push(bond.back());
            }
        }
        let group = |(center, bonds): (usize, Vec<Bond>)| {
            let mass = |i: usize| state.masses[i];
            let total = mass(center) + bonds.iter().map(|bond| mass(bond.arm.to)).sum::<f64>();
            let leaf = |bond: Bond| Leaf { share: mass(bond.arm.to) / total, bond };
            Group { center, leaves: bonds.into_iter().map(leaf).collect() }
        };
        Self { groups: leaves.into_iter().enumerate().filter(|(_, bonds)| !bonds.is_empty()).map(group).collect() }
    }

    /// `state` with every leaf at the length of its bond, along it; the centre of mass of each group stays.
    pub fn map_positions(&self, state: &State) -> State {
        let mut placed = state.clone();
        let move_by = |q: &mut Vec3, by: Vec3| *q = add(*q, by);
        for Group { center, leaves } in &self.groups {
            let shift = leaves.iter().fold([0.0; 3], |sum, leaf| sub(sum, scale(leaf.share, leaf.missing(state))));
            move_by(&mut placed.positions[*center], shift);
            for leaf in leaves {
                move_by(&mut placed.positions[leaf.bond.arm.to], add(leaf.missing(state), shift));
            }
        }
        placed
    }

    /// −∂W(A(q))/∂q at `state` from −∂W/∂A: (∂A/∂q)ᵀ of the forces, in place.
    pub fn apply_jacobian_transpose(&self, state: &State, forces: &mut [Vec3]) {
        for Group { center, leaves } in &self.groups {
            let total = leaves.iter().fold(forces[*center], |sum, leaf| add(sum, forces[leaf.bond.arm.to]));
            for leaf in leaves {
                let to = leaf.bond.arm.to;
                let change = leaf.jacobian_transpose_times(state, sub(forces[to], scale(leaf.share, total)));
                forces[to] = add(forces[to], change);
                forces[*center] = sub(forces[*center], change);
            }
        }
    }
}

impl Leaf {
    /// What the bond b lacks to its length r along it: d = r·b/|b| − b.
    fn missing(&self, state: &State) -> Vec3 {
        let b = self.bond.arm.vector(&state.positions, &state.cell);
        scale(self.bond.length / norm(b) - 1.0, b)
    }

    /// (∂d/∂b)ᵀ·h = r/|b|·(h − b(b·h)/b²) − h.
    fn jacobian_transpose_times(&self, state: &State, h: Vec3) -> Vec3 {
        let b = self.bond.arm.vector(&state.positions, &state.cell);
        let across = sub(h, scale(dot(b, h) / dot(b, b), b));
        sub(scale(self.bond.length / norm(b), across), h)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::fast_forces::{BondTemplate, FastForces};
    use crate::propagators::fast::bonds::find;
    use crate::random::{Purpose, Stream};
    use crate::state::Cell;

    /// Methane across a face of the cell, hydrogen, and a hydroxyl whose oxygen has a carbon with a hydrogen, all bent a
    /// little.
    fn molecules() -> (State, Mollifier) {
        let tetrahedron = [[0.6, 0.6, 0.6], [0.6, -0.6, -0.6], [-0.6, 0.6, -0.6], [-0.6, -0.6, 0.6]];
        let mut sites: Vec<(u8, f64, Vec3)> = vec![(6, 12.0, [0.2, 5.0, 5.0])];
        sites.extend(tetrahedron.map(|h| (1, 1.0, add([0.2, 5.0, 5.0], h))));
        sites.extend([(1, 1.0, [5.0, 5.0, 5.0]), (1, 1.0, [5.8, 5.0, 5.0])]);
        sites.extend([(6, 12.0, [5.0, 1.0, 1.0]), (8, 16.0, [6.4, 1.0, 1.0]), (1, 1.0, [6.7, 1.9, 1.0])]);
        sites.push((1, 1.0, [4.6, 2.0, 1.0]));
        let mut stream = Stream::new(3, Purpose::Check, 0);
        let positions = sites.iter().map(|&(_, _, q)| add(q, scale(0.03, stream.normal3()))).collect();
        let momenta = vec![[0.0; 3]; sites.len()];
        let masses = sites.iter().map(|s| s.1).collect();
        let numbers = sites.iter().map(|s| s.0).collect();
        let edge = 10.0;
        let cell = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]], [true; 3]).unwrap();
        let mut state = State::new(positions, momenta, masses, numbers, cell).unwrap();
        state.positions[3][0] += edge; // the same place, one cell on
        let bond = |a: &str, b: &str, length: f64| BondTemplate {
            species: [a.into(), b.into()],
            constant_eV_per_A2: 30.0,
            length_A: length,
            morse_per_A: 0.0,
            longest_A: 1.25 * length,
        };
        let bonds = vec![bond("C", "H", 1.09), bond("H", "H", 0.74), bond("C", "O", 1.43), bond("O", "H", 0.96)];
        let fast = FastForces { inner_timestep_fs: 0.5, bonds, angles: Vec::new(), pairs: None, mollified: true };
        let mollifier = Mollifier::new(&state, &find(&state, &fast).unwrap().bonds);
        (state, mollifier)
    }

    #[test]
    fn outer_bonds_are_at_rest_and_centres_of_mass_stay() {
        let (state, mollifier) = molecules();
        let placed = mollifier.map_positions(&state);
        let centre = |state: &State, of: &[usize]| {
            of.iter().fold([0.0; 3], |sum, &i| add(sum, scale(state.masses[i], state.positions[i])))
        };
        for group in [&[0, 1, 2, 3, 4][..], &[5, 6], &[8, 9], &[7, 10]] {
            let off = sub(centre(&placed, group), centre(&state, group));
            assert!(norm(off) < 1e-12, "{off:?}");
        }
        for (a, b, length) in [(0, 1, 1.09), (0, 2, 1.09), (0, 4, 1.09), (5, 6, 0.74), (8, 9, 0.96), (7, 10, 1.09)] {
            assert!((norm(sub(placed.positions[b], placed.positions[a])) - length).abs() < 1e-12, "{a}–{b}");
        }
        let inner = norm(sub(placed.positions[8], placed.positions[7]));
        assert!((inner - 1.43).abs() > 1e-3, "a bond between atoms that have others is left as it is");
    }

    #[test]
    fn forces_are_pulled_back_by_the_derivative() {
        let (state, mollifier) = molecules();
        let mut stream = Stream::new(4, Purpose::Check, 0);
        let slopes: Vec<Vec3> = state.positions.iter().map(|_| stream.normal3()).collect();
        let value = |state: &State| -> f64 {
            mollifier.map_positions(state).positions.iter().zip(&slopes).map(|(&q, &s)| dot(q, s)).sum()
        };
        let mut pulled = slopes.clone();
        mollifier.apply_jacobian_transpose(&state, &mut pulled);
        for i in 0..state.len() {
            for c in 0..3 {
                let shifted = |by: f64| {
                    let mut moved = state.clone();
                    moved.positions[i][c] += by;
                    value(&moved)
                };
                let numerical = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((numerical - pulled[i][c]).abs() < 1e-8, "{i}, {c}: {numerical}, {}", pulled[i][c]);
            }
        }
    }
}
