//! Energy, forces and virial of an `energy` model.

use super::{Kind, Model, Output};
use crate::energy::{EnergyForces, PotentialEnergy};
use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, sub};
use crate::network::{Network, View};
use crate::state::State;

/// An `energy` model prepared for a run.
#[derive(Debug)]
pub struct EnergyModel<'m> {
    network: Network<'m>,
}

impl<'m> EnergyModel<'m> {
    /// Prepares `model` for the atoms of `states`.
    ///
    /// # Errors
    /// `Model` if it is of another kind or does not know an element.
    pub fn new(model: &'m mut Model, states: &[&State]) -> Result<Self> {
        model.expect_kind(Kind::Energy)?;
        Ok(Self { network: Network::new(model, states)? })
    }

    fn run(&mut self, state: &State, wanted: &[Output]) -> Result<()> {
        self.network.run(&[View { state, rotation: None }], wanted)?.into_iter().collect()
    }

    fn total(&self) -> f64 {
        self.network.output(Output::Energy, 0).iter().map(|&e| f64::from(e)).sum()
    }
}

impl PotentialEnergy for EnergyModel<'_> {
    fn energy(&mut self, state: &State) -> Result<f64> {
        self.run(state, &[Output::Energy])?;
        Ok(self.total())
    }

    ///
    /// With g = ∂E/∂v and v_ik = r_j − r_i + S·cell: F_i = Σ_k g_ik − Σ over the edges (j,k) that point at i of g_jk,
    /// and the virial is −Σ v⊗g.
    ///
    /// # Errors
    /// `Model` if the model has no `edge_gradient`, otherwise as [`Network::run`].
    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        let model = self.network.model();
        if !model.contract().has(Output::EdgeGradient) {
            return Err(Error::Model(format!("{}: it has no output \"edge_gradient\", so no forces", model.name())));
        }
        self.run(state, &[Output::Energy, Output::EdgeGradient])?;
        let nef = self.network.nef();
        let gradient = self.network.output(Output::EdgeGradient, 0);
        let (mut forces, mut virial) = (vec![[0.0; 3]; state.len()], [[0.0; 3]; 3]);
        for at in (0..nef.mask.len()).filter(|&at| nef.mask[at]) {
            let component = |data: &[f32]| -> Vec3 { std::array::from_fn(|c| f64::from(data[3 * at + c])) };
            let (g, v) = (component(gradient), component(&nef.edge_vectors));
            let (i, j) = (at / nef.slots, nef.neighbors[at] as usize);
            forces[i] = add(forces[i], g);
            forces[j] = sub(forces[j], g);
            for a in 0..3 {
                for b in 0..3 {
                    virial[a][b] -= v[a] * g[b];
                }
            }
        }
        Ok(EnergyForces { energy: self.total(), forces, virial: Some(virial) })
    }
}
