//! Energy, forces and virial of an `energy` model.

use std::sync::Arc;

use super::{Network, View, gradient};
use crate::error::{ModelFault, Result};
use crate::linalg::Mat3;
use crate::model::{Kind, Model, Output};
use crate::potential_energy::{EnergyForces, PotentialEnergy};
use crate::state::State;

/// An `energy` model prepared for a run.
#[derive(Debug)]
pub struct EnergyModel {
    network: Network,
}

impl EnergyModel {
    /// Prepares `model` for the atoms of `states`.
    ///
    /// # Errors
    /// `Model` if it is of another kind or does not know an element.
    pub fn new(model: Arc<Model>, states: &[&State]) -> Result<Self> {
        model.expect_kind(Kind::Energy)?;
        Ok(Self { network: Network::new(model, states)? })
    }

    fn run(&mut self, state: &State, wanted: &[Output]) -> Result<()> {
        self.network.run(&[View { state, rotation: None }], wanted)?.into_iter().collect()
    }

    fn total(&self) -> f64 {
        self.network.output(Output::Energy, 0).iter().map(|&e| f64::from(e)).sum()
    }

    /// Energy and virial that the network cannot know, eV.
    fn mean_field(&self, state: &State) -> (f64, f64) {
        let mean_field = self.network.model().metadata().mean_field.as_ref();
        mean_field.map_or((0.0, 0.0), |mean_field| mean_field.energy_and_virial(state))
    }
}

impl PotentialEnergy for EnergyModel {
    fn energy(&mut self, state: &State) -> Result<f64> {
        self.run(state, &[Output::Energy])?;
        Ok(self.total() + self.mean_field(state).0)
    }

    /// # Errors
    /// `Model` if the model has no `edge_gradient`, otherwise as [`Network::run`].
    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        let model = self.network.model();
        if !model.contract().has(Output::EdgeGradient) {
            return Err(model.fault(ModelFault::NoForces));
        }
        self.run(state, &[Output::Energy, Output::EdgeGradient])?;
        let mut forces = Vec::new();
        gradient::forces(&self.network, 0, &mut forces);
        let (energy, each) = self.mean_field(state);
        let mut virial = gradient::virial(&self.network, 0);
        for (axis, row) in virial.iter_mut().enumerate() {
            row[axis] += each;
        }
        Ok(EnergyForces { energy: self.total() + energy, forces, virial: Some(virial) })
    }

    fn energy_and_virial(&mut self, state: &State) -> Result<Option<(f64, Mat3)>> {
        if !self.network.model().contract().has(Output::EdgeGradient) {
            return Ok(None);
        }
        let EnergyForces { energy, virial, .. } = self.evaluate(state)?;
        Ok(virial.map(|virial| (energy, virial)))
    }
}
