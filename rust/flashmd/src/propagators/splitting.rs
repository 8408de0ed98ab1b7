//! Strides of a `splitting` or `hybrid` model: kicks by the gradients of learned scalars, and drifts between them.
//!
//! p −= Δ∇W₁(q); q += a₁Δ p/m; p −= Δ∇W₂(q); … : every part is exactly symplectic and undone by its own reverse, so a
//! palindromic sequence is symplectic and time-reversible whatever the scalars are (Hairer, Lubich & Wanner, *Geometric
//! Numerical Integration*, II.5). For one scalar, [W, W] with one drift is velocity Verlet on the energy 2W. In the drifts of
//! a `hybrid` model bonds and angles are integrated by small steps of velocity Verlet, symplectic and reversible too.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | Δ | `time`: length of the stride | Å·√(u/eV) |
//! | W₁ … W_H | scalars of the model, chosen by the input `head` | eV |
//! | −∇W | `forces`, of the output `edge_gradient` | eV/Å |
//! | a₁, a₂, … | `scheme.drifts`: share of the stride of each drift | |
//! | A(q) | `Mollifier`: where a `hybrid` model's scalars see the atoms | Å |

use std::borrow::Cow;
use std::sync::Arc;

use super::fast::{BondedSystems, Mollifier};
use super::{Outcome, Propagator};
use crate::error::Result;
use crate::linalg::{Mat3, Vec3};
use crate::model::metadata::Scheme;
use crate::model::{Kind, Model, Output};
use crate::network::{DomainMonitor, Network, Timing, View, gradient};
use crate::state::State;
use crate::units::FS;
use crate::violation::Violation;

/// A `splitting` or `hybrid` model prepared for a run.
#[derive(Debug)]
pub struct Splitting {
    network: Network,
    scheme: Scheme,
    /// −∇W of the last kick, by place in the batch.
    forces: Vec<Vec<Vec3>>,
    /// What they belong to: the last kick of a stride is the first of the next.
    known: Option<Known>,
    /// The bonds and angles of each system; None where drifts are straight.
    bonded: Option<BondedSystems>,
    monitor: DomainMonitor,
}

/// The scalar, and the positions and cells, that forces were computed of.
#[derive(Debug)]
struct Known {
    scalar: usize,
    geometries: Vec<(Vec<Vec3>, Mat3)>,
}

impl Known {
    fn is(&self, scalar: usize, states: &[&mut State]) -> bool {
        let same = |((positions, cell), state): (&(Vec<Vec3>, Mat3), &&mut State)| {
            *positions == state.positions && cell == state.cell.matrix()
        };
        self.scalar == scalar && self.geometries.len() == states.len() && self.geometries.iter().zip(states).all(same)
    }
}

impl Splitting {
    /// Prepares `model` for the atoms of `states`; with `check_domain`, every stride checks them against its domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses; `Input` if bonds
    /// cannot be looked for.
    pub fn new(model: Arc<Model>, states: &[&State], check_domain: bool) -> Result<Self> {
        if model.metadata().kind != Kind::Hybrid {
            model.expect_kind(Kind::Splitting)?;
        }
        let (scheme, fast) = (model.metadata().scheme.clone(), model.metadata().fast.clone());
        let network = Network::new(model, states)?;
        let bonded = fast.map(|fast| BondedSystems::find(states, fast)).transpose()?;
        let monitor = DomainMonitor::new(check_domain);
        Ok(Self { network, scheme, forces: Vec::new(), known: None, bonded, monitor })
    }

    /// One drift of a system: straight, or with the inner loop of its bonds and angles.
    fn drift(&mut self, state: &mut State, time: f64) -> Result<()> {
        match &mut self.bonded {
            Some(bonded) => bonded.of_mut(state)?.advance(state, time),
            None => {
                state.drift(time);
                Ok(())
            }
        }
    }

    /// How the scalars see the molecules of a system, if not as they are.
    fn mollifier(&self, state: &State) -> Result<Option<&Mollifier>> {
        let Some(bonded) = &self.bonded else { return Ok(None) };
        Ok(bonded.of(state)?.mollifier())
    }

    /// The systems as the scalars see them.
    fn mollified<'s>(&self, states: &'s [&mut State]) -> Result<Vec<Cow<'s, State>>> {
        let one = |state: &'s &mut State| {
            let state: &'s State = state;
            Ok(match self.mollifier(state)? {
                Some(mollifier) => Cow::Owned(mollifier.map_positions(state)),
                None => Cow::Borrowed(state),
            })
        };
        states.iter().map(one).collect()
    }

    /// −∇W of the scalar numbered `scalar` for every state, unless they are at hand.
    fn evaluate(&mut self, states: &[&mut State], scalar: usize, results: &mut [Result<()>]) -> Result<()> {
        if self.known.as_ref().is_some_and(|known| known.is(scalar, states)) {
            return Ok(());
        }
        self.known = None;
        self.network.select_head(scalar, self.scheme.scalars());
        let seen = self.mollified(states)?;
        let views: Vec<View<'_>> = seen.iter().map(|state| View { state, rotation: None }).collect();
        let outcomes = self.network.run(&views, &[Output::EdgeGradient])?;
        self.forces.resize_with(states.len(), Vec::new);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => self.read_forces(index, states[index])?,
                Err(error) => {
                    self.forces[index].clear();
                    if results[index].is_ok() {
                        results[index] = Err(error);
                    }
                }
            }
        }
        if results.iter().all(Result::is_ok) {
            let geometry = |state: &&mut State| (state.positions.clone(), *state.cell.matrix());
            self.known = Some(Known { scalar, geometries: states.iter().map(geometry).collect() });
        }
        Ok(())
    }

    /// The forces on the system at place `index` of the batch, from the gradient the network has just given.
    fn read_forces(&mut self, index: usize, state: &State) -> Result<()> {
        let mut forces = std::mem::take(&mut self.forces[index]);
        gradient::forces(&self.network, index, &mut forces);
        if let Some(mollifier) = self.mollifier(state)? {
            mollifier.apply_jacobian_transpose(state, &mut forces);
        }
        self.forces[index] = forces;
        Ok(())
    }

    /// Violations of the states as they are before the stride, on the edges of its first kick.
    fn check_domain(&mut self, states: &[&mut State], results: &[Result<()>]) -> Result<Vec<Vec<Violation>>> {
        if self.monitor.is_on() {
            let views: Vec<View<'_>> = states.iter().map(|state| View { state, rotation: None }).collect();
            self.network.refresh_atoms(&views)?;
        }
        Ok(self.monitor.check(&self.network, states.iter().map(|state| &**state), results, &[]))
    }
}

impl Propagator for Splitting {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let time = self.stride_fs() * FS;
        let mut results: Vec<Result<()>> = states.iter().map(|_| Ok(())).collect();
        let mut violations = Vec::new();
        if let Some(bonded) = &mut self.bonded {
            bonded.follow(states)?;
        }
        let Scheme { kicks, drifts } = self.scheme.clone();
        for (number, &scalar) in kicks.iter().enumerate() {
            self.evaluate(states, scalar, &mut results)?;
            if number == 0 {
                violations = self.check_domain(states, &results)?;
            }
            for (index, state) in states.iter_mut().enumerate() {
                state.kick(&self.forces[index], time);
                if let Some(fraction) = drifts.get(number) {
                    self.drift(state, fraction * time)?;
                }
            }
        }
        Ok(Outcome::zip(results, violations))
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }
}
