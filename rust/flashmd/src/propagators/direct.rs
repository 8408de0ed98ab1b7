//! Strides of a `direct` model: new positions and momenta, of any number of systems in one call of the network.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | R | `rotation`: the frame the network looks from | |
//! | d = √m·(q′ − q) | the output `displacement` | Å·√u |
//! | p′/√m | the output `momenta_out` | √eV |
//! | L | the output `residual_scale`, [[L₁₁, 0], [L₂₁, L₂₂]] per atom: d += L₁₁ξ₁, p′/√m += L₂₁ξ₁ + L₂₂ξ₂ | Å·√u, √eV |
//! | P, M | total momentum and mass: P is kept, and the centre of mass moves by P/M·Δ | |

use std::sync::Arc;

use super::{Outcome, Propagator};
use crate::error::Result;
use crate::linalg::{Vec3, add, scale};
use crate::model::{Kind, Model, Output};
use crate::network::{DomainMonitor, Network, Timing, View};
use crate::random::Purpose;
use crate::rotation::Rotation;
use crate::state::{CentreOfMass, State};
use crate::units::FS;

/// What is random about a stride.
#[derive(Debug, Clone, Copy, Default)]
pub struct Randomness {
    /// Look at the atoms from a random frame each stride.
    pub rotate: bool,
    /// Draw what the network could not resolve, if the model says how large it is.
    pub stochastic_noise: bool,
}

/// A `direct` model prepared for a run.
#[derive(Debug)]
pub struct Direct {
    network: Network,
    randomness: Randomness,
    wanted: Vec<Output>,
    displacements: Vec<Vec3>,
    monitor: DomainMonitor,
}

impl Direct {
    /// Prepares `model` for the atoms of `states`; with `check_domain`, every stride checks them against its domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses.
    pub fn new(model: Arc<Model>, states: &[&State], randomness: Randomness, check_domain: bool) -> Result<Self> {
        model.expect_kind(Kind::Direct)?;
        let mut wanted = vec![Output::Displacement, Output::MomentaOut];
        if randomness.stochastic_noise && model.contract().has(Output::ResidualScale) {
            wanted.push(Output::ResidualScale);
        }
        if check_domain && model.contract().has(Output::Uncertainty) {
            wanted.push(Output::Uncertainty);
        }
        let network = Network::new(model, states)?;
        let monitor = DomainMonitor::new(check_domain);
        Ok(Self { network, randomness, wanted, displacements: Vec::new(), monitor })
    }

    /// What comes after the network, for the system at place `index` of the batch.
    fn finish(&mut self, index: usize, state: &mut State, rotation: Option<&Rotation>) {
        let centre = CentreOfMass::of(state);
        self.read_outputs(index, state, rotation);
        if self.wanted.contains(&Output::ResidualScale) {
            self.add_noise(index, state);
        }
        if state.has_fixed() {
            self.hold_fixed(state);
        } else {
            centre.restore_momentum(state);
            let time = self.stride_fs() * FS;
            centre.restore_drift(&mut self.displacements, &state.masses, time);
        }
        for (q, &d) in state.positions.iter_mut().zip(&self.displacements) {
            *q = add(*q, d);
        }
    }

    /// Un-scales the outputs and turns them back: q′ − q = d/√m into the buffer, p′ = √m·(p′/√m) into the state.
    fn read_outputs(&mut self, index: usize, state: &mut State, rotation: Option<&Rotation>) {
        let vector = |data: &[f32], i: usize| {
            let v: Vec3 = std::array::from_fn(|c| f64::from(data[3 * i + c]));
            rotation.map_or(v, |r| r.undo(v))
        };
        let moved = self.network.output(Output::Displacement, index);
        let momenta = self.network.output(Output::MomentaOut, index);
        self.displacements.clear();
        for (i, &m) in state.masses.iter().enumerate() {
            self.displacements.push(scale(1.0 / m.sqrt(), vector(moved, i)));
            state.momenta[i] = scale(m.sqrt(), vector(momenta, i));
        }
    }

    /// Adds L·(ξ₁, ξ₂) to (d, p′/√m), isotropic.
    fn add_noise(&mut self, index: usize, state: &mut State) {
        let mut stream = state.stream(Purpose::StochasticNoise);
        let factors = self.network.output(Output::ResidualScale, index);
        for (i, &m) in state.masses.iter().enumerate() {
            let [l11, l21, l22]: [f64; 3] = std::array::from_fn(|c| f64::from(factors[3 * i + c]));
            let (first, second) = (stream.normal3(), stream.normal3());
            self.displacements[i] = add(self.displacements[i], scale(l11 / m.sqrt(), first));
            let kick = add(scale(l21, first), scale(l22, second));
            state.momenta[i] = add(state.momenta[i], scale(m.sqrt(), kick));
        }
    }

    /// Fixed atoms stay where they are, whatever the network says.
    fn hold_fixed(&mut self, state: &mut State) {
        state.rest_fixed();
        for (d, _) in self.displacements.iter_mut().zip(&state.fixed).filter(|(_, fixed)| **fixed) {
            *d = [0.0; 3];
        }
    }
}

impl Propagator for Direct {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let rotation = |state: &State| Rotation::random(&mut state.stream(Purpose::Rotation));
        let rotations: Vec<Option<Rotation>> =
            states.iter().map(|state| self.randomness.rotate.then(|| rotation(state))).collect();
        let views: Vec<View<'_>> =
            states.iter().zip(&rotations).map(|(state, r)| View { state, rotation: r.as_ref() }).collect();
        let results = self.network.run(&views, &self.wanted)?;
        let violations = self.monitor.check(&self.network, states.iter().map(|s| &**s), &results, &self.wanted);
        for (index, (state, rotation)) in states.iter_mut().zip(&rotations).enumerate() {
            if results[index].is_ok() {
                self.finish(index, state, rotation.as_ref());
            }
        }
        Ok(Outcome::zip(results, violations))
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }
}
