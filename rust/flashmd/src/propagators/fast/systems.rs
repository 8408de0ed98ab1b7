//! The bonds and angles of every system that a model was prepared for.

use super::BondedForces;
use crate::error::{Error, Result};
use crate::model::fast_forces::FastForces;
use crate::random::Key;
use crate::state::State;

/// Bonded forces by the key of a system.
#[derive(Debug)]
pub struct BondedSystems {
    fast: FastForces,
    systems: Vec<(Key, BondedForces)>,
}

impl BondedSystems {
    /// Finds the bonds of all `states`.
    ///
    /// # Errors
    /// `Input` for a bond that `fast` does not name, or if the neighbour search fails.
    pub fn find(states: &[&State], fast: FastForces) -> Result<Self> {
        let find = |state: &&State| Ok((state.key, BondedForces::find(state, &fast)?));
        let systems = states.iter().map(find).collect::<Result<_>>()?;
        Ok(Self { fast, systems })
    }

    /// Prepares the bonds of systems anew whose atoms a host has put at other images of themselves.
    ///
    /// # Errors
    /// As [`BondedSystems::find`], and `Input` for a system that was not among those prepared.
    pub fn follow(&mut self, states: &[&mut State]) -> Result<()> {
        for state in states {
            if !self.of(state)?.are_of(state) {
                *self.of_mut(state)? = BondedForces::find(state, &self.fast)?;
            }
        }
        Ok(())
    }

    /// Those of one system.
    ///
    /// # Errors
    /// `Input` if it was not among those prepared.
    pub fn of(&self, state: &State) -> Result<&BondedForces> {
        self.systems.iter().find(|(key, _)| *key == state.key).map(|(_, forces)| forces).ok_or_else(unprepared)
    }

    /// Those of one system, to move it.
    ///
    /// # Errors
    /// As [`BondedSystems::of`].
    pub fn of_mut(&mut self, state: &State) -> Result<&mut BondedForces> {
        self.systems.iter_mut().find(|(key, _)| *key == state.key).map(|(_, forces)| forces).ok_or_else(unprepared)
    }
}

fn unprepared() -> Error {
    Error::Input("a system was moved for which this model was not prepared; prepare it first".into())
}
