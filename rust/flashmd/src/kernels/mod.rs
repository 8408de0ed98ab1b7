//! Kernels: the operators of a network run on one block of atoms after the other, in the processor's cache.
//!
//! ONNX Runtime runs a graph operator by operator, each on all atoms, so that every intermediate array goes through
//! memory. Most operators of the networks here act on each atom's rows alone ([`stages::local`]). Sets of them become *stages*
//! ([`stages`]), which are run on a few atoms at a time. In the graph that ONNX Runtime is given, a stage is one custom
//! operator; what is not local stays as it is. The model file does not change, and any file can be treated so.
//!
//! Sizes are not inferred but seen: before a graph is divided, it is run on systems of a few atoms ([`graph::facts`]).
//!
//! Rooms, each of which uses those before it: [`graph`] reads and rewrites the file, [`operators`] run on arrays, and [`stages`]
//! decide which are run together and run them; [`profile`] counts what for. A new operator is a line in `stages/local.rs`, which says when it is local, and
//! one in `operators/mod.rs`.

mod graph;
mod operators;
pub mod profile;
mod stages;

use std::collections::HashSet;
use std::sync::Arc;

use ort::operator::OperatorDomain;

pub use graph::facts::{Axis, Element, GraphInput};
pub use operators::simd::InstructionSet;
pub(crate) use operators::simd::for_each_set;

use graph::protobuf::Placed;
use graph::{Graph, Node};
use stages::local::{LocalNode, Operand};
use stages::program::Program;
use stages::stage_operator::StageOperator;
use stages::{Group, Stages};

/// Number of what the kernels compute: it changes with every change that changes bits.
pub const VERSION: u32 = 1;
/// Domain of the stages in the graph that ONNX Runtime is given.
const DOMAIN: &str = "flashmd.stages";

/// A graph whose local operators are stages.
#[derive(Debug)]
pub struct StagedGraph {
    /// The model that calls them.
    pub bytes: Vec<u8>,
    /// What was made of it.
    pub summary: Summary,
    programs: Vec<(String, Arc<Program>)>,
}

/// What kernels run of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// For these instructions.
    pub set: InstructionSet,
    /// Stages.
    pub stages: usize,
    /// Operators in the stages.
    pub operators: usize,
    /// Operators left to ONNX Runtime.
    pub left: usize,
}

impl StagedGraph {
    /// The stages of a checked model that is fed `inputs`, of which `mask` `[N, K]` is true where there are edges; `None` where
    /// there are none, or for a processor without the instructions.
    pub fn new(bytes: &[u8], inputs: &[GraphInput], mask: &'static str) -> Option<Self> {
        let set = InstructionSet::detect()?;
        let graph = Graph::read(bytes)?;
        if !inputs.iter().any(|input| input.name == mask) {
            return None;
        }
        let facts = graph::facts::gather(bytes, &graph, inputs)?;
        let stages = stages::divide(&graph, &facts, set);
        let constant = needed_constants(&graph, &stages);
        let read = reads(&graph, &stages, &constant);
        let mut programs = Vec::new();
        let mut placed: Vec<Placed> = constant.iter().map(|&node| Placed::Old(node)).collect();
        let mut left = 0;
        for (number, group) in stages.groups.iter().enumerate() {
            match group {
                Group::Runtime(nodes) => {
                    left += nodes.len();
                    placed.extend(nodes.iter().map(|&node| Placed::Old(node)));
                }
                Group::Stage(_, nodes) => {
                    let operators: Vec<LocalNode> =
                        nodes.iter().flat_map(|node| &stages.local[node]).cloned().collect();
                    let program = Program::new(&operators, &facts, &read[number])?;
                    let name = format!("Stage{}", programs.len());
                    placed.push(Placed::New(call(&name, &program, mask)));
                    programs.push((name, Arc::new(program)));
                }
            }
        }
        let operators = programs.iter().map(|(_, program)| program.operators()).sum();
        let summary = Summary { set, stages: programs.len(), operators, left };
        let bytes = graph::protobuf::with_nodes(bytes, &placed, DOMAIN)?;
        (operators > 0).then_some(Self { bytes, summary, programs })
    }

    /// The operators that a session needs to open [`Self::bytes`].
    ///
    /// # Errors
    /// ONNX Runtime's.
    pub fn operators(&self) -> ort::Result<OperatorDomain> {
        let mut domain = OperatorDomain::new(DOMAIN)?;
        for (name, program) in &self.programs {
            domain =
                domain.add(StageOperator { name: name.clone(), program: program.clone(), set: self.summary.set })?;
        }
        Ok(domain)
    }
}

/// The constant nodes that are read at all, by what is left to ONNX Runtime or by stages, in the order of the graph.
fn needed_constants(graph: &Graph, stages: &Stages) -> Vec<usize> {
    let left = stages.groups.iter().filter_map(|group| match group {
        Group::Runtime(nodes) => Some(nodes),
        Group::Stage(..) => None,
    });
    let mut wanted: HashSet<&str> = left.flatten().flat_map(|&node| graph.nodes[node].reads()).collect();
    wanted.extend(graph.outputs.iter().map(|output| output.name.as_str()));
    let operands = stages.local.values().flatten().flat_map(|node| &node.operands);
    wanted.extend(operands.filter_map(|operand| match operand {
        Operand::Whole(name) => Some(name.as_str()),
        _ => None,
    }));
    let mut needed: Vec<usize> = Vec::new();
    for &node in stages.constant.iter().rev() {
        if graph.nodes[node].outputs.iter().any(|name| wanted.contains(name.as_str())) {
            wanted.extend(graph.nodes[node].reads());
            needed.push(node);
        }
    }
    needed.reverse();
    needed
}

/// For each group, the tensors of it that others read.
fn reads<'a>(graph: &'a Graph, stages: &'a Stages, constant: &[usize]) -> Vec<HashSet<&'a str>> {
    let outputs: HashSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let nodes_of = |group: &Group| match group {
        Group::Runtime(nodes) | Group::Stage(_, nodes) => nodes.clone(),
    };
    let read_by = |group: &'a Group| -> HashSet<&'a str> {
        nodes_of(group).into_iter().flat_map(|node| graph.nodes[node].reads()).collect()
    };
    let read: Vec<HashSet<&str>> = stages.groups.iter().map(read_by).collect();
    let constant: HashSet<&str> = constant.iter().flat_map(|&node| graph.nodes[node].reads()).collect();
    (0..stages.groups.len())
        .map(|own| {
            let others = read.iter().enumerate().filter(|&(other, _)| other != own).flat_map(|(_, names)| names);
            others.chain(&outputs).chain(&constant).copied().collect()
        })
        .collect()
}

fn call(name: &str, program: &Program, mask: &str) -> Node {
    let sources = program.sources.iter().map(|source| source.name.clone());
    Node {
        inputs: sources.chain([mask.to_owned()]).collect(),
        outputs: program.results.iter().map(|result| result.name.clone()).collect(),
        name: name.to_owned(),
        operator: name.to_owned(),
        domain: DOMAIN.to_owned(),
        attributes: Vec::new(),
    }
}
