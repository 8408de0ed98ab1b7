//! Which operators a graph may use: every one of them runs once, and gives the same numbers every time.

use std::collections::HashMap;

use super::onnx::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use crate::error::{Error, Result, plain};

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
                return refuse(format!(
                    "its function {} is in the domain {}, where ONNX Runtime has operators of its own; rename it",
                    plain(&function.name),
                    plain(&function.domain)
                ));
            }
            inside.nodes(&function.node)?;
            function.attribute_proto.iter().try_for_each(|a| inside.attribute(a))?;
            if known.insert((function.domain.as_str(), function.name.as_str()), inside.operators).is_some() {
                return refuse(format!("it defines the function {} twice", plain(&function.name)));
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
                return refuse(format!("it has more than {MOST_OPERATORS} operators, too many for a network"));
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
        refuse(format!(
            "node {} uses operator {} of the domain {}; only standard ONNX operators are allowed, and functions of the \
             file in the graph itself (onnx.inliner puts nested ones in place)",
            plain(&node.name),
            plain(&node.op_type),
            plain(&node.domain)
        ))
    }

    fn attribute(&mut self, attribute: &AttributeProto) -> Result<()> {
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|g| self.graph(g))?;
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
        attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).try_for_each(check_sparse)
    }
}

/// Counts as one operator, if it is allowed.
fn check_standard(node: &NodeProto) -> Result<usize> {
    let (name, operator) = (plain(&node.name), node.op_type.as_str());
    if REPEATING.contains(&operator) {
        return refuse(format!(
            "node {name} is a {operator}, which may run without end; the contract wants every operator to run once: \
             unroll it"
        ));
    }
    if RANDOM.contains(&operator) {
        return refuse(format!(
            "node {name} is a {operator}: a run with the same seed would not repeat; give the noise as residual_scale"
        ));
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
        Some(a) => refuse(format!(
            "node {} is a {} with reduction {}, which ONNX Runtime computes wrongly on several threads; \
             sum over the neighbour axis and gather through `reverse` instead",
            plain(&node.name),
            node.op_type,
            plain(&String::from_utf8_lossy(&a.s))
        )),
        None => Ok(()),
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    if tensor.data_location == 0 && tensor.external_data.is_empty() {
        return Ok(());
    }
    refuse(format!("tensor {} keeps its data in another file; save the model as one file", plain(&tensor.name)))
}

fn check_sparse(tensor: &SparseTensorProto) -> Result<()> {
    tensor.values.iter().chain(&tensor.indices).try_for_each(check_tensor)
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Model(message.into()))
}
