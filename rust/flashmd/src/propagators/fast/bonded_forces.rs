//! Bonded forces: the drifts of a `hybrid` stride, by r-RESPA, and the motion of a `driven` one.
//!
//! Bonds and angles are integrated by small steps of velocity Verlet, the inner loop of r-RESPA; where the model has
//! pair forces, these kick at larger steps around it.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | E = ½k(r − r₀)², k/2a²·(1 − exp(−a(r − r₀)))² | `Bond`: `constant`, `length`, `morse` | k eV/Å², r₀ Å, a 1/Å |
//! | E = ½k(θ − θ₀)² | `Angle`: `constant`, `angle` | k eV/rad², θ₀ rad |
//! | â, b̂, cos θ = â·b̂ | `a`, `b`, `cosine`: unit vectors along the two arms of an angle | |
//! | k(θ − θ₀)/sin θ | `bend`: the force on the end of arm a is `bend`/|a|·(b̂ − cos θ·â) | eV |

use super::bonds::{self, Arm, Bond, Bonds};
use super::mollified_impulse::Mollifier;
use super::pair_forces::PairForces;
use super::slow_forces::SlowForces;
use crate::error::Result;
use crate::linalg::{Vec3, dot, norm, scale, sub};
use crate::model::fast_forces::{FastForces, fit};
use crate::propagators::kick_drift_kick::{Forces, Steps, kick_drift_kick};
use crate::state::State;
use crate::units::FS;

/// Beyond it the sine of an angle is taken as that of this cosine: straight angles have no direction.
const STRAIGHTEST: f64 = 0.999;

/// The bonds and angles of one system, and what goes with them. Which there are is decided once, and they never break.
#[derive(Debug)]
pub struct BondedForces {
    terms: Terms,
    pairs: Option<PairForces>,
    mollifier: Option<Mollifier>,
}

/// Bonds and angles with their forces.
#[derive(Debug)]
struct Terms {
    /// Step of the inner loop, Å·√(u/eV).
    timestep: f64,
    bonds: Vec<Bond>,
    angles: Vec<Angle>,
    forces: Vec<Vec3>,
}

/// ½k(θ − θ₀)² between two arms from the same atom.
#[derive(Debug)]
struct Angle {
    arms: [Arm; 2],
    constant: f64,
    angle: f64,
}

impl BondedForces {
    /// The bonds and angles of `state` that `fast` names: between the atoms that the state says are bonded, or by distance.
    ///
    /// # Errors
    /// `Input` for a bond that `fast` does not name, or if the neighbour search fails.
    pub fn find(state: &State, fast: &FastForces) -> Result<Self> {
        let found = bonds::find(state, fast)?;
        let angles = find_angles(fast, &found);
        let bonds = found.bonds;
        let joined = || joined(state.len(), &bonds, &angles);
        let pairs = fast.pairs.as_ref().map(|tables| PairForces::new(state, tables, joined())).transpose()?;
        let mollifier = fast.mollified.then(|| Mollifier::new(state, &bonds));
        let terms = Terms { timestep: fast.inner_timestep_fs * FS, bonds, angles, forces: Vec::new() };
        Ok(Self { terms, pairs, mollifier })
    }

    /// True if these are the bonds of `state` as it is: a host may have put atoms at other images of themselves.
    pub fn are_of(&self, state: &State) -> bool {
        let shifts = self.terms.bonds.iter().map(|bond| &bond.arm.shift);
        state.bonds.is_empty() || shifts.eq(&state.bonds.shifts)
    }

    /// How the slow scalars see the molecules, if not as they are.
    pub fn mollifier(&self) -> Option<&Mollifier> {
        self.mollifier.as_ref()
    }

    /// Moves `state` for `time` (Å·√(u/eV)), in whole steps near those of the pair forces, if there are any.
    ///
    /// # Errors
    /// Those of the neighbour search.
    pub fn advance(&mut self, state: &mut State, time: f64) -> Result<()> {
        let Self { terms, pairs, .. } = self;
        let Some(pairs) = pairs else { return terms.inner_loop(state, time) };
        let steps = Steps::nearest(time, pairs.timestep());
        kick_drift_kick(state, steps, pairs, |state, dt| terms.inner_loop(state, dt))
    }

    /// Moves `state` for `time` (Å·√(u/eV)) under bonds, angles and a slow force that changes through it.
    ///
    /// # Errors
    /// None of its own.
    pub fn advance_driven(&mut self, state: &mut State, time: f64, slow: &SlowForces) -> Result<()> {
        let steps = Steps::nearest(time, self.terms.timestep);
        let mut forces = Driven { terms: &mut self.terms, slow, steps: steps.count, step: 0 };
        kick_drift_kick(state, steps, &mut forces, |state, dt| {
            state.drift(dt);
            Ok(())
        })
    }
}

/// Bonds and angles under a slow force, at equal steps through its time.
struct Driven<'a> {
    terms: &'a mut Terms,
    slow: &'a SlowForces,
    steps: u64,
    /// How many times the forces have been computed.
    step: u64,
}

impl Forces for Driven<'_> {
    fn update(&mut self, state: &State) -> Result<()> {
        self.terms.update(state)?;
        self.slow.add_to(&mut self.terms.forces, self.step as f64 / self.steps as f64);
        self.step += 1;
        Ok(())
    }

    fn get(&self) -> &[Vec3] {
        self.terms.get()
    }
}

impl Terms {
    /// Moves `state` for `time` in whole steps near the inner one.
    fn inner_loop(&mut self, state: &mut State, time: f64) -> Result<()> {
        let steps = Steps::nearest(time, self.timestep);
        kick_drift_kick(state, steps, self, |state, dt| {
            state.drift(dt);
            Ok(())
        })
    }
}

impl Forces for Terms {
    fn update(&mut self, state: &State) -> Result<()> {
        self.forces.clear();
        self.forces.resize(state.len(), [0.0; 3]);
        let Self { bonds, angles, forces, .. } = self;
        for bond in bonds {
            bond.arm.pull(forces, bond.force(bond.arm.vector(&state.positions, &state.cell)));
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
        Ok(())
    }

    fn get(&self) -> &[Vec3] {
        &self.forces
    }
}

/// Two arms from the same atom, wherever the atoms are those of a template.
fn find_angles(fast: &FastForces, Bonds { arms, environments, .. }: &Bonds) -> Vec<Angle> {
    let mut angles = Vec::new();
    for (middle, arms) in arms.iter().enumerate() {
        for (k, &first) in arms.iter().enumerate() {
            for &second in &arms[k + 1..] {
                let atoms = [first.to, middle, second.to].map(|atom| environments[atom].as_str());
                if let Some(template) = fast.angles.iter().find(|angle| fit(&angle.species, atoms)) {
                    let (constant, angle) = (template.constant_eV_per_rad2, template.angle_rad);
                    angles.push(Angle { arms: [first, second], constant, angle });
                }
            }
        }
    }
    angles
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
