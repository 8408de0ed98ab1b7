//! What every model-driven step does first: neighbours, frame, f32 arrays, one run of the network.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::linalg::scale;
use crate::model::session::Batch;
use crate::model::{Model, Output};
use crate::nef::Nef;
use crate::neighbors::NeighborSearch;
use crate::rotation::Rotation;
use crate::state::State;

/// Pairs per atom beyond which a structure counts as collapsed, and a floor for small systems.
const PAIRS_PER_ATOM: usize = 1000;
const MIN_PAIR_LIMIT: usize = 4_000_000;

/// Time spent so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Neighbour search and assembly of the arrays.
    pub neighbors: Duration,
    /// Inside ONNX Runtime.
    pub network: Duration,
}

/// A model with the buffers that feed it, for one set of atoms.
#[derive(Debug)]
pub struct Network<'m> {
    model: &'m mut Model,
    search: NeighborSearch,
    nef: Nef,
    species: Vec<i32>,
    masses: Vec<f32>,
    momenta: Vec<f32>,
    timing: Timing,
}

impl<'m> Network<'m> {
    /// Prepares `model` for the atoms of `state`.
    ///
    /// # Errors
    /// `Model` for an unknown element or a wrong mass.
    pub fn new(model: &'m mut Model, state: &State) -> Result<Self> {
        let species = model.assign(&state.numbers, &state.masses)?;
        let max_pairs = (PAIRS_PER_ATOM * state.len()).max(MIN_PAIR_LIMIT);
        Ok(Self {
            search: NeighborSearch::new(model.metadata().cutoff)?.with_max_pairs(max_pairs),
            model,
            nef: Nef::default(),
            masses: state.masses.iter().map(|&m| m as f32).collect(),
            species,
            momenta: Vec::new(),
            timing: Timing::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.model
    }

    /// The edges of the last run.
    pub fn nef(&self) -> &Nef {
        &self.nef
    }

    /// Time spent so far.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The values of `output` in the last run.
    pub fn output(&self, output: Output) -> &[f32] {
        self.model.session.output(output)
    }

    /// Runs the network on `state` seen in the frame of `rotation`.
    ///
    /// # Errors
    /// As [`crate::model::Session::run`], and `Stability` if the structure has collapsed.
    pub fn run(&mut self, state: &State, rotation: Option<&Rotation>, wanted: &[Output]) -> Result<()> {
        let start = Instant::now();
        self.search.update(&state.positions, &state.cell).map_err(lost)?;
        self.nef.assemble(&mut self.search, state.len(), rotation)?;
        self.scale_momenta(state, rotation);
        let ready = Instant::now();
        self.timing.neighbors += ready - start;
        let batch = Batch { nef: &self.nef, species: &self.species, momenta: &self.momenta, masses: &self.masses };
        let done = self.model.session.run(batch, wanted);
        self.timing.network += ready.elapsed();
        done.map_err(|e| e.in_model(self.model.name()))
    }

    /// p/√m in the rotated frame.
    fn scale_momenta(&mut self, state: &State, rotation: Option<&Rotation>) {
        self.momenta.clear();
        for (&p, &m) in state.momenta.iter().zip(&state.masses) {
            let scaled = scale(1.0 / m.sqrt(), p);
            let turned = rotation.map_or(scaled, |r| r.apply(scaled));
            self.momenta.extend(turned.map(|x| x as f32));
        }
    }
}

/// In a run, an atom too far away for the neighbour search is an instability, not a bad argument.
fn lost(error: Error) -> Error {
    match error {
        Error::Input(message) => Error::unstable("position", Vec::new(), message),
        other => other,
    }
}
