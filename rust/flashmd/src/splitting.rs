//! A stride of a `splitting` model: kicks by the gradients of learned scalars, and drifts between them. In the drifts of a
//! `hybrid` model known bonds and angles swing, by velocity Verlet of a small step, which is symplectic and reversible too.
//!
//! p −= Δ∇W₁(q); q += a₁Δ p/m; p −= Δ∇W₂(q); … : every part is exactly symplectic and undone by its own reverse, so a
//! palindromic sequence is symplectic and time-reversible whatever the scalars are (Hairer, Lubich, Wanner, *Geometric
//! Numerical Integration*, II.5). For one scalar, [W, W] with one drift is velocity Verlet on the energy 2W.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gradient;
use crate::linalg::Vec3;
use crate::model::fast::Fast;
use crate::model::metadata::Scheme;
use crate::model::{Kind, Model, Output};
use crate::mollify::Mollifier;
use crate::network::{Network, Timing, View};
use crate::propagators::{Outcome, Propagator};
use crate::random::Key;
use crate::state::State;
use crate::swing::Swing;
use crate::units::FS;
use crate::violation::Violation;
use crate::watch::{DomainMonitor, outcomes};

/// A `splitting` or `hybrid` model prepared for a run.
#[derive(Debug)]
pub struct Splitting {
    network: Network,
    scheme: Scheme,
    /// −∇W of the last kick, by place in the batch.
    forces: Vec<Vec<Vec3>>,
    /// Where the atoms were for it, and for which scalar: the last kick of a stride is the first of the next.
    known: Option<Known>,
    /// The bonds and angles of each system; None where drifts are straight.
    swings: Option<Vec<(Key, Swing)>>,
    monitor: DomainMonitor,
}

/// What a set of forces belongs to.
#[derive(Debug)]
struct Known {
    scalar: usize,
    places: Vec<(Vec<Vec3>, [Vec3; 3])>,
}

impl Splitting {
    /// Prepares `model` for the atoms of `states`; with `watch`, every stride looks for what is out of its domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses; `Input` if bonds
    /// cannot be looked for.
    pub fn new(model: Arc<Model>, states: &[&State], watch: bool) -> Result<Self> {
        if model.metadata().kind != Kind::Hybrid {
            model.expect_kind(Kind::Splitting)?;
        }
        let (scheme, fast) = (model.metadata().scheme.clone(), model.metadata().fast.clone());
        let (network, monitor) = (Network::new(model, states)?, DomainMonitor::new(watch));
        let find = |fast: &Fast| states.iter().map(|state| Ok((state.key, Swing::find(state, fast)?))).collect();
        let swings = fast.as_ref().map(find).transpose()?;
        Ok(Self { network, scheme, forces: Vec::new(), known: None, swings, monitor })
    }

    /// One drift of a system: straight, or with its bonds and angles swinging.
    fn drift(&mut self, state: &mut State, time: f64) -> Result<()> {
        let Some(swings) = &mut self.swings else {
            state.drift(time);
            return Ok(());
        };
        let swing = swings.iter_mut().find(|(key, _)| *key == state.key).map(|(_, swing)| swing);
        swing.ok_or_else(unprepared)?.advance(state, time)
    }

    /// How the scalars see the molecules of a system, if not as they are.
    fn mollifier(&self, state: &State) -> Result<Option<&Mollifier>> {
        let Some(swings) = &self.swings else { return Ok(None) };
        let swing = swings.iter().find(|(key, _)| *key == state.key).map(|(_, swing)| swing);
        Ok(swing.ok_or_else(unprepared)?.mollifier())
    }

    /// The systems as the scalars see them.
    fn seen<'s>(&self, states: &'s [&mut State]) -> Result<Vec<Cow<'s, State>>> {
        let one = |state: &'s &mut State| {
            let state: &'s State = state;
            Ok(self.mollifier(state)?.map_or(Cow::Borrowed(state), |mollifier| Cow::Owned(mollifier.place(state))))
        };
        states.iter().map(one).collect()
    }

    /// −∇W of the scalar numbered `scalar` for every state, unless they are at hand.
    fn evaluate(&mut self, states: &[&mut State], scalar: usize, results: &mut [Result<()>]) -> Result<()> {
        if self.known.as_ref().is_some_and(|known| known.is(scalar, states)) {
            return Ok(());
        }
        self.known = None;
        self.network.choose_scalar(scalar, self.scheme.scalars());
        let seen = self.seen(states)?;
        let views: Vec<View<'_>> = seen.iter().map(|state| View { state, rotation: None }).collect();
        let outcomes = self.network.run(&views, &[Output::EdgeGradient])?;
        self.forces.resize_with(states.len(), Vec::new);
        for (at, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => {
                    let mut forces = std::mem::take(&mut self.forces[at]);
                    gradient::forces(&self.network, at, &mut forces);
                    if let Some(mollifier) = self.mollifier(states[at])? {
                        mollifier.pull_back(states[at], &mut forces);
                    }
                    self.forces[at] = forces;
                }
                Err(error) => {
                    self.forces[at].clear();
                    if results[at].is_ok() {
                        results[at] = Err(error);
                    }
                }
            }
        }
        if results.iter().all(Result::is_ok) {
            let place = |state: &&mut State| (state.positions.clone(), *state.cell.matrix());
            self.known = Some(Known { scalar, places: states.iter().map(place).collect() });
        }
        Ok(())
    }

    /// Violations of the states as they are before the stride, on the edges of its first kick.
    fn check_domain(&mut self, states: &[&mut State], results: &[Result<()>]) -> Result<Vec<Vec<Violation>>> {
        if self.monitor.is_on() {
            let views: Vec<View<'_>> = states.iter().map(|state| View { state, rotation: None }).collect();
            self.network.look_again(&views)?;
        }
        Ok(self.monitor.check(&self.network, states.iter().map(|state| &**state), results, &[]))
    }
}

impl Known {
    fn is(&self, scalar: usize, states: &[&mut State]) -> bool {
        self.scalar == scalar
            && self.places.len() == states.len()
            && self
                .places
                .iter()
                .zip(states)
                .all(|((q, cell), state)| *q == state.positions && *cell == *state.cell.matrix())
    }
}

fn unprepared() -> Error {
    Error::Input("a system was moved for which this model was not prepared; prepare it first".into())
}

impl Propagator for Splitting {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let time = self.stride_fs() * FS;
        let mut results: Vec<Result<()>> = states.iter().map(|_| Ok(())).collect();
        let mut violations = Vec::new();
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
        Ok(outcomes(results, violations))
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }
}
