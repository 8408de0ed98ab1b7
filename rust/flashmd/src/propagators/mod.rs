//! Propagators: what makes a stride.

mod propagator;

pub use propagator::{Outcome, Propagator, SolverStatistics};

use std::sync::Arc;

use crate::action::Action;
use crate::error::{Error, Result};
use crate::model::{Kind, Model};
use crate::splitting::Splitting;
use crate::state::State;
use crate::stride::{Direct, Randomness};

/// Prepares `model` to move the atoms of `states`; with `watch`, every stride looks for what is out of its domain.
///
/// # Errors
/// `Model` if it does not move atoms, does not know an element, or was trained for other masses; `Input` if the frame of a
/// scalar is to be turned, which would leave it no conserved quantity.
pub fn prepare(
    model: &Arc<Model>,
    states: &[&State],
    randomness: Randomness,
    watch: bool,
) -> Result<Box<dyn Propagator>> {
    let kind = model.metadata().kind;
    if randomness.rotate && kind != Kind::Direct {
        return Err(Error::Input(format!(
            "random rotation was asked for, but {} is of kind {:?}: its frame is fixed, or it conserves nothing; leave it out",
            model.name(),
            kind.name()
        )));
    }
    let model = Arc::clone(model);
    Ok(match kind {
        Kind::Splitting | Kind::Hybrid => Box::new(Splitting::new(model, states, watch)?),
        Kind::Action => Box::new(Action::new(model, states, watch)?),
        Kind::Direct | Kind::Energy => Box::new(Direct::new(model, states, randomness, watch)?),
    })
}
