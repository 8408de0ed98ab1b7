//! Strides of a `driven` model: bonds and angles move under slow forces that the network gives for the whole stride.
//!
//! The network sees the atoms where bonds and angles alone take them in half of the stride, which is near where they will be.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | Φ_t | `BondedForces::advance`: motion under bonds and angles alone | |
//! | (q, p) at Φ_{Δ/2} | `midway`: what the network sees | Å, √(eV·u) |
//! | F_p | the output `slow_forces`, Legendre coefficients through the stride | eV/Å |
//! | Δ | `time`: length of the stride | Å·√(u/eV) |

use std::sync::Arc;

use super::fast::{BondedSystems, SlowForces};
use super::{Outcome, Propagator};
use crate::error::{Error, Result};
use crate::linalg::Vec3;
use crate::model::{Kind, Model, Output};
use crate::network::{DomainMonitor, Network, Timing, View};
use crate::random::Purpose;
use crate::rotation::Rotation;
use crate::state::State;
use crate::units::FS;

/// A `driven` model prepared for a run.
#[derive(Debug)]
pub struct Driven {
    network: Network,
    bonded: BondedSystems,
    /// Look at the atoms from a random frame each stride.
    rotate: bool,
    wanted: Vec<Output>,
    monitor: DomainMonitor,
}

impl Driven {
    /// Prepares `model` for the atoms of `states`; with `check_domain`, every stride checks what the network sees against
    /// the model's domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses; `Input` if bonds
    /// cannot be looked for.
    pub fn new(model: Arc<Model>, states: &[&State], rotate: bool, check_domain: bool) -> Result<Self> {
        model.expect_kind(Kind::Driven)?;
        let fast = model.metadata().fast.clone();
        let fast = fast.ok_or_else(|| Error::Input("got a driven model without bonds; give one with `fast`".into()))?;
        let mut wanted = vec![Output::SlowForces];
        if check_domain && model.contract().has(Output::Uncertainty) {
            wanted.push(Output::Uncertainty);
        }
        let network = Network::new(model, states)?;
        let bonded = BondedSystems::find(states, fast)?;
        let monitor = DomainMonitor::new(check_domain);
        Ok(Self { network, bonded, rotate, wanted, monitor })
    }

    /// A system where bonds and angles alone take it in half of a stride.
    fn midway(&mut self, state: &State, time: f64) -> Result<State> {
        let mut seen = state.clone();
        self.bonded.of_mut(state)?.advance(&mut seen, 0.5 * time)?;
        Ok(seen)
    }

    /// The slow forces of the system at place `index`, turned back; they leave its centre of mass alone.
    fn slow_forces(&self, index: usize, state: &State, rotation: Option<&Rotation>) -> SlowForces {
        let vector = |c: &[f32]| -> Vec3 {
            let v = [c[0], c[1], c[2]].map(f64::from);
            rotation.map_or(v, |r| r.undo(v))
        };
        let coefficients = self.network.output(Output::SlowForces, index).chunks_exact(3).map(vector).collect();
        let mut slow = SlowForces::new(coefficients, self.network.model().metadata().legendre_orders);
        if !state.has_fixed() {
            slow.remove_total(&state.masses);
        }
        slow
    }
}

impl Propagator for Driven {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let time = self.stride_fs() * FS;
        self.bonded.follow(states)?;
        let seen: Vec<State> = states.iter().map(|state| self.midway(state, time)).collect::<Result<_>>()?;
        let rotation = |state: &State| Rotation::random(&mut state.stream(Purpose::Rotation));
        let rotations: Vec<Option<Rotation>> = seen.iter().map(|state| self.rotate.then(|| rotation(state))).collect();
        let views: Vec<View<'_>> =
            seen.iter().zip(&rotations).map(|(state, r)| View { state, rotation: r.as_ref() }).collect();
        let results = self.network.run(&views, &self.wanted)?;
        let violations = self.monitor.check(&self.network, seen.iter(), &results, &self.wanted);
        for (index, (state, rotation)) in states.iter_mut().zip(&rotations).enumerate() {
            if results[index].is_ok() {
                let slow = self.slow_forces(index, state, rotation.as_ref());
                self.bonded.of_mut(state)?.advance_driven(state, time, &slow)?;
            }
        }
        Ok(Outcome::zip(results, violations))
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }
}
