//! The model contract, checked on the bytes of the file before anything is run.

use std::collections::HashSet;

use prost::Message;

use super::metadata::{Kind, Metadata};
use super::onnx::{GraphProto, ModelProto, ValueInfo};
use super::operators::{self, is_default};
use super::protobuf_limits;
use crate::error::{Error, Result, one_line, plain};

/// Largest model file, 2 GiB: protobuf's own limit.
pub const MAX_BYTES: usize = 1 << 31;
/// Opset of the default domain.
pub const OPSET: i64 = 20;

const FLOAT: i32 = 1;
const INT32: i32 = 6;
const BOOL: i32 = 9;

/// A tensor the runtime can feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// i32 `[N]`, index into the species of the metadata.
    Species,
    /// f32 `[N,3]`, p/√m in √eV, rotated frame.
    Momenta,
    /// f32 `[N]`, u.
    Masses,
    /// f32 `[N,K,3]`, Å, rotated frame.
    EdgeVectors,
    /// bool `[N,K]`, true where the edge is real.
    Mask,
    /// i32 `[N,K]`, j.
    Neighbors,
    /// i32 `[N,K]`, flat index of the edge j→i.
    Reverse,
    /// i32 `[N]`, replica of the batch.
    System,
    /// f32 `[N]`, 1 for owned atoms.
    Weight,
    /// f32 `[H]`, weights of the scalars of a model that has several.
    Head,
}

impl Input {
    const ALL: [Self; 10] = [
        Self::Species,
        Self::Momenta,
        Self::Masses,
        Self::EdgeVectors,
        Self::Mask,
        Self::Neighbors,
        Self::Reverse,
        Self::System,
        Self::Weight,
        Self::Head,
    ];

    /// Name in the graph.
    pub fn name(self) -> &'static str {
        match self {
            Self::Species => "species",
            Self::Momenta => "momenta",
            Self::Masses => "masses",
            Self::EdgeVectors => "edge_vectors",
            Self::Mask => "mask",
            Self::Neighbors => "neighbors",
            Self::Reverse => "reverse",
            Self::System => "system",
            Self::Weight => "weight",
            Self::Head => "head",
        }
    }

    fn element(self) -> i32 {
        match self {
            Self::Species | Self::Neighbors | Self::Reverse | Self::System => INT32,
            Self::Momenta | Self::Masses | Self::EdgeVectors | Self::Weight | Self::Head => FLOAT,
            Self::Mask => BOOL,
        }
    }

    fn shape(self) -> &'static [Dim] {
        match self {
            Self::Species | Self::Masses | Self::System | Self::Weight => &[Dim::N],
            Self::Momenta => &[Dim::N, Dim::Three],
            Self::EdgeVectors => &[Dim::N, Dim::K, Dim::Three],
            Self::Mask | Self::Neighbors | Self::Reverse => &[Dim::N, Dim::K],
            Self::Head => &[Dim::H],
        }
    }
}

/// A tensor the runtime can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// f32 `[N,3]`, √m·(q' − q), Å·√u.
    Displacement,
    /// f32 `[N,3]`, p'/√m, √eV.
    MomentaOut,
    /// f32 `[N,3]`, Cholesky L₁₁, L₂₁, L₂₂ of the unresolved noise of (displacement, momenta_out).
    ResidualScale,
    /// f32 `[N]`, eV.
    Energy,
    /// f32 `[N,K,3]`, ∂E/∂edge_vectors, eV/Å.
    EdgeGradient,
    /// f32 `[N,3]`, ∂S/∂(p/√m), Å·√u.
    MomentumGradient,
    /// f32 `[N,2]`, calibrated standard deviations of (displacement, momenta_out), in their units.
    Uncertainty,
}

impl Output {
    /// Every output, in the order of [`Output::index`].
    pub const ALL: [Self; 7] = [
        Self::Displacement,
        Self::MomentaOut,
        Self::ResidualScale,
        Self::Energy,
        Self::EdgeGradient,
        Self::MomentumGradient,
        Self::Uncertainty,
    ];

    /// Position in [`Output::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Name in the graph.
    pub fn name(self) -> &'static str {
        match self {
            Self::Displacement => "displacement",
            Self::MomentaOut => "momenta_out",
            Self::ResidualScale => "residual_scale",
            Self::Energy => "energy",
            Self::EdgeGradient => "edge_gradient",
            Self::MomentumGradient => "momentum_gradient",
            Self::Uncertainty => "uncertainty",
        }
    }

    fn dims(self) -> &'static [Dim] {
        match self {
            Self::Displacement | Self::MomentaOut | Self::ResidualScale | Self::MomentumGradient => {
                &[Dim::N, Dim::Three]
            }
            Self::Energy => &[Dim::N],
            Self::EdgeGradient => &[Dim::N, Dim::K, Dim::Three],
            Self::Uncertainty => &[Dim::N, Dim::Two],
        }
    }

    /// Shape for N atoms and K slots.
    pub fn shape(self, atoms: usize, slots: usize) -> Vec<i64> {
        let size = |d: &Dim| d.size().unwrap_or(if *d == Dim::N { atoms } else { slots } as i64);
        self.dims().iter().map(size).collect()
    }
}

/// An axis of a tensor of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dim {
    N,
    K,
    /// Scalars of the model.
    H,
    Two,
    Three,
}

impl Dim {
    /// Size of an axis that is always the same.
    fn size(self) -> Option<i64> {
        match self {
            Self::N | Self::K | Self::H => None,
            Self::Two => Some(2),
            Self::Three => Some(3),
        }
    }
}

/// What a checked file promises.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The checked metadata.
    pub metadata: Metadata,
    /// The metadata as written, JSON text.
    pub json: String,
    /// Inputs the graph declares.
    pub inputs: Vec<Input>,
    /// Outputs of the contract that the graph has.
    pub outputs: Vec<Output>,
    /// Names of all outputs of the graph.
    pub output_names: Vec<String>,
}

impl Contract {
    /// Checks the bytes of a model file; runs nothing.
    ///
    /// # Errors
    /// `Model` for anything that is not a contract-1 model, saying what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return refuse(format!("it is {} bytes long; a model may have {MAX_BYTES}", bytes.len()));
        }
        protobuf_limits::check_size(bytes)?;
        let proto = ModelProto::decode(bytes).map_err(|e| {
            Error::Model(format!(
                "it is not an ONNX file ({}); give a model exported by flashmd_train",
                one_line(&e.to_string())
            ))
        })?;
        let Some(graph) = &proto.graph else {
            return refuse("it is not an ONNX file (no graph inside); give a model exported by flashmd_train");
        };
        let json = find_metadata(&proto)?;
        let metadata = Metadata::parse(json)?;
        check_opset(&proto)?;
        operators::check(&proto, graph)?;
        let inputs = read_inputs(graph)?;
        let outputs = read_outputs(graph, metadata.kind)?;
        let output_names = graph.output.iter().map(|o| o.name.clone()).collect();
        Ok(Self { metadata, json: json.to_owned(), inputs, outputs, output_names })
    }

    /// True if the graph has `output`.
    pub fn has(&self, output: Output) -> bool {
        self.outputs.contains(&output)
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Model(message.into()))
}

fn find_metadata(proto: &ModelProto) -> Result<&str> {
    let mut found = proto.metadata_props.iter().filter(|entry| entry.key == "flashmd");
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(&entry.value),
        (Some(_), Some(_)) => refuse("it has two metadata entries `flashmd`; there must be one"),
        (None, _) => refuse(
            "it is an ONNX file without the metadata entry `flashmd`, so not a flashmd-rs model; export it with flashmd_train",
        ),
    }
}

fn check_opset(proto: &ModelProto) -> Result<()> {
    let imports = proto.opset_import.iter().chain(proto.functions.iter().flat_map(|f| &f.opset_import));
    if let Some(other) = imports.filter(|o| is_default(&o.domain)).find(|o| o.version != OPSET) {
        return refuse(format!("it uses opset {}, the contract wants opset {OPSET}; export it again", other.version));
    }
    if !proto.opset_import.iter().any(|o| is_default(&o.domain)) {
        return refuse(format!("it imports no standard opset, the contract wants opset {OPSET}"));
    }
    Ok(())
}

fn read_inputs(graph: &GraphProto) -> Result<Vec<Input>> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = Vec::new();
    for value in &graph.input {
        if constants.contains(value.name.as_str()) {
            continue; // a constant with a default, as old exporters write them
        }
        let Some(input) = Input::ALL.into_iter().find(|i| i.name() == value.name) else {
            let known: Vec<_> = Input::ALL.iter().map(|i| i.name()).collect();
            return refuse(format!(
                "it wants the input {}; this version can feed {}",
                plain(&value.name),
                known.join(", ")
            ));
        };
        if inputs.contains(&input) {
            return refuse(format!("it declares the input {} twice", plain(&value.name)));
        }
        check_value("input", value, input.element(), input.shape())?;
        inputs.push(input);
    }
    Ok(inputs)
}

fn read_outputs(graph: &GraphProto, kind: Kind) -> Result<Vec<Output>> {
    let required: &[Output] = match kind {
        Kind::Direct => &[Output::Displacement, Output::MomentaOut],
        Kind::Energy => &[Output::Energy],
        Kind::Splitting | Kind::Hybrid => &[Output::EdgeGradient],
        Kind::Action => &[Output::EdgeGradient, Output::MomentumGradient],
    };
    for output in required {
        if !graph.output.iter().any(|value| value.name == output.name()) {
            let got: Vec<_> = graph.output.iter().map(|o| o.name.as_str()).collect();
            return refuse(format!(
                "a model of kind {:?} must have the output {:?}; it has {}",
                kind.name(),
                output.name(),
                one_line(&got.join(", "))
            ));
        }
    }
    let mut outputs = Vec::new();
    // The uncertainty of an energy has another shape and is not used.
    for output in Output::ALL.into_iter().filter(|&o| o != Output::Uncertainty || kind == Kind::Direct) {
        let mut found = graph.output.iter().filter(|value| value.name == output.name());
        if let Some(value) = found.next() {
            check_value("output", value, FLOAT, output.dims())?;
            outputs.push(output);
        }
        if found.next().is_some() {
            return refuse(format!("it declares the output {:?} twice", output.name()));
        }
    }
    Ok(outputs)
}

fn check_value(what: &str, value: &ValueInfo, element: i32, dims: &[Dim]) -> Result<()> {
    let name = &value.name;
    let Some(tensor) = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
        return refuse(format!("{what} {name:?} is not a tensor"));
    };
    if tensor.elem_type != element {
        return refuse(format!(
            "{what} {name:?} is of type {}, the contract wants {}",
            element_name(tensor.elem_type),
            element_name(element)
        ));
    }
    let Some(shape) = &tensor.shape else { return Ok(()) };
    if shape.dim.len() != dims.len() {
        return refuse(format!("{what} {name:?} has {} axes, the contract wants {dims:?}", shape.dim.len()));
    }
    for (axis, (got, want)) in shape.dim.iter().zip(dims).enumerate() {
        match (got.dim_value, want.size()) {
            (None, _) => {}
            (Some(_), None) if *want == Dim::H => {} // fixed by the model, and by its metadata
            (Some(size), Some(wanted)) if size == wanted => {}
            (Some(size), Some(wanted)) => {
                return refuse(format!(
                    "{what} {name:?} has size {size} along axis {axis}, the contract wants {wanted}"
                ));
            }
            (Some(size), None) => {
                return refuse(format!(
                    "{what} {name:?} is fixed to {size} along axis {axis}; export the model with N and K dynamic"
                ));
            }
        }
    }
    Ok(())
}

fn element_name(element: i32) -> String {
    match element {
        FLOAT => "float32".into(),
        INT32 => "int32".into(),
        7 => "int64".into(),
        BOOL => "bool".into(),
        11 => "float64".into(),
        other => format!("number {other} of ONNX's TensorProto"),
    }
}
