//! The fast part of a `hybrid` stride: bonds and angles swung by small steps of velocity Verlet, between kicks by pair forces
//! at larger steps where the model has them, between the kicks of the slow part (r-RESPA: Tuckerman, Berne & Martyna, J. Chem.
//! Phys. 97, 1990 (1992)).

use crate::cell::Cell;
use crate::elements;
use crate::error::Result;
use crate::linalg::{Vec3, add, dot, norm, scale, sub};
use crate::model::fast::{BondKind, Fast};
use crate::mollify::Mollifier;
use crate::neighbors::full_list;
use crate::pairs::{Joined, PairForces};
use crate::state::State;
use crate::units::FS;

/// Beyond it the sine of an angle is taken as that of this cosine: straight angles have no direction.
const STRAIGHTEST: f64 = 0.999;

/// The bonds and angles of one system. Which there are is decided once, and they are never broken.
#[derive(Debug)]
pub struct Swing {
    inner: f64,
    bonds: Vec<Bond>,
    angles: Vec<Angle>,
    forces: Vec<Vec3>,
    pairs: Option<PairForces>,
    mollifier: Option<Mollifier>,
}

/// An arm from atom `from` to atom `to`, the latter `shift` cells away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    pub(crate) from: usize,
    pub(crate) to: usize,
    shift: [i64; 3],
}

/// ½k(r − r₀)² along an arm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bond {
    pub(crate) arm: Arm,
    constant: f64,
    pub(crate) length: f64,
}

#[derive(Debug)]
struct Angle {
    arms: [Arm; 2],
    constant: f64,
    angle: f64,
}

impl Arm {
    pub(crate) fn vector(&self, positions: &[Vec3], cell: &Cell) -> Vec3 {
        add(sub(positions[self.to], positions[self.from]), cell.translation(self.shift))
    }

    /// `force` on the far end, and its reaction on the near one.
    fn pull(&self, forces: &mut [Vec3], force: Vec3) {
        forces[self.to] = add(forces[self.to], force);
        forces[self.from] = sub(forces[self.from], force);
    }
}

impl Bond {
    /// The same bond from its other end.
    pub(crate) fn back(&self) -> Self {
        let Arm { from, to, shift } = self.arm;
        Self { arm: Arm { from: to, to: from, shift: shift.map(|s| -s) }, ..*self }
    }
}

impl Swing {
    /// The bonds and angles of `state` that `fast` names, by distance.
    ///
    /// # Errors
    /// `Input` if the neighbour search fails.
    pub fn find(state: &State, fast: &Fast) -> Result<Self> {
        let symbols: Vec<&str> = state.numbers.iter().map(|&z| elements::symbol(z)).collect();
        let reach = fast.bonds.iter().fold(0.0f64, |most, bond| most.max(bond.longest_A));
        let list = full_list(&state.positions, &state.cell, reach)?;
        let mut arms: Vec<Vec<Arm>> = vec![Vec::new(); state.len()];
        let mut bonds = Vec::new();
        for at in 0..list.i.len() {
            let arm = Arm { from: list.i[at] as usize, to: list.j[at] as usize, shift: list.shifts[at] };
            let ends = [symbols[arm.from], symbols[arm.to]];
            let near = |bond: &&BondKind| list.distances[at] < bond.longest_A;
            let kind = fast.bonds.iter().filter(near).find(|bond| either_way(&bond.species, ends));
            if let Some(kind) = kind {
                arms[arm.from].push(arm);
                if arm.from < arm.to {
                    bonds.push(Bond { arm, constant: kind.constant_eV_per_A2, length: kind.length_A });
                }
            }
        }
        let mut angles = Vec::new();
        for (middle, arms) in arms.iter().enumerate() {
            for (k, &first) in arms.iter().enumerate() {
                for &second in &arms[k + 1..] {
                    let ends = [symbols[first.to], symbols[middle], symbols[second.to]];
                    if let Some(kind) = fast.angles.iter().find(|angle| either_way(&angle.species, ends)) {
                        let (arms, constant, angle) = ([first, second], kind.constant_eV_per_rad2, kind.angle_rad);
                        angles.push(Angle { arms, constant, angle });
                    }
                }
            }
        }
        let pairs = |pairs| PairForces::new(state, pairs, joined(state.len(), &bonds, &angles));
        let pairs = fast.pairs.as_ref().map(pairs).transpose()?;
        let mollifier = fast.mollified.then(|| Mollifier::new(state, &bonds));
        Ok(Self { inner: fast.inner_fs * FS, bonds, angles, forces: Vec::new(), pairs, mollifier })
    }

    #[cfg(test)]
    pub(crate) fn bonds(&self) -> &[Bond] {
        &self.bonds
    }

    /// How the slow scalars see the molecules, if not as they are.
    pub fn mollifier(&self) -> Option<&Mollifier> {
        self.mollifier.as_ref()
    }

    /// Moves `state` for `time`, in whole steps near those of the pair forces, if there are any.
    ///
    /// # Errors
    /// Those of the neighbour search.
    pub fn advance(&mut self, state: &mut State, time: f64) -> Result<()> {
        let Some(mut pairs) = self.pairs.take() else {
            self.swing(state, time);
            return Ok(());
        };
        let moved = self.swing_between(&mut pairs, state, time);
        self.pairs = Some(pairs);
        moved
    }

    fn swing_between(&mut self, pairs: &mut PairForces, state: &mut State, time: f64) -> Result<()> {
        let steps = (time / pairs.step()).round().max(1.0);
        let dt = time / steps;
        pairs.update(state)?;
        for _ in 0..steps as u64 {
            pairs.kick(state, 0.5 * dt);
            self.swing(state, dt);
            pairs.update(state)?;
            pairs.kick(state, 0.5 * dt);
        }
        Ok(())
    }

    /// Bonds and angles for `time`, in whole steps near the inner one.
    fn swing(&mut self, state: &mut State, time: f64) {
        let steps = (time / self.inner).round().max(1.0);
        let dt = time / steps;
        self.pull(state);
        for _ in 0..steps as u64 {
            self.kick(state, 0.5 * dt);
            for (q, (&p, &m)) in state.positions.iter_mut().zip(state.momenta.iter().zip(&state.masses)) {
                *q = add(*q, scale(dt / m, p));
            }
            self.pull(state);
            self.kick(state, 0.5 * dt);
        }
    }

    fn kick(&self, state: &mut State, dt: f64) {
        for (p, &f) in state.momenta.iter_mut().zip(&self.forces) {
            *p = add(*p, scale(dt, f));
        }
        state.rest_fixed();
    }

    /// Forces of all bonds and angles.
    fn pull(&mut self, state: &State) {
        self.forces.clear();
        self.forces.resize(state.len(), [0.0; 3]);
        let Self { bonds, angles, forces, .. } = self;
        for Bond { arm, constant, length } in bonds {
            let vector = arm.vector(&state.positions, &state.cell);
            let r = norm(vector);
            arm.pull(forces, scale(-*constant * (r - *length) / r, vector));
        }
        for Angle { arms, constant, angle } in angles {
            let vectors = arms.map(|arm| arm.vector(&state.positions, &state.cell));
            let lengths = vectors.map(norm);
            let [a, b] = std::array::from_fn(|k| scale(1.0 / lengths[k], vectors[k]));
            let cosine = dot(a, b).clamp(-STRAIGHTEST, STRAIGHTEST);
            let bend = *constant * (cosine.acos() - *angle) / (1.0 - cosine * cosine).sqrt();
            arms[0].pull(forces, scale(bend / lengths[0], sub(b, scale(cosine, a))));
            arms[1].pull(forces, scale(bend / lengths[1], sub(a, scale(cosine, b))));
        }
    }
}

/// By atom, which others are joined to it by a bond or by an angle.
fn joined(atoms: usize, bonds: &[Bond], angles: &[Angle]) -> Vec<Vec<Joined>> {
    let mut joined: Vec<Vec<Joined>> = vec![Vec::new(); atoms];
    let mut join = |from: usize, to: usize, shift: [i64; 3]| {
        joined[from].push(Joined { to, shift });
        joined[to].push(Joined { to: from, shift: shift.map(|s| -s) });
    };
    for Bond { arm, .. } in bonds {
        join(arm.from, arm.to, arm.shift);
    }
    for Angle { arms: [a, b], .. } in angles {
        join(a.to, b.to, std::array::from_fn(|k| b.shift[k] - a.shift[k]));
    }
    joined
}

/// True if the symbols are these, read forwards or backwards.
fn either_way<const N: usize>(species: &[String; N], symbols: [&str; N]) -> bool {
    species.iter().eq(symbols.iter()) || species.iter().eq(symbols.iter().rev())
}
