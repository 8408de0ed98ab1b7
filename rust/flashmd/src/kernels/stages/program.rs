//! A stage made ready to run: its operators in order, its constants, what it reads and what it gives.

use std::collections::{HashMap, HashSet};

use super::local::{LocalNode, Operand};
use crate::kernels::graph::Numbers;
use crate::kernels::graph::extent::{Extent, SystemSize};
use crate::kernels::graph::facts::{Content, Element, Fact};
use crate::kernels::operators::elementwise::Arithmetic;
use crate::kernels::operators::reduce::Reduction;
use crate::kernels::operators::simd::InstructionSet;
use crate::kernels::operators::tensor::{Array, Axes, Tensor, Workspace};
use crate::kernels::operators::{Fault, Operation};
use crate::kernels::profile;

/// Bytes that should pass between the operators on a block of atoms: a part of the cache that a core has for itself.
const BLOCK_BYTES: usize = 768 << 10;
/// Most atoms of a block, so that there are blocks for several threads; least of one without edges, since its operators
/// have a cost of their own.
const MOST_ATOMS: usize = 256;
const LEAST_ATOMS: usize = 64;

/// A tensor that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kernels) struct Source {
    pub(in crate::kernels) name: String,
    pub(in crate::kernels) element: Element,
    /// The axis along which a block reads its own rows; `None` if it reads all of it.
    pub(in crate::kernels) rows: Option<usize>,
    /// The axis of the slots that a block reads as many of as it needs.
    pub(in crate::kernels) slots: Option<usize>,
}

/// A tensor that a stage gives.
#[derive(Debug, Clone)]
pub(in crate::kernels) struct Result {
    pub(in crate::kernels) name: String,
    pub(in crate::kernels) element: Element,
    pub(in crate::kernels) sizes: Vec<Extent>,
    /// The axis of its rows.
    pub(in crate::kernels) rows: usize,
    /// The axis of its slots.
    pub(in crate::kernels) slots: Option<usize>,
    slot: usize,
}

/// A number in sizes that do not change.
#[derive(Debug)]
struct Constant {
    numbers: Numbers,
    sizes: Vec<usize>,
}

/// Where an operator finds an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Slot(usize),
    Constant(usize),
}

#[derive(Debug)]
struct Step {
    operation: Operation,
    arguments: Vec<Argument>,
    slot: usize,
    sizes: Vec<Extent>,
    bytes: usize,
    /// Slots that nothing reads afterwards.
    done: Vec<usize>,
}

/// A stage that can be run on any block of atoms.
#[derive(Debug)]
pub(in crate::kernels) struct Program {
    pub(in crate::kernels) sources: Vec<Source>,
    pub(in crate::kernels) results: Vec<Result>,
    constants: Vec<Constant>,
    steps: Vec<Step>,
    slots: usize,
    /// True if a block can be run with fewer slots than the arrays have.
    pub(in crate::kernels) takes_fewer_slots: bool,
}

impl Program {
    /// The program of local operators, in order, of which `wanted` are read by others.
    pub(in crate::kernels) fn new(
        nodes: &[LocalNode],
        facts: &HashMap<String, Fact>,
        wanted: &HashSet<&str>,
    ) -> Option<Self> {
        let nodes = with_biases(nodes, facts, wanted);
        let mut builder = Builder::default();
        for node in &nodes {
            builder.add(node, facts)?;
        }
        builder.finish(&nodes, facts, wanted)
    }

    /// How many operators it runs.
    pub(in crate::kernels) fn operators(&self) -> usize {
        self.steps.len()
    }

    /// Atoms of a block whose numbers fit into the cache.
    pub(in crate::kernels) fn block_atoms(&self, slots: usize) -> usize {
        let one = SystemSize { atoms: 1, slots };
        let mut live = vec![0; self.slots];
        let (mut now, mut most) = (0, 0);
        for step in &self.steps {
            let count: usize = step.sizes.iter().map(|extent| extent.size_at(one)).product();
            live[step.slot] = count * step.bytes;
            now += live[step.slot];
            most = most.max(now);
            for &slot in &step.done {
                now -= std::mem::take(&mut live[slot]);
            }
        }
        let on_edges = self.steps.iter().any(|step| step.sizes.iter().any(|extent| extent.depends_on_slots()));
        let least = if on_edges { 1 } else { LEAST_ATOMS };
        (BLOCK_BYTES / most.max(1)).clamp(least, MOST_ATOMS)
    }

    /// Runs all operators on a block of atoms.
    ///
    /// `inputs` are those of [`Self::sources`]; a tensor for each of [`Self::results`] comes back.
    pub(in crate::kernels) fn run<'a>(
        &'a self,
        set: InstructionSet,
        workspace: &mut Workspace,
        inputs: Vec<Tensor<'a>>,
        system: SystemSize,
    ) -> std::result::Result<Vec<Tensor<'a>>, Fault> {
        let constants: Vec<Tensor<'a>> = self.constants.iter().map(Constant::tensor).collect();
        let mut values: Vec<Option<Tensor<'a>>> = inputs.into_iter().map(Some).collect();
        values.resize_with(self.slots, || None);
        for step in &self.steps {
            let sizes: Axes = step.sizes.iter().map(|extent| extent.size_at(system)).collect();
            let find = |argument: &Argument| match *argument {
                Argument::Slot(slot) => values[slot].as_ref(),
                Argument::Constant(number) => constants.get(number),
            };
            let operands: Option<Vec<&Tensor<'a>>> = step.arguments.iter().map(find).collect();
            let start = profile::clock();
            let value = step.operation.run(set, workspace, &operands.ok_or(Fault::Mismatch)?, sizes, system)?;
            profile::note(start, step.operation.kind());
            if value.sizes() != sizes {
                return Err(Fault::Mismatch);
            }
            values[step.slot] = Some(value);
            for &slot in &step.done {
                if let Some(value) = values[slot].take() {
                    workspace.give_back(value);
                }
            }
        }
        self.results.iter().map(|result| values[result.slot].clone().ok_or(Fault::Mismatch)).collect()
    }
}

impl Constant {
    fn tensor(&self) -> Tensor<'_> {
        let sizes = Axes::new(&self.sizes);
        match &self.numbers {
            Numbers::Floats(x) => Tensor::Floats(Array::borrowed(x, sizes)),
            Numbers::Integers(x) => Tensor::Integers(Array::borrowed(x, sizes)),
            Numbers::Booleans(x) => Tensor::Booleans(Array::borrowed(x, sizes)),
        }
    }
}

/// A product whose result goes to nothing but the sum with a constant row becomes one operator with it.
fn with_biases(nodes: &[LocalNode], facts: &HashMap<String, Fact>, wanted: &HashSet<&str>) -> Vec<LocalNode> {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    for operand in nodes.iter().flat_map(|node| &node.operands) {
        if let Operand::Rows(name) = operand {
            *readers.entry(name).or_insert(0) += 1;
        }
    }
    let mut fused: Vec<LocalNode> = Vec::with_capacity(nodes.len());
    let mut makers: HashMap<String, usize> = HashMap::new();
    for node in nodes {
        let bias = bias_of(node, facts).and_then(|(product, bias)| {
            let alone = readers.get(product) == Some(&1) && !wanted.contains(product);
            let maker = *makers.get(product).filter(|_| alone)?;
            match &fused[maker].operation {
                Operation::Product(panels, None) if panels.n == bias.len() => {
                    Some((maker, Operation::Product(panels.clone(), Some(bias.into()))))
                }
                _ => None,
            }
        });
        match bias {
            Some((maker, operation)) => {
                fused[maker].operation = operation;
                fused[maker].output.clone_from(&node.output);
                makers.insert(node.output.clone(), maker);
            }
            None => {
                makers.insert(node.output.clone(), fused.len());
                fused.push(node.clone());
            }
        }
    }
    fused
}

/// If `node` adds a constant row to something: what that is, and the row.
fn bias_of<'a>(node: &'a LocalNode, facts: &'a HashMap<String, Fact>) -> Option<(&'a str, &'a [f32])> {
    let (name, constant) = match (&node.operation, node.operands.as_slice()) {
        (Operation::Arithmetic(Arithmetic::Add), [Operand::Rows(name), Operand::Constant(constant)])
        | (Operation::Arithmetic(Arithmetic::Add), [Operand::Constant(constant), Operand::Rows(name)]) => {
            (name, constant)
        }
        _ => return None,
    };
    let fact = facts.get(constant)?;
    match &fact.content {
        Content::Fixed(Numbers::Floats(row)) if fact.sizes.len() == 1 => Some((name, row)),
        _ => None,
    }
}

/// True for a mean over slots, which depends on how many there are.
fn counts_slots(node: &LocalNode, facts: &HashMap<String, Fact>) -> bool {
    let (Operation::Reduce(Reduction::Mean, axes), [Operand::Rows(name)]) = (&node.operation, node.operands.as_slice())
    else {
        return false;
    };
    facts.get(name).is_none_or(|fact| axes.iter().any(|&axis| fact.sizes[axis].depends_on_slots()))
}

#[derive(Default)]
struct Builder {
    sources: Vec<Source>,
    constants: Vec<Constant>,
    known_constants: HashMap<Operand, usize>,
    steps: Vec<Step>,
    /// Slots of what the steps make, counted from zero, by name.
    made: HashMap<String, usize>,
    /// Arguments of the steps, with sources and steps counted apart.
    arguments: Vec<Vec<Found>>,
    needs_all_slots: bool,
}

#[derive(Clone, Copy)]
enum Found {
    Source(usize),
    Made(usize),
    Constant(usize),
}

impl Builder {
    fn add(&mut self, node: &LocalNode, facts: &HashMap<String, Fact>) -> Option<()> {
        let find = |(place, operand)| {
            self.find(operand, facts, place == 0 && matches!(node.operation, Operation::Gather | Operation::LookUp))
        };
        let arguments: Option<Vec<Found>> = node.operands.iter().enumerate().map(find).collect();
        let fact = facts.get(&node.output)?;
        let bytes = match fact.element {
            Element::Bool => 1,
            Element::Float => 4,
            Element::Int32 | Element::Int64 => 8,
        };
        self.arguments.push(arguments?);
        self.made.insert(node.output.clone(), self.steps.len());
        let sizes = fact.sizes.clone();
        let operation = node.operation.clone();
        self.steps.push(Step { operation, arguments: Vec::new(), slot: 0, sizes, bytes, done: Vec::new() });
        Some(())
    }

    /// `is_table`: rows of it are looked up, so that all of it must be there.
    fn find(&mut self, operand: &Operand, facts: &HashMap<String, Fact>, is_table: bool) -> Option<Found> {
        match operand {
            Operand::Rows(name) => match self.made.get(name) {
                Some(&step) => Some(Found::Made(step)),
                None => Some(Found::Source(self.source(name, facts, true, false)?)),
            },
            Operand::Whole(name) => Some(Found::Source(self.source(name, facts, false, is_table)?)),
            Operand::Constant(name) => {
                if let Some(&number) = self.known_constants.get(operand) {
                    return Some(Found::Constant(number));
                }
                let fact = facts.get(name)?;
                let fixed = |extents: &[Extent]| extents.iter().map(|extent| extent.fixed as usize).collect();
                let (numbers, sizes) = match &fact.content {
                    Content::Fixed(numbers) => (numbers, fixed(&fact.sizes)),
                    Content::Uniform(numbers) => (numbers, Vec::new()),
                    Content::Repeated(numbers) => {
                        let varies = fact.sizes.iter().rposition(|extent| !extent.is_fixed())?;
                        (numbers, fixed(&fact.sizes[varies + 1..]))
                    }
                    _ => return None,
                };
                let number = self.constants.len();
                self.constants.push(Constant { numbers: numbers.clone(), sizes });
                self.known_constants.insert(operand.clone(), number);
                Some(Found::Constant(number))
            }
        }
    }

    fn source(&mut self, name: &str, facts: &HashMap<String, Fact>, by_rows: bool, is_table: bool) -> Option<usize> {
        let fact = facts.get(name)?;
        let rows = if by_rows { Some(fact.row_axis()?) } else { None };
        let slots = match fact.slot_axis() {
            // The rows of a table keep their sizes.
            _ if is_table => {
                self.needs_all_slots |= fact.sizes.iter().skip(1).any(|extent| extent.depends_on_slots());
                None
            }
            Ok(axis) => axis,
            Err(_) => {
                self.needs_all_slots = true;
                None
            }
        };
        let source = Source { name: name.to_owned(), element: fact.element, rows, slots };
        match self.sources.iter().position(|known| *known == source) {
            Some(place) => Some(place),
            None => {
                self.sources.push(source);
                Some(self.sources.len() - 1)
            }
        }
    }

    fn finish(mut self, nodes: &[LocalNode], facts: &HashMap<String, Fact>, wanted: &HashSet<&str>) -> Option<Program> {
        let first = self.sources.len();
        let mut last_use: HashMap<usize, usize> = HashMap::new();
        for (number, (step, found)) in self.steps.iter_mut().zip(&self.arguments).enumerate() {
            step.slot = first + number;
            let argument = |found: &Found| match *found {
                Found::Source(place) => Argument::Slot(place),
                Found::Made(step) => Argument::Slot(first + step),
                Found::Constant(number) => Argument::Constant(number),
            };
            step.arguments = found.iter().map(argument).collect();
            last_use.insert(step.slot, number);
            for argument in &step.arguments {
                if let Argument::Slot(slot) = *argument {
                    last_use.insert(slot, number);
                }
            }
        }
        let mut results = Vec::new();
        for node in nodes.iter().filter(|node| wanted.contains(node.output.as_str())) {
            let (slot, fact) = (first + self.made.get(&node.output)?, facts.get(&node.output)?);
            let (name, rows, sizes) = (node.output.clone(), fact.row_axis()?, fact.sizes.clone());
            self.needs_all_slots |= fact.slot_axis().is_err();
            let slots = fact.slot_axis().unwrap_or(None);
            results.push(Result { name, element: fact.element, sizes, rows, slots, slot });
            last_use.remove(&slot);
        }
        let slots = first + self.steps.len();
        for (slot, number) in last_use {
            self.steps[number].done.push(slot);
        }
        let takes_fewer_slots = !self.needs_all_slots && !nodes.iter().any(|node| counts_slots(node, facts));
        Some(Program {
            sources: self.sources,
            results,
            constants: self.constants,
            steps: self.steps,
            slots,
            takes_fewer_slots,
        })
    }
}
