//! Which operators are run together, and in which order.
//!
//! A stage is a set of local operators that are run on one block of atoms after the other, so that what passes between them
//! stays in the processor's cache. What an operator reads of other atoms must be complete before: every such gather
//! begins another stage. Operators on edges and on atoms are apart, since blocks of a few atoms are right for the former
//! and of a hundred for the latter.

pub(in crate::kernels) mod local;
pub(in crate::kernels) mod program;
pub(in crate::kernels) mod stage_operator;

use std::collections::{HashMap, HashSet};

use crate::kernels::graph::Graph;
use crate::kernels::graph::extent::SystemSize;
use crate::kernels::graph::facts::Fact;
use crate::kernels::operators::Operation;
use crate::kernels::operators::simd::InstructionSet;
use local::{LocalNode, Operand, local};

/// Operators on atoms that lead to operators on edges are run with these, so that what is on edges stays in the cache, if their
/// weights are not larger than this, bytes: weights are read anew for every block.
const LIGHT: usize = 64 << 10;

/// Nodes that are run together; numbers are places in the graph.
#[derive(Debug)]
pub(in crate::kernels) enum Group {
    /// By ONNX Runtime.
    Runtime(Vec<usize>),
    /// By a kernel, with operators on edges or without.
    Stage(Place, Vec<usize>),
}

/// The nodes of a graph in groups.
#[derive(Debug)]
pub(in crate::kernels) struct Stages {
    /// In the order in which they can be run.
    pub(in crate::kernels) groups: Vec<Group>,
    /// Nodes whose results do not depend on what the network is fed.
    pub(in crate::kernels) constant: Vec<usize>,
    /// The local operators of each node that is one.
    pub(in crate::kernels) local: HashMap<usize, Vec<LocalNode>>,
}

/// Where a local node can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Place {
    /// On atoms.
    Atoms,
    /// It is about atoms, but light, and leads to operators on edges.
    Either,
    /// On edges.
    Edges,
}

pub(in crate::kernels) fn divide(graph: &Graph, facts: &HashMap<String, Fact>, set: InstructionSet) -> Stages {
    let is_constant = constant_nodes(graph, facts);
    let mut found = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate().filter(|(number, _)| !is_constant[*number]) {
        if let Some(operators) = local(node, facts, set) {
            found.insert(number, operators);
        }
    }
    leave_tables(graph, facts, &mut found);
    let places = places(graph, facts, &found);
    let scheduler = Scheduler::new(graph, &is_constant, &found, &places);
    let pinned = scheduler.pinned();
    let mut groups = scheduler.run();
    Sinking { graph, facts, found: &found, places: &places, pinned }.run(&mut groups);
    groups.retain(|group| !matches!(group, Group::Stage(_, nodes) if nodes.is_empty()));
    let constant = (0..graph.nodes.len()).filter(|&number| is_constant[number]).collect();
    Stages { groups, constant, local: found }
}

/// Takes out what only gives the rows of a table other sizes, slots and atoms in one: that is free in ONNX Runtime, and in a
/// stage it would keep all from being run with fewer slots.
fn leave_tables(graph: &Graph, facts: &HashMap<String, Fact>, found: &mut HashMap<usize, Vec<LocalNode>>) {
    let operands = found.values().flatten().flat_map(|operator| &operator.operands);
    let read: HashSet<String> = operands
        .filter_map(|operand| if let Operand::Rows(name) = operand { Some(name.clone()) } else { None })
        .collect();
    let merges = |name: &String| facts.get(name).is_some_and(|fact| fact.slot_axis().is_err());
    found.retain(|&number, operators| {
        let is_reshape = matches!(operators.as_slice(), [LocalNode { operation: Operation::Reshape, .. }]);
        let node = &graph.nodes[number];
        let begins_to_merge = merges(&node.outputs[0]) && !merges(&node.inputs[0]);
        let only_merges = is_reshape && begins_to_merge && !read.contains(&node.outputs[0]);
        !only_merges
    });
}

fn constant_nodes(graph: &Graph, facts: &HashMap<String, Fact>) -> Vec<bool> {
    let known = |name: &String| name.is_empty() || facts.get(name).is_some_and(|fact| !fact.is_dynamic());
    graph.nodes.iter().map(|node| node.outputs.iter().all(known)).collect()
}

fn places(
    graph: &Graph,
    facts: &HashMap<String, Fact>,
    found: &HashMap<usize, Vec<LocalNode>>,
) -> HashMap<usize, Place> {
    let on_edges = |name: &String| facts.get(name).is_some_and(Fact::depends_on_slots);
    let is_edge = |number: usize| {
        let node = &graph.nodes[number];
        let reads = found[&number].iter().flat_map(|operator| &operator.operands);
        let rows = reads.filter_map(|operand| if let Operand::Rows(name) = operand { Some(name) } else { None });
        node.outputs.iter().chain(rows).any(on_edges)
    };
    // Tensors that operators on edges are made from, from the end backwards.
    let mut leads_to_edges: HashSet<&str> = HashSet::new();
    let mut places = HashMap::new();
    for number in (0..graph.nodes.len()).rev().filter(|number| found.contains_key(number)) {
        let node = &graph.nodes[number];
        let place = match node.outputs.iter().any(|name| leads_to_edges.contains(name.as_str())) {
            _ if is_edge(number) => Place::Edges,
            true if is_light(&found[&number]) => Place::Either,
            _ => Place::Atoms,
        };
        places.insert(number, place);
        if place == Place::Atoms {
            continue;
        }
        for operand in found[&number].iter().flat_map(|operator| &operator.operands) {
            if let Operand::Rows(name) = operand {
                leads_to_edges.insert(name);
            }
        }
    }
    places
}

fn is_light(operators: &[LocalNode]) -> bool {
    !operators.iter().any(|operator| matches!(&operator.operation, Operation::Product(b, _) if b.bytes() > LIGHT))
}

/// Puts nodes into groups as soon as what they read is there.
struct Scheduler<'a> {
    graph: &'a Graph,
    found: &'a HashMap<usize, Vec<LocalNode>>,
    places: &'a HashMap<usize, Place>,
    /// Tensors that are complete.
    ready: HashSet<&'a str>,
    /// What tensors that do not depend on what the network is fed are made from all the same, to know its sizes.
    measured: HashMap<&'a str, HashSet<&'a str>>,
    left: Vec<usize>,
}

impl<'a> Scheduler<'a> {
    fn new(
        graph: &'a Graph,
        is_constant: &[bool],
        found: &'a HashMap<usize, Vec<LocalNode>>,
        places: &'a HashMap<usize, Place>,
    ) -> Self {
        let mut ready: HashSet<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        ready.extend(graph.constants.iter().map(|constant| constant.name.as_str()));
        let mut measured: HashMap<&str, HashSet<&str>> = HashMap::new();
        for node in graph.nodes.iter().zip(is_constant).filter_map(|(node, &is)| is.then_some(node)) {
            let mut of: HashSet<&str> = HashSet::new();
            for name in node.reads() {
                match measured.get(name) {
                    Some(known) => of.extend(known),
                    None => of.extend((!ready.contains(name)).then_some(name)),
                }
            }
            measured.extend(node.outputs.iter().map(|name| (name.as_str(), of.clone())));
        }
        ready.extend(measured.keys());
        let left = (0..graph.nodes.len()).filter(|&number| !is_constant[number]).collect();
        Self { graph, found, places, ready, measured, left }
    }

    /// Tensors whose sizes something reads that is not run by a kernel: they are there before it.
    fn pinned(&self) -> HashSet<&'a str> {
        let runtime = self.left.iter().filter(|number| !self.found.contains_key(number));
        let read = runtime.flat_map(|&number| self.graph.nodes[number].reads());
        let operands = self.found.values().flatten().flat_map(|operator| &operator.operands);
        let whole = operands.filter_map(|operand| match operand {
            Operand::Whole(name) => Some(name.as_str()),
            _ => None,
        });
        read.chain(whole).filter_map(|name| self.measured.get(name)).flatten().copied().collect()
    }

    fn run(mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        while !self.left.is_empty() {
            let before = self.left.len();
            let runtime = self.collect(|scheduler, number, inside| {
                !scheduler.found.contains_key(&number) && scheduler.reads_known(number, inside)
            });
            groups.extend((!runtime.is_empty()).then_some(Group::Runtime(runtime)));
            for wanted in [Place::Atoms, Place::Edges] {
                let stage = self.collect(|scheduler, number, inside| {
                    let fits = scheduler.places.get(&number).is_some_and(|&place| match place {
                        // Alone, what could be run with operators on edges is left for those.
                        Place::Either => wanted == Place::Edges,
                        place => place == wanted,
                    });
                    fits && scheduler.operands_known(number, inside)
                });
                groups.extend((!stage.is_empty()).then_some(Group::Stage(wanted, stage)));
            }
            if self.left.len() == before {
                // A cycle, which no checked graph has: left to ONNX Runtime, which refuses it.
                groups.push(Group::Runtime(std::mem::take(&mut self.left)));
            }
        }
        groups
    }

    /// Takes all nodes that `accepts` them, in the order of the graph, with what the group has made so far.
    fn collect(&mut self, accepts: impl Fn(&Self, usize, &HashSet<&str>) -> bool) -> Vec<usize> {
        let graph = self.graph;
        let mut inside: HashSet<&str> = HashSet::new();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for &number in &self.left {
            if accepts(self, number, &inside) {
                inside.extend(graph.nodes[number].outputs.iter().map(String::as_str));
                taken.push(number);
            } else {
                left.push(number);
            }
        }
        self.left = left;
        self.ready.extend(inside);
        taken
    }

    fn reads_known(&self, number: usize, inside: &HashSet<&str>) -> bool {
        let known = |name: &&str| self.ready.contains(name) || inside.contains(name);
        let measured = |name: &&str| self.measured.get(name).is_none_or(|of| of.iter().all(known));
        self.graph.nodes[number].reads().iter().all(|name| known(name) && measured(name))
    }

    fn operands_known(&self, number: usize, inside: &HashSet<&str>) -> bool {
        self.found[&number].iter().flat_map(|operator| &operator.operands).all(|operand| match operand {
            Operand::Rows(name) => self.ready.contains(name.as_str()) || inside.contains(name.as_str()),
            Operand::Whole(name) => {
                let ready = |name: &str| self.ready.contains(name);
                ready(name) && self.measured.get(name.as_str()).is_none_or(|of| of.iter().all(|name| ready(name)))
            }
            Operand::Constant(_) => true,
        })
    }
}

/// Moves operators to the stage that first reads their results, where less is left in memory in between.
struct Sinking<'a> {
    graph: &'a Graph,
    facts: &'a HashMap<String, Fact>,
    found: &'a HashMap<usize, Vec<LocalNode>>,
    places: &'a HashMap<usize, Place>,
    /// What must stay where it is.
    pinned: HashSet<&'a str>,
}

impl Sinking<'_> {
    /// A system by which sizes are compared.
    const TYPICAL: SystemSize = SystemSize { atoms: 1, slots: 32 };

    fn run(&self, groups: &mut [Group]) {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, node) in self.graph.nodes.iter().enumerate() {
            node.reads().into_iter().for_each(|name| readers.entry(name).or_default().push(number));
        }
        let mut group_of: HashMap<usize, usize> = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            let (Group::Runtime(nodes) | Group::Stage(_, nodes)) = group;
            group_of.extend(nodes.iter().map(|&node| (node, index)));
        }
        for own in 0..groups.len() {
            let Group::Stage(_, nodes) = &groups[own] else { continue };
            for node in nodes.clone().into_iter().rev() {
                let Some(target) = self.target(node, own, groups, &group_of, &readers) else { continue };
                if let (Group::Stage(_, from), true) = (&mut groups[own], own != target) {
                    from.retain(|&other| other != node);
                }
                if let Group::Stage(_, to) = &mut groups[target] {
                    let place = to.partition_point(|&other| other < node);
                    to.insert(place, node);
                }
                group_of.insert(node, target);
            }
        }
    }

    /// The later stage where `node` should be run.
    fn target(
        &self,
        node: usize,
        own: usize,
        groups: &[Group],
        group_of: &HashMap<usize, usize>,
        readers: &HashMap<&str, Vec<usize>>,
    ) -> Option<usize> {
        let outputs = &self.graph.nodes[node].outputs;
        let is_pinned = outputs.iter().any(|name| self.pinned.contains(name.as_str()));
        if is_pinned || self.graph.outputs.iter().any(|output| outputs.contains(&output.name)) {
            return None;
        }
        let mut target = usize::MAX;
        for name in outputs {
            for reader in readers.get(name.as_str()).into_iter().flatten() {
                // Nodes that are no operators of any group only measure sizes.
                let Some(&group) = group_of.get(reader) else { continue };
                let as_rows = self.found.get(reader)?.iter().flat_map(|operator| &operator.operands);
                let mut as_rows = as_rows.filter(|operand| matches!(operand, Operand::Whole(whole) if whole == name));
                if group <= own || as_rows.next().is_some() {
                    return None;
                }
                target = target.min(group);
            }
        }
        let Group::Stage(place, _) = groups.get(target)? else { return None };
        let fits = [*place, Place::Either].contains(&self.places[&node]);
        let left: usize = outputs.iter().map(|name| self.size(name)).sum();
        let inner = self.inner_operands(node, own, groups);
        let is_read_anyway = |name: &str| {
            let readers = readers.get(name).into_iter().flatten();
            readers.filter_map(|reader| group_of.get(reader)).any(|&group| group == target)
        };
        let needed: usize = inner.into_iter().filter(|name| !is_read_anyway(name)).map(|name| self.size(name)).sum();
        (fits && needed <= left).then_some(target)
    }

    /// What a node reads of its own stage.
    fn inner_operands(&self, node: usize, own: usize, groups: &[Group]) -> HashSet<&str> {
        let (Group::Stage(_, nodes) | Group::Runtime(nodes)) = &groups[own];
        let made =
            |name: &str| nodes.iter().any(|&other| self.graph.nodes[other].outputs.iter().any(|output| output == name));
        let operands = self.found[&node].iter().flat_map(|operator| &operator.operands);
        let rows =
            operands.filter_map(|operand| if let Operand::Rows(name) = operand { Some(name.as_str()) } else { None });
        rows.filter(|name| made(name)).collect()
    }

    fn size(&self, name: &str) -> usize {
        let sizes = self.facts.get(name).map_or(&[][..], |fact| &fact.sizes);
        sizes.iter().map(|extent| extent.size_at(Self::TYPICAL)).product()
    }
}
