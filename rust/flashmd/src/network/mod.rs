//! One run of a network on states: neighbours, frame, f32 arrays, outputs.

mod domain_monitor;
mod energy_model;
pub mod gradient;

pub use domain_monitor::DomainMonitor;
pub use energy_model::EnergyModel;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::linalg::scale;
use crate::model::domain::Neighborhoods;
use crate::model::session::check_finite;
use crate::model::{Batch, Model, Output, Outputs};
use crate::neighbors::NeighborSearch;
use crate::neighbors::{PaddedEdges, Part};
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
    /// Runs of the network.
    pub runs: u64,
}

/// A system as the network is to see it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Positions, momenta and the rest.
    pub state: &'a State,
    /// Frame to look from; `None` is that of the state.
    pub rotation: Option<&'a Rotation>,
}

/// A model with the buffers that feed it.
#[derive(Debug)]
pub struct Network {
    model: Arc<Model>,
    max_pairs: usize,
    searches: Vec<NeighborSearch>,
    edges: PaddedEdges,
    /// Rows of each system in the arrays of the last run; empty for those that were left out.
    rows: Vec<Range<usize>>,
    species: Vec<i32>,
    masses: Vec<f32>,
    momenta: Vec<f32>,
    systems: Vec<i32>,
    /// Which of a model's scalars is asked for: one-hot.
    head: Vec<f32>,
    outputs: Outputs,
    timing: Timing,
}

impl Network {
    /// Prepares `model` for systems of the atoms of `states`.
    ///
    /// # Errors
    /// `Model` for an unknown element or a wrong mass.
    pub fn new(model: Arc<Model>, states: &[&State]) -> Result<Self> {
        for state in states {
            model.assign(&state.numbers, &state.masses)?;
        }
        let largest = states.iter().map(|state| state.len()).max().unwrap_or(0);
        Ok(Self {
            model,
            max_pairs: (PAIRS_PER_ATOM * largest).max(MIN_PAIR_LIMIT),
            searches: Vec::new(),
            edges: PaddedEdges::default(),
            rows: Vec::new(),
            species: Vec::new(),
            masses: Vec::new(),
            momenta: Vec::new(),
            systems: Vec::new(),
            head: vec![1.0],
            outputs: Outputs::default(),
            timing: Timing::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The edges of the last run.
    pub fn edges(&self) -> &PaddedEdges {
        &self.edges
    }

    /// Rows of the system at place `index` in the arrays of the last run; empty if it was left out.
    pub fn rows(&self, index: usize) -> Range<usize> {
        self.rows[index].clone()
    }

    /// Asks for the scalar numbered `scalar` of `count` from now on.
    pub fn select_head(&mut self, scalar: usize, count: usize) {
        self.head = (0..count).map(|k| f32::from(u8::from(k == scalar))).collect();
    }

    /// Describes the atoms as they are now, on the edges of the last run: for [`Network::neighborhoods`].
    ///
    /// # Errors
    /// `Model` for an unknown element or a wrong mass.
    pub fn refresh_atoms(&mut self, systems: &[View<'_>]) -> Result<()> {
        let seen: Vec<bool> = self.rows.iter().map(|rows| !rows.is_empty()).collect();
        self.describe_atoms(systems, &seen)
    }

    /// What the last run saw of the system at place `index`; `uncertainty` is that output, if it was wanted.
    pub fn neighborhoods(&self, index: usize, uncertainty: bool) -> Neighborhoods<'_> {
        let rows = self.rows[index].clone();
        let edges = rows.start * self.edges.max_neighbors..rows.end * self.edges.max_neighbors;
        Neighborhoods {
            first: rows.start,
            species: &self.species[rows.clone()],
            edge_vectors: &self.edges.edge_vectors[3 * edges.start..3 * edges.end],
            mask: &self.edges.mask[edges.clone()],
            neighbors: &self.edges.neighbors[edges],
            momenta: &self.momenta[3 * rows.start..3 * rows.end],
            uncertainty: if uncertainty { self.output(Output::Uncertainty, index) } else { &[] },
        }
    }

    /// Time spent so far.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The values of `output` in the last run for the system at place `index`.
    pub fn output(&self, output: Output, index: usize) -> &[f32] {
        let values = self.outputs.get(output);
        let per_row = values.len() / self.edges.atoms.max(1);
        &values[self.rows[index].start * per_row..self.rows[index].end * per_row]
    }

    /// Runs the network once on all systems; each has its own result, `Stability` if it has collapsed or an output of
    /// its atoms is not finite.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run(&mut self, systems: &[View<'_>], wanted: &[Output]) -> Result<Vec<Result<()>>> {
        let start = Instant::now();
        let mut results = self.search(systems)?;
        self.assemble(systems, &mut results);
        let sound: Vec<bool> = results.iter().map(Result::is_ok).collect();
        self.describe_atoms(systems, &sound)?;
        let ready = Instant::now();
        self.timing.neighbors += ready - start;
        if self.edges.atoms == 0 {
            return Ok(results);
        }
        let Self { edges, species, momenta, masses, systems: system, head, outputs, .. } = self;
        let legendre_orders = self.model.metadata().legendre_orders;
        let batch = Batch { edges, species, momenta, masses, system, head, legendre_orders };
        let done = self.model.run(batch, wanted, outputs);
        self.timing.network += ready.elapsed();
        self.timing.runs += 1;
        done?;
        for (index, result) in results.iter_mut().enumerate().filter(|(_, r)| r.is_ok()) {
            *result = wanted
                .iter()
                .try_for_each(|&output| check_finite(output, self.output(output, index), self.rows[index].len()));
        }
        Ok(results)
    }

    /// Neighbours of every system.
    fn search(&mut self, systems: &[View<'_>]) -> Result<Vec<Result<()>>> {
        while self.searches.len() < systems.len() {
            let search = NeighborSearch::new(self.model.metadata().cutoff)?;
            self.searches.push(search.with_max_pairs(self.max_pairs).with_threads(self.model.threads()));
        }
        let update = |(search, view): (&mut NeighborSearch, &View<'_>)| {
            search.update(&view.state.positions, &view.state.cell).map_err(lost)
        };
        Ok(self.searches.iter_mut().zip(systems).map(update).collect())
    }

    /// The arrays of all systems with neighbours; one that makes them too large is left out.
    fn assemble(&mut self, systems: &[View<'_>], results: &mut [Result<()>]) {
        loop {
            let mut parts: Vec<Part<'_>> = Vec::new();
            let alive = self.searches.iter().zip(systems).zip(results.iter()).filter(|(_, r)| r.is_ok());
            parts.extend(alive.map(|((search, view), _)| Part { search, rotation: view.rotation }));
            let Err(error) = self.edges.assemble(&parts) else { return };
            let alive = (0..systems.len()).filter(|&index| results[index].is_ok());
            if let Some(worst) = alive.max_by_key(|&index| self.searches[index].max_degree()) {
                results[worst] = Err(error);
            }
        }
    }

    /// Per atom what does not depend on edges: species, masses, p/√m in the frame, system; none of systems not `sound`.
    fn describe_atoms(&mut self, systems: &[View<'_>], sound: &[bool]) -> Result<()> {
        self.rows.clear();
        self.species.clear();
        self.masses.clear();
        self.momenta.clear();
        self.systems.clear();
        for (index, (view, &sound)) in systems.iter().zip(sound).enumerate() {
            let start = self.species.len();
            if sound {
                self.species.extend(self.model.assign(&view.state.numbers, &view.state.masses)?);
                self.masses.extend(view.state.masses.iter().map(|&m| m as f32));
                self.systems.resize(self.species.len(), index as i32);
                for (&p, &m) in view.state.momenta.iter().zip(&view.state.masses) {
                    let scaled = scale(1.0 / m.sqrt(), p);
                    let turned = view.rotation.map_or(scaled, |r| r.apply(scaled));
                    self.momenta.extend(turned.map(|x| x as f32));
                }
            }
            self.rows.push(start..self.species.len());
        }
        Ok(())
    }
}

/// In a run a search that fails is an instability, not a bad argument; what has come apart cannot be wrapped together.
fn lost(error: Error) -> Error {
    match error {
        Error::Stability(mut e) => {
            e.message += "; start from a relaxed structure, or use a model trained for it";
            Error::Stability(e)
        }
        Error::Input(message) => Error::unstable("cell", Vec::new(), message),
        other => other,
    }
}
