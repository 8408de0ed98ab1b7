//! The model contract, checked on the bytes of the file before anything is run.

pub(super) mod bonds;
pub mod domain;
pub mod fast_forces;
pub(super) mod kinds;
pub mod mean_field;
pub mod metadata;
mod onnx;
mod operators;
pub(crate) mod protobuf_limits;
pub(super) mod tensors;

use std::collections::HashSet;

use prost::Message;

use crate::error::{ModelFault, Result, one_line, plain};
use kinds::Kind;
use metadata::Metadata;
use onnx::{GraphProto, ModelProto, ValueInfo};
use operators::is_default;
use tensors::{Dim, Element, Input, Output, TensorSpec};

/// Largest model file, 2 GiB: protobuf's own limit.
pub const MAX_BYTES: usize = 1 << 31;
/// Opset of the default domain.
pub const OPSET: i64 = 20;

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
    /// `Model` for anything that is not a model of the contract, saying what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(ModelFault::TooLarge { bytes: bytes.len(), most: MAX_BYTES }.into());
        }
        protobuf_limits::check_size(bytes)?;
        let not_onnx = |problem: &str| ModelFault::NotOnnx { problem: one_line(problem) };
        let proto = ModelProto::decode(bytes).map_err(|e| not_onnx(&e.to_string()))?;
        let graph = proto.graph.as_ref().ok_or_else(|| not_onnx("no graph inside"))?;
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

fn find_metadata(proto: &ModelProto) -> Result<&str> {
    let mut found = proto.metadata_props.iter().filter(|entry| entry.key == "flashmd");
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(&entry.value),
        (Some(_), Some(_)) => Err(ModelFault::TwoMetadataEntries.into()),
        (None, _) => Err(ModelFault::NoMetadata.into()),
    }
}

fn check_opset(proto: &ModelProto) -> Result<()> {
    let imports = proto.opset_import.iter().chain(proto.functions.iter().flat_map(|f| &f.opset_import));
    if let Some(other) = imports.filter(|o| is_default(&o.domain)).find(|o| o.version != OPSET) {
        return Err(ModelFault::OtherOpset { got: other.version, wanted: OPSET }.into());
    }
    if !proto.opset_import.iter().any(|o| is_default(&o.domain)) {
        return Err(ModelFault::NoOpset { wanted: OPSET }.into());
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
        let name = plain(&value.name);
        let Some(input) = Input::all().find(|input| input.name() == value.name) else {
            let known: Vec<_> = Input::all().map(Input::name).collect();
            return Err(ModelFault::UnknownInput { name, known: known.join(", ") }.into());
        };
        if inputs.contains(&input) {
            return Err(ModelFault::DuplicateTensor { port: "input", name }.into());
        }
        check_value("input", value, input.spec())?;
        inputs.push(input);
    }
    Ok(inputs)
}

fn read_outputs(graph: &GraphProto, kind: Kind) -> Result<Vec<Output>> {
    let spec = kind.spec();
    let named = |output: Output| graph.output.iter().filter(move |value| value.name == output.name());
    if let Some(&missing) = spec.required.iter().find(|&&output| named(output).next().is_none()) {
        let got: Vec<_> = graph.output.iter().map(|o| o.name.as_str()).collect();
        let got = one_line(&got.join(", "));
        return Err(ModelFault::MissingOutput { kind: spec.name, output: missing.name(), got }.into());
    }
    let mut outputs = Vec::new();
    for output in Output::all().filter(|output| !spec.ignored.contains(output)) {
        let mut found = named(output);
        if let Some(value) = found.next() {
            check_value("output", value, output.spec())?;
            outputs.push(output);
        }
        if found.next().is_some() {
            return Err(ModelFault::DuplicateTensor { port: "output", name: plain(output.name()) }.into());
        }
    }
    Ok(outputs)
}

/// Checks an input or output, as `port` says, against what the contract says of it.
fn check_value(port: &'static str, value: &ValueInfo, spec: &TensorSpec) -> Result<()> {
    let name = plain(&value.name);
    let Some(tensor) = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
        return Err(ModelFault::NotATensor { port, name }.into());
    };
    if tensor.elem_type != spec.element as i32 {
        let (got, wanted) = (element_name(tensor.elem_type), element_name(spec.element as i32));
        return Err(ModelFault::WrongType { port, name, got, wanted }.into());
    }
    let Some(shape) = &tensor.shape else { return Ok(()) };
    if shape.dim.len() != spec.shape.len() {
        let wanted = format!("{:?}", spec.shape);
        return Err(ModelFault::WrongAxes { port, name, got: shape.dim.len(), wanted }.into());
    }
    for (axis, (dim, &wanted)) in shape.dim.iter().zip(spec.shape).enumerate() {
        match (dim.dim_value, wanted.size().map(|size| size as i64)) {
            (None, _) => {}
            (Some(_), None) if matches!(wanted, Dim::H | Dim::P) => {} // fixed by the model, and by its metadata
            (Some(got), Some(wanted)) if got == wanted => {}
            (Some(got), Some(wanted)) => return Err(ModelFault::WrongSize { port, name, axis, got, wanted }.into()),
            (Some(size), None) => return Err(ModelFault::FixedSize { port, name, axis, size }.into()),
        }
    }
    Ok(())
}

/// Name of a number of ONNX's TensorProto.
fn element_name(number: i32) -> String {
    const FLOAT32: i32 = Element::Float32 as i32;
    const INT32: i32 = Element::Int32 as i32;
    const BOOL: i32 = Element::Bool as i32;
    match number {
        FLOAT32 => "float32".into(),
        INT32 => "int32".into(),
        7 => "int64".into(),
        BOOL => "bool".into(),
        11 => "float64".into(),
        other => format!("number {other} of ONNX's TensorProto"),
    }
}
