//! One stride of a `direct` model, design.md §5 steps 1–6.

use crate::constraints::CentreOfMass;
use crate::error::Result;
use crate::linalg::{Vec3, add, scale};
use crate::model::{Kind, Model, Output};
use crate::network::{Network, Timing};
use crate::random::{Purpose, Stream};
use crate::rollout::Propagator;
use crate::rotation::Rotation;
use crate::state::State;
use crate::units::FS;

/// What is random about a stride.
#[derive(Debug, Clone, Copy, Default)]
pub struct Randomness {
    /// Seed of the streams.
    pub seed: u64,
    /// Look at the atoms from a random frame each stride.
    pub rotate: bool,
    /// Draw what the network could not resolve, if the model says how large it is.
    pub residual: bool,
}

/// A `direct` model prepared for one set of atoms.
#[derive(Debug)]
pub struct Direct<'m> {
    network: Network<'m>,
    randomness: Randomness,
    wanted: Vec<Output>,
    displacements: Vec<Vec3>,
}

impl<'m> Direct<'m> {
    /// Prepares `model` for the atoms of `state`.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses.
    pub fn new(model: &'m mut Model, state: &State, randomness: Randomness) -> Result<Self> {
        model.expect_kind(Kind::Direct)?;
        let mut wanted = vec![Output::Displacement, Output::MomentaOut];
        if randomness.residual && model.contract().has(Output::ResidualScale) {
            wanted.push(Output::ResidualScale);
        }
        Ok(Self { network: Network::new(model, state)?, randomness, wanted, displacements: Vec::new() })
    }

    /// Un-scales the outputs and turns them back: q' − q = d/√m into the buffer, p' = √m·(p'/√m) into the state.
    fn read_outputs(&mut self, state: &mut State, rotation: Option<&Rotation>) {
        let vector = |data: &[f32], i: usize| {
            let v: Vec3 = std::array::from_fn(|c| f64::from(data[3 * i + c]));
            rotation.map_or(v, |r| r.undo(v))
        };
        let (moved, momenta) = (self.network.output(Output::Displacement), self.network.output(Output::MomentaOut));
        self.displacements.clear();
        for (i, &m) in state.masses.iter().enumerate() {
            self.displacements.push(scale(1.0 / m.sqrt(), vector(moved, i)));
            state.momenta[i] = scale(m.sqrt(), vector(momenta, i));
        }
    }

    /// Adds L·(ξ₁, ξ₂) to (√m·Δq, p'/√m), L = [[L₁₁, 0], [L₂₁, L₂₂]] per atom, isotropic.
    fn add_residual(&mut self, state: &mut State) {
        let mut stream = Stream::new(self.randomness.seed, Purpose::Residual, state.step);
        let factors = self.network.output(Output::ResidualScale);
        for (i, &m) in state.masses.iter().enumerate() {
            let [l11, l21, l22]: [f64; 3] = std::array::from_fn(|c| f64::from(factors[3 * i + c]));
            let (first, second) = (stream.normal3(), stream.normal3());
            self.displacements[i] = add(self.displacements[i], scale(l11 / m.sqrt(), first));
            let kick = add(scale(l21, first), scale(l22, second));
            state.momenta[i] = add(state.momenta[i], scale(m.sqrt(), kick));
        }
    }
}

impl Propagator for Direct<'_> {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, state: &mut State) -> Result<()> {
        let seed = self.randomness.seed;
        let frame = || Rotation::random(&mut Stream::new(seed, Purpose::Rotation, state.step));
        let rotation = self.randomness.rotate.then(frame);
        let centre = CentreOfMass::of(state);
        self.network.run(state, rotation.as_ref(), &self.wanted)?;
        self.read_outputs(state, rotation.as_ref());
        if self.wanted.contains(&Output::ResidualScale) {
            self.add_residual(state);
        }
        centre.restore_momentum(state);
        let time = self.stride_fs() * FS;
        centre.restore_drift(&mut self.displacements, &state.masses, time);
        for (q, &d) in state.positions.iter_mut().zip(&self.displacements) {
            *q = add(*q, d);
        }
        Ok(())
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }
}
