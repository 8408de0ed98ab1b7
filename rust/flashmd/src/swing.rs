//! What happens between the slow kicks of a `hybrid` stride: bonds and angles swing by small steps of velocity Verlet, and
//! where the model has pair forces, these kick at larger steps (r-RESPA: Tuckerman, Berne & Martyna, J. Chem. Phys. 97, 1990
//! (1992)).

use crate::bonds::{self, Arm, Bond, either_way};
use crate::elements;
use crate::error::Result;
use crate::linalg::{Vec3, dot, norm, scale, sub};
use crate::model::fast::Fast;
use crate::mollify::Mollifier;
use crate::pairs::PairForces;
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

#[derive(Debug)]
struct Angle {
    arms: [Arm; 2],
    constant: f64,
    angle: f64,
}

impl Swing {
    /// The bonds and angles of `state` that `fast` names, by distance.
    ///
    /// # Errors
    /// `Input` if the neighbour search fails.
    pub fn find(state: &State, fast: &Fast) -> Result<Self> {
        let symbols: Vec<&str> = state.numbers.iter().map(|&z| elements::symbol(z)).collect();
        let (bonds, arms) = bonds::find(state, &fast.bonds)?;
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
            state.kick(pairs.forces(), 0.5 * dt);
            self.swing(state, dt);
            pairs.update(state)?;
            state.kick(pairs.forces(), 0.5 * dt);
        }
        Ok(())
    }

    /// Bonds and angles for `time`, in whole steps near the inner one.
    fn swing(&mut self, state: &mut State, time: f64) {
        let steps = (time / self.inner).round().max(1.0);
        let dt = time / steps;
        self.pull(state);
        for _ in 0..steps as u64 {
            state.kick(&self.forces, 0.5 * dt);
            state.drift(dt);
            self.pull(state);
            state.kick(&self.forces, 0.5 * dt);
        }
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

/// By atom, the arms to others that are joined to it by a bond or by an angle.
fn joined(atoms: usize, bonds: &[Bond], angles: &[Angle]) -> Vec<Vec<Arm>> {
    let ends =
        |&[a, b]: &[Arm; 2]| Arm { from: a.to, to: b.to, shift: std::array::from_fn(|k| b.shift[k] - a.shift[k]) };
    let mut joined = vec![Vec::new(); atoms];
    for arm in bonds.iter().map(|bond| bond.arm).chain(angles.iter().map(|angle| ends(&angle.arms))) {
        joined[arm.from].push(arm);
        joined[arm.to].push(arm.back());
    }
    joined
}
