//! What a network is fed in one run, and what it returned.

use crate::model::contract::tensors::{Input, Output, Sizes};
use crate::neighbors::PaddedEdges;

/// The edges of some systems, and per atom what does not depend on them.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Edges, N × K.
    pub edges: &'a PaddedEdges,
    /// Species index, `[N]`.
    pub species: &'a [i32],
    /// p/√m in the frame of the edges, 3N numbers, √eV.
    pub momenta: &'a [f32],
    /// Masses, `[N]` u.
    pub masses: &'a [f32],
    /// Which system of the batch an atom belongs to, `[N]`.
    pub system: &'a [i32],
    /// Weights of the model's scalars, `[H]`.
    pub head: &'a [f32],
    /// Legendre polynomials of the model.
    pub legendre_orders: usize,
}

/// The numbers of an input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values<'a> {
    Float32(&'a [f32]),
    Int32(&'a [i32]),
    Bool(&'a [bool]),
}

impl<'a> Batch<'a> {
    /// Sizes of the axes.
    pub(super) fn sizes(&self) -> Sizes {
        let PaddedEdges { atoms, max_neighbors, .. } = *self.edges;
        Sizes { atoms, max_neighbors, scalars: self.head.len(), legendre_orders: self.legendre_orders }
    }

    /// The numbers of `input`; `ones` are as many as there are atoms.
    pub(super) fn values(&self, input: Input, ones: &'a [f32]) -> Values<'a> {
        match input {
            Input::Species => Values::Int32(self.species),
            Input::Momenta => Values::Float32(self.momenta),
            Input::Masses => Values::Float32(self.masses),
            Input::EdgeVectors => Values::Float32(&self.edges.edge_vectors),
            Input::Mask => Values::Bool(&self.edges.mask),
            Input::Neighbors => Values::Int32(&self.edges.neighbors),
            Input::Reverse => Values::Int32(&self.edges.reverse),
            Input::System => Values::Int32(self.system),
            Input::Weight => Values::Float32(ones),
            Input::Head => Values::Float32(self.head),
        }
    }
}

/// Outputs of a run of the network, row by row, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Outputs([Vec<f32>; Output::COUNT]);

impl Outputs {
    /// The values of `output` in the last run that wanted it.
    pub fn get(&self, output: Output) -> &[f32] {
        &self.0[output as usize]
    }

    /// The buffer of `output`.
    pub(super) fn buffer(&mut self, output: Output) -> &mut Vec<f32> {
        &mut self.0[output as usize]
    }
}
