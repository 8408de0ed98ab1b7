//! Propagators: what makes strides, one file for each kind.

mod action;
mod anderson;
mod direct;
mod driven;
pub mod fast;
pub mod kick_drift_kick;
mod propagator;
mod splitting;
pub mod verlet;

pub use action::Action;
pub use direct::{Direct, Randomness};
pub use driven::Driven;
pub use propagator::{Outcome, Propagator, SolverStatistics};
pub use splitting::Splitting;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Kind, Model};
use crate::state::State;

/// Prepares `model` to move the atoms of `states`; with `check_domain`, every stride checks them against its domain.
///
/// # Errors
/// `Model` if it does not move atoms, does not know an element, or was trained for other masses; `Input` if the frame of a
/// scalar is to be turned, which would leave it no conserved quantity.
pub fn prepare(
    model: &Arc<Model>,
    states: &[&State],
    randomness: Randomness,
    check_domain: bool,
) -> Result<Box<dyn Propagator>> {
    let kind = model.metadata().kind;
    if randomness.rotate && !kind.spec().frame_may_turn {
        return Err(Error::Input(format!(
            "random rotation was asked for, but {} is of kind {:?}: its frame is fixed, or it conserves nothing; leave it out",
            model.name(),
            kind.name()
        )));
    }
    let model = Arc::clone(model);
    Ok(match kind {
        Kind::Splitting | Kind::Hybrid => Box::new(Splitting::new(model, states, check_domain)?),
        Kind::Driven => Box::new(Driven::new(model, states, randomness.rotate, check_domain)?),
        Kind::Action => Box::new(Action::new(model, states, check_domain)?),
        Kind::Direct | Kind::Energy => Box::new(Direct::new(model, states, randomness, check_domain)?),
    })
}
