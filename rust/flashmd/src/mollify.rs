//! Mollified kicks: the slow scalars of a `hybrid` model see every molecule with its outer bonds at rest, so that kicks, which
//! come in time with nothing, cannot drive the fastest vibrations (García-Archilla, Sanz-Serna & Skeel, SIAM J. Sci. Comput. 20,
//! 930 (1998); equilibrium version: Izaguirre, Reich & Skeel, J. Chem. Phys. 110, 9853 (1999)).
//!
//! W(A(q)) is a function of q like any other: kicks by its gradient stay symplectic and reversible.

use crate::linalg::{Vec3, add, dot, norm, scale, sub};
use crate::state::State;
use crate::swing::Bond;

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
    pub(crate) fn new(state: &State, bonds: &[Bond]) -> Self {
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
    pub fn place(&self, state: &State) -> State {
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
    pub fn pull_back(&self, state: &State, forces: &mut [Vec3]) {
        for Group { center, leaves } in &self.groups {
            let total = leaves.iter().fold(forces[*center], |sum, leaf| add(sum, forces[leaf.bond.arm.to]));
            for leaf in leaves {
                let to = leaf.bond.arm.to;
                let change = leaf.turn(state, sub(forces[to], scale(leaf.share, total)));
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
    fn turn(&self, state: &State, h: Vec3) -> Vec3 {
        let b = self.bond.arm.vector(&state.positions, &state.cell);
        let across = sub(h, scale(dot(b, h) / dot(b, b), b));
        sub(scale(self.bond.length / norm(b), across), h)
    }
}
