//! The tensors of the model contract: one table of the inputs that the runtime can feed, one of the outputs it can use.

/// Type of the numbers of a tensor, by its number in ONNX's TensorProto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `f32`.
    Float32 = 1,
    /// `i32`.
    Int32 = 6,
    /// One byte each.
    Bool = 9,
}

/// An axis of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// Atoms.
    N,
    /// Neighbours of an atom, padded.
    K,
    /// Scalars of the model.
    H,
    /// Legendre polynomials of the model.
    P,
    /// Two numbers.
    Two,
    /// Three numbers.
    Three,
}

impl Dim {
    /// Size of an axis that is always the same.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::N | Self::K | Self::H | Self::P => None,
            Self::Two => Some(2),
            Self::Three => Some(3),
        }
    }
}

/// Sizes of the axes of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Atoms, N.
    pub atoms: usize,
    /// Neighbours of an atom, padded, K.
    pub max_neighbors: usize,
    /// Scalars of the model, H.
    pub scalars: usize,
    /// Legendre polynomials of the model, P.
    pub legendre_orders: usize,
}

/// What the contract says of a tensor.
#[derive(Debug)]
pub struct TensorSpec {
    /// Name in the graph.
    pub name: &'static str,
    /// Type of its numbers.
    pub element: Element,
    /// Its axes.
    pub shape: &'static [Dim],
    /// True if its last axis is x, y, z, which turn with the frame.
    pub is_vector: bool,
}

impl TensorSpec {
    const fn new(name: &'static str, element: Element, shape: &'static [Dim]) -> Self {
        Self { name, element, shape, is_vector: false }
    }

    const fn vector(name: &'static str, shape: &'static [Dim]) -> Self {
        Self { name, element: Element::Float32, shape, is_vector: true }
    }

    /// Its shape in a batch.
    pub fn shape_of(&self, sizes: Sizes) -> Vec<usize> {
        let size = |dim: &Dim| match dim {
            Dim::N => sizes.atoms,
            Dim::K => sizes.max_neighbors,
            Dim::H => sizes.scalars,
            Dim::P => sizes.legendre_orders,
            Dim::Two => 2,
            Dim::Three => 3,
        };
        self.shape.iter().map(size).collect()
    }

    /// True if it has a row of numbers for every edge.
    pub fn is_per_edge(&self) -> bool {
        self.shape.contains(&Dim::K)
    }
}

/// A tensor the runtime can feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Index into the species of the metadata.
    Species,
    /// p/√m in √eV, rotated frame.
    Momenta,
    /// u.
    Masses,
    /// r_j − r_i + S·cell, Å, rotated frame.
    EdgeVectors,
    /// True where the edge is real.
    Mask,
    /// j.
    Neighbors,
    /// Flat index of the edge j→i.
    Reverse,
    /// Replica of the batch.
    System,
    /// 1 for owned atoms.
    Weight,
    /// Weights of the scalars of a model that has several.
    Head,
}

/// Every input, in the order of [`Input`].
const INPUTS: [(Input, TensorSpec); 10] = {
    use Dim::{H, K, N, Three};
    use Element::{Bool, Float32, Int32};
    [
        (Input::Species, TensorSpec::new("species", Int32, &[N])),
        (Input::Momenta, TensorSpec::vector("momenta", &[N, Three])),
        (Input::Masses, TensorSpec::new("masses", Float32, &[N])),
        (Input::EdgeVectors, TensorSpec::vector("edge_vectors", &[N, K, Three])),
        (Input::Mask, TensorSpec::new("mask", Bool, &[N, K])),
        (Input::Neighbors, TensorSpec::new("neighbors", Int32, &[N, K])),
        (Input::Reverse, TensorSpec::new("reverse", Int32, &[N, K])),
        (Input::System, TensorSpec::new("system", Int32, &[N])),
        (Input::Weight, TensorSpec::new("weight", Float32, &[N])),
        (Input::Head, TensorSpec::new("head", Float32, &[H])),
    ]
};

impl Input {
    /// Every input.
    pub fn all() -> impl Iterator<Item = Self> {
        INPUTS.iter().map(|(input, _)| *input)
    }

    /// What the contract says of it.
    pub fn spec(self) -> &'static TensorSpec {
        &INPUTS[self as usize].1
    }

    /// Name in the graph.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

/// A tensor the runtime can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// √m·(q' − q), Å·√u.
    Displacement,
    /// p'/√m, √eV.
    MomentaOut,
    /// Cholesky L₁₁, L₂₁, L₂₂ of the stochastic noise of (displacement, momenta_out), which the network cannot resolve.
    ResidualScale,
    /// Per atom, eV.
    Energy,
    /// ∂E/∂edge_vectors, eV/Å.
    EdgeGradient,
    /// ∂S/∂(p/√m), Å·√u.
    MomentumGradient,
    /// Calibrated standard deviations of (displacement, momenta_out), in their units.
    Uncertainty,
    /// Legendre coefficients of the slow force through a stride, eV/Å.
    SlowForces,
}

/// Every output, in the order of [`Output`].
const OUTPUTS: [(Output, TensorSpec); Output::COUNT] = {
    use Dim::{K, N, P, Three, Two};
    use Element::Float32;
    [
        (Output::Displacement, TensorSpec::vector("displacement", &[N, Three])),
        (Output::MomentaOut, TensorSpec::vector("momenta_out", &[N, Three])),
        (Output::ResidualScale, TensorSpec::new("residual_scale", Float32, &[N, Three])),
        (Output::Energy, TensorSpec::new("energy", Float32, &[N])),
        (Output::EdgeGradient, TensorSpec::vector("edge_gradient", &[N, K, Three])),
        (Output::MomentumGradient, TensorSpec::vector("momentum_gradient", &[N, Three])),
        (Output::Uncertainty, TensorSpec::new("uncertainty", Float32, &[N, Two])),
        (Output::SlowForces, TensorSpec::vector("slow_forces", &[N, P, Three])),
    ]
};

impl Output {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Every output.
    pub fn all() -> impl Iterator<Item = Self> {
        OUTPUTS.iter().map(|(output, _)| *output)
    }

    /// What the contract says of it.
    pub fn spec(self) -> &'static TensorSpec {
        &OUTPUTS[self as usize].1
    }

    /// Name in the graph.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_names() {
        assert!(INPUTS.iter().enumerate().all(|(index, (input, _))| *input as usize == index));
        assert!(OUTPUTS.iter().enumerate().all(|(index, (output, _))| *output as usize == index));
    }
}
