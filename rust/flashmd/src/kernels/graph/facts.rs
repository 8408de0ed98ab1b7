//! What is known of every tensor of a graph: its type, its sizes, and its numbers where they are always the same.
//!
//! Nothing is inferred: ONNX Runtime itself is asked, by running the graph on systems of a few atoms with every tensor among its
//! outputs.

use std::collections::{HashMap, HashSet};

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType};

use super::extent::{Extent, SystemSize};
use super::protobuf;
use super::{Graph, Numbers};

/// Types that kernels work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `f32`.
    Float,
    /// `i32`.
    Int32,
    /// `i64`.
    Int64,
    /// One byte each.
    Bool,
}

/// An axis of what a network is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Atoms, N.
    Atoms,
    /// Slots for the neighbours of an atom, K.
    Slots,
    /// Always of the same size.
    Fixed(usize),
}

/// What a network is fed.
#[derive(Debug, Clone)]
pub struct GraphInput {
    /// In the graph.
    pub name: &'static str,
    /// Type of its numbers.
    pub element: Element,
    /// Its axes.
    pub axes: Vec<Axis>,
}

/// The numbers of a tensor, as far as they do not depend on those that a network is fed.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::kernels) enum Content {
    /// The same for every system.
    Fixed(Numbers),
    /// One number everywhere, in sizes that may depend on the system.
    Uniform(Numbers),
    /// The same wherever an axis's size depends on the system: the numbers along the fixed axes behind the last such.
    Repeated(Numbers),
    /// Integers that depend on the sizes of the system.
    Sizes(Vec<Extent>),
    /// It depends on the sizes in another way.
    Unknown,
    /// It depends on what the network is fed.
    Dynamic,
}

/// What is known of a tensor.
#[derive(Debug, Clone)]
pub(in crate::kernels) struct Fact {
    pub(in crate::kernels) element: Element,
    pub(in crate::kernels) sizes: Vec<Extent>,
    pub(in crate::kernels) content: Content,
}

impl Fact {
    /// The axis along which atoms follow one another, each with as many places as every other; `None` if there is no such,
    /// or another axis depends on their number too.
    pub(in crate::kernels) fn row_axis(&self) -> Option<usize> {
        let mut axes = (0..self.sizes.len()).filter(|&axis| self.sizes[axis].depends_on_atoms());
        let axis = axes.next().filter(|&axis| self.sizes[axis].is_rows())?;
        axes.next().is_none().then_some(axis)
    }

    /// The axis whose size is the number of slots, plus a fixed one; the error if the sizes depend on it otherwise.
    pub(in crate::kernels) fn slot_axis(&self) -> Result<Option<usize>, SlotsMerged> {
        let mut axes = (0..self.sizes.len()).filter(|&axis| self.sizes[axis].depends_on_slots());
        let Some(axis) = axes.next() else { return Ok(None) };
        let is_plain = (self.sizes[axis].per_slot, self.sizes[axis].per_edge) == (1, 0);
        if is_plain && axes.next().is_none() { Ok(Some(axis)) } else { Err(SlotsMerged) }
    }

    pub(in crate::kernels) fn is_dynamic(&self) -> bool {
        self.content == Content::Dynamic
    }

    pub(in crate::kernels) fn depends_on_atoms(&self) -> bool {
        self.sizes.iter().any(|extent| extent.depends_on_atoms())
    }

    pub(in crate::kernels) fn depends_on_slots(&self) -> bool {
        self.sizes.iter().any(|extent| extent.depends_on_slots())
    }
}

/// Slots share an axis with something else, or take several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct SlotsMerged;

/// One tensor in one probe.
struct Seen {
    element: Element,
    sizes: Vec<i64>,
    numbers: Option<Numbers>,
}

/// Facts by name of the tensor; what is not among them is of another type, or of sizes that depend on the numbers.
///
/// `None` if ONNX Runtime does not run the graph.
pub(in crate::kernels) fn gather(bytes: &[u8], graph: &Graph, inputs: &[GraphInput]) -> Option<HashMap<String, Fact>> {
    let is_static = static_tensors(graph);
    let named: Vec<&str> = (graph.nodes.iter().filter(|node| node.operator != "Constant"))
        .flat_map(|node| node.outputs.iter().map(String::as_str))
        .filter(|name| !name.is_empty())
        .collect();
    let existing: HashSet<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
    let shown: Vec<&str> = named.iter().copied().filter(|name| !existing.contains(name)).collect();
    let mut session = open(&protobuf::with_outputs(bytes, &shown)?)?;
    let mut seen: Vec<HashMap<String, Seen>> = Vec::new();
    for size in Extent::PROBES {
        seen.push(probe(&mut session, inputs, size, &is_static)?);
    }
    let mut facts = constants(graph)?;
    for name in named {
        let views: Vec<&Seen> = seen.iter().filter_map(|probe| probe.get(name)).collect();
        if let Some(fact) = <[&Seen; 5]>::try_from(views).ok().and_then(|views| fact(views, is_static.contains(name))) {
            facts.insert(name.to_owned(), fact);
        }
    }
    facts.extend(inputs.iter().map(|input| (input.name.to_owned(), of_input(input))));
    Some(facts)
}

/// Names of tensors that depend on the sizes of what a network is fed at most.
fn static_tensors(graph: &Graph) -> HashSet<&str> {
    let mut known: HashSet<&str> = graph.constants.iter().map(|c| c.name.as_str()).collect();
    for node in &graph.nodes {
        let is_size = matches!(node.operator.as_str(), "Shape" | "Size");
        if is_size || node.reads().iter().all(|name| known.contains(name)) {
            known.extend(node.outputs.iter().map(String::as_str));
        }
    }
    known
}

fn open(bytes: &[u8]) -> Option<Session> {
    let builder = Session::builder().ok()?.with_intra_threads(1).ok()?.with_inter_threads(1).ok()?;
    builder.with_optimization_level(GraphOptimizationLevel::Disable).ok()?.commit_from_memory(bytes).ok()
}

/// Runs the graph on `size` atoms and slots without any sense.
fn probe(
    session: &mut Session,
    inputs: &[GraphInput],
    size: SystemSize,
    is_static: &HashSet<&str>,
) -> Option<HashMap<String, Seen>> {
    let mut feeds: Vec<(String, DynValue)> = Vec::new();
    for input in inputs {
        let shape: Vec<usize> = of_input(input).sizes.iter().map(|extent| extent.size_at(size)).collect();
        let count: usize = shape.iter().product();
        let value = match input.element {
            Element::Float => {
                let numbers: Vec<f32> = (0..count).map(|i| 1.0 + 0.1 * (i % 7) as f32).collect();
                Tensor::from_array((shape, numbers)).ok()?.into_dyn()
            }
            Element::Bool => Tensor::from_array((shape, vec![true; count])).ok()?.into_dyn(),
            Element::Int32 | Element::Int64 => Tensor::from_array((shape, vec![0_i32; count])).ok()?.into_dyn(),
        };
        feeds.push((input.name.to_owned(), value));
    }
    let outputs = session.run(feeds).ok()?;
    let mut seen = HashMap::new();
    for (name, value) in outputs.iter() {
        if let Some(found) = look(&value, is_static.contains(name)) {
            seen.insert(name.to_owned(), found);
        }
    }
    Some(seen)
}

fn look(value: &DynValue, with_numbers: bool) -> Option<Seen> {
    let (element, sizes) = match value.dtype() {
        ort::value::ValueType::Tensor { ty, shape, .. } => (element_of(*ty)?, shape.to_vec()),
        _ => return None,
    };
    let numbers = match element {
        _ if !with_numbers => None,
        Element::Float => Some(Numbers::Floats(value.try_extract_tensor::<f32>().ok()?.1.to_vec())),
        Element::Int64 => Some(Numbers::Integers(value.try_extract_tensor::<i64>().ok()?.1.to_vec())),
        Element::Bool => Some(Numbers::Booleans(value.try_extract_tensor::<bool>().ok()?.1.to_vec())),
        Element::Int32 => {
            let numbers = value.try_extract_tensor::<i32>().ok()?.1;
            Some(Numbers::Integers(numbers.iter().map(|&i| i.into()).collect()))
        }
    };
    Some(Seen { element, sizes, numbers })
}

fn element_of(element: TensorElementType) -> Option<Element> {
    match element {
        TensorElementType::Float32 => Some(Element::Float),
        TensorElementType::Int32 => Some(Element::Int32),
        TensorElementType::Int64 => Some(Element::Int64),
        TensorElementType::Bool => Some(Element::Bool),
        _ => None,
    }
}

fn fact(seen: [&Seen; 5], is_static: bool) -> Option<Fact> {
    let first = seen[0];
    let rank = first.sizes.len();
    if seen.iter().any(|s| s.sizes.len() != rank || s.element != first.element) {
        return None;
    }
    let sizes: Option<Vec<Extent>> = (0..rank).map(|axis| Extent::fit(seen.map(|s| s.sizes[axis]))).collect();
    let content = if is_static { content(seen) } else { Content::Dynamic };
    Some(Fact { element: first.element, sizes: sizes?, content })
}

fn content(seen: [&Seen; 5]) -> Content {
    let Some(first) = &seen[0].numbers else { return Content::Unknown };
    if seen.iter().all(|s| s.sizes == seen[0].sizes && s.numbers.as_ref() == Some(first)) {
        return Content::Fixed(first.clone());
    }
    let one = first.first();
    if one.is_some() && seen.iter().all(|s| s.numbers.as_ref().is_some_and(|n| n.all_equal() && n.first() == one)) {
        return one.map_or(Content::Unknown, Content::Uniform);
    }
    if let Some(row) = first.start(fixed_behind(seen))
        && seen.iter().all(|s| s.numbers.as_ref().is_some_and(|n| n.is_repetition_of(&row)))
    {
        return Content::Repeated(row);
    }
    let each = |place: usize| -> Option<Extent> {
        let mut values = [0; 5];
        for (value, seen) in values.iter_mut().zip(seen) {
            let Some(Numbers::Integers(integers)) = &seen.numbers else { return None };
            *value = *integers.get(place)?;
        }
        Extent::fit(values)
    };
    let fits: Option<Vec<Extent>> = (0..first.len()).map(each).collect();
    match fits {
        Some(fits) if seen.iter().all(|s| s.sizes == seen[0].sizes) => Content::Sizes(fits),
        _ => Content::Unknown,
    }
}

/// How many numbers the axes hold that are behind the last one whose size depends on the system.
fn fixed_behind(seen: [&Seen; 5]) -> usize {
    let sizes = &seen[0].sizes;
    let behind = (0..sizes.len()).rev().take_while(|&axis| seen.iter().all(|s| s.sizes[axis] == sizes[axis]));
    behind.map(|axis| sizes[axis] as usize).product()
}

/// Facts of what the file holds: constants, and those that are written as operators.
fn constants(graph: &Graph) -> Option<HashMap<String, Fact>> {
    let mut facts = HashMap::new();
    let written = graph.nodes.iter().filter(|node| node.operator == "Constant");
    let written = written.filter_map(|node| Some((node.outputs.first()?, node.tensor("value")?)));
    let held = graph.constants.iter().map(|constant| (&constant.name, constant));
    for (name, constant) in held.chain(written) {
        let element = match constant.element {
            1 => Element::Float,
            6 => Element::Int32,
            7 => Element::Int64,
            9 => Element::Bool,
            _ => continue,
        };
        let fixed = |&size: &i64| Extent { fixed: size, per_atom: 0, per_slot: 0, per_edge: 0 };
        let sizes = constant.dims.iter().map(fixed).collect();
        facts.insert(name.clone(), Fact { element, sizes, content: Content::Fixed(constant.numbers()?) });
    }
    Some(facts)
}

fn of_input(input: &GraphInput) -> Fact {
    let none = Extent { fixed: 0, per_atom: 0, per_slot: 0, per_edge: 0 };
    let extent = |axis: &Axis| match *axis {
        Axis::Atoms => Extent { per_atom: 1, ..none },
        Axis::Slots => Extent { per_slot: 1, ..none },
        Axis::Fixed(size) => Extent { fixed: size as i64, ..none },
    };
    Fact { element: input.element, sizes: input.axes.iter().map(extent).collect(), content: Content::Dynamic }
}
