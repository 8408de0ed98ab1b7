//! The operators a graph may use: every one runs once, and gives the same numbers every time.

use std::collections::HashMap;

use super::onnx::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use crate::error::{ModelFault, Result, plain};

/// Most operators after functions are put in place.
const MOST_OPERATORS: usize = 1 << 18;
/// They run their body again and again, as often as the numbers say.
const REPEATING: [&str; 3] = ["Loop", "Scan", "SequenceMap"];
/// They draw numbers that no seed of a run reaches.
const RANDOM: [&str; 6] =
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];
/// Domains of operators that ONNX Runtime brings along: a function must not be taken for one of them.
const OF_THE_RUNTIME: [&str; 3] = ["ai.onnx", "com.microsoft", "com.ms"];

/// Checks every operator and tensor of a file.
///
/// # Errors
/// `Model` naming the node or the tensor that is not allowed.
pub(crate) fn check(proto: &ModelProto, graph: &GraphProto) -> Result<()> {
    let mut checker = Checker::new(&proto.functions)?;
    checker.graph(graph)
}

/// True for the domain of the standard operators.
pub(crate) fn is_default(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Walks a graph with everything in it.
struct Checker<'a> {
    /// Operators in each function of the file, by domain and name.
    functions: HashMap<(&'a str, &'a str), usize>,
    /// Operators so far, functions put in place.
    operators: usize,
}

impl<'a> Checker<'a> {
    /// Checks the functions themselves, which may call nothing but standard operators.
    fn new(functions: &'a [FunctionProto]) -> Result<Self> {
        let mut known = HashMap::new();
        for function in functions {
            let mut inside = Checker { functions: HashMap::new(), operators: 0 };
            if OF_THE_RUNTIME.iter().any(|own| function.domain.starts_with(own)) || function.domain.is_empty() {
                let (function, domain) = (plain(&function.name), plain(&function.domain));
                return Err(ModelFault::ReservedDomain { function, domain }.into());
            }
            inside.nodes(&function.node)?;
            function.attribute_proto.iter().try_for_each(|a| inside.attribute(a))?;
            if known.insert((function.domain.as_str(), function.name.as_str()), inside.operators).is_some() {
                return Err(ModelFault::DuplicateFunction { function: plain(&function.name) }.into());
            }
        }
        Ok(Self { functions: known, operators: 0 })
    }

    fn graph(&mut self, graph: &GraphProto) -> Result<()> {
        graph.initializer.iter().try_for_each(check_tensor)?;
        graph.sparse_initializer.iter().try_for_each(check_sparse)?;
        self.nodes(&graph.node)
    }

    fn nodes(&mut self, nodes: &[NodeProto]) -> Result<()> {
        for node in nodes {
            self.operators += if is_default(&node.domain) { check_standard(node)? } else { self.call(node)? };
            if self.operators > MOST_OPERATORS {
                return Err(ModelFault::TooManyOperators { most: MOST_OPERATORS }.into());
            }
            node.attribute.iter().try_for_each(|a| self.attribute(a))?;
        }
        Ok(())
    }

    /// Operators behind a call of a function of the file.
    fn call(&self, node: &NodeProto) -> Result<usize> {
        if let Some(&operators) = self.functions.get(&(node.domain.as_str(), node.op_type.as_str())) {
            return Ok(operators + 1);
        }
        let (node, operator, domain) = (plain(&node.name), plain(&node.op_type), plain(&node.domain));
        Err(ModelFault::ForeignOperator { node, operator, domain }.into())
    }

    fn attribute(&mut self, attribute: &AttributeProto) -> Result<()> {
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|g| self.graph(g))?;
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
        attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).try_for_each(check_sparse)
    }
}

/// Counts as one operator, if it is allowed.
fn check_standard(node: &NodeProto) -> Result<usize> {
    let is_one_of = |operators: &[&str]| operators.contains(&node.op_type.as_str());
    let named = || (plain(&node.name), node.op_type.clone());
    if is_one_of(&REPEATING) {
        let (node, operator) = named();
        return Err(ModelFault::RepeatingOperator { node, operator }.into());
    }
    if is_one_of(&RANDOM) {
        let (node, operator) = named();
        return Err(ModelFault::RandomOperator { node, operator }.into());
    }
    check_scatter(node)?;
    Ok(1)
}

/// ONNX Runtime's CPU kernel for a scatter with reduction races with more than one thread.
fn check_scatter(node: &NodeProto) -> Result<()> {
    if !matches!(node.op_type.as_str(), "ScatterND" | "ScatterElements") {
        return Ok(());
    }
    let mut reductions = node.attribute.iter().filter(|a| a.name == "reduction");
    match reductions.find(|a| a.s != b"none" || !a.ref_attr_name.is_empty()) {
        Some(attribute) => Err(ModelFault::ScatterReduction {
            node: plain(&node.name),
            operator: node.op_type.clone(),
            reduction: plain(&String::from_utf8_lossy(&attribute.s)),
        }
        .into()),
        None => Ok(()),
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    if tensor.data_location == 0 && tensor.external_data.is_empty() {
        return Ok(());
    }
    Err(ModelFault::ExternalData { tensor: plain(&tensor.name) }.into())
}

fn check_sparse(tensor: &SparseTensorProto) -> Result<()> {
    tensor.values.iter().chain(&tensor.indices).try_for_each(check_tensor)
}
