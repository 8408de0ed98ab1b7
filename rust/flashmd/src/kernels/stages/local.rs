//! Which operators act on each atom's rows alone, so that they can be run on a block of atoms at a time.
//!
//! A tensor one of whose sizes is a multiple of the number of atoms N, and no other depends on N, holds *rows* of each atom
//! along that axis. An operator is local if every atom's rows of its result follow from the same atom's rows of its
//! inputs, and from inputs that are the same for all. What it gives for a block of atoms is then the block's part of what it gives for all.
//! Whatever is not shown to be local is left to ONNX Runtime.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kernels::graph::extent::Extent;
use crate::kernels::graph::facts::{Content, Element, Fact};
use crate::kernels::graph::{Node, Numbers};
use crate::kernels::operators::elementwise::{Arithmetic, Comparison, Function, Logic};
use crate::kernels::operators::matmul::Panels;
use crate::kernels::operators::reduce::Reduction;
use crate::kernels::operators::simd::InstructionSet;
use crate::kernels::operators::tensor::MOST_AXES;
use crate::kernels::operators::{Bias, Operation};

/// How a local operator reads a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::kernels) enum Operand {
    /// The rows of a block of atoms.
    Rows(String),
    /// All of it.
    Whole(String),
    /// A constant of the graph.
    Constant(String),
}

/// A local operator with one result.
#[derive(Debug, Clone)]
pub(in crate::kernels) struct LocalNode {
    pub(in crate::kernels) operation: Operation,
    pub(in crate::kernels) operands: Vec<Operand>,
    pub(in crate::kernels) output: String,
}

/// The local operators that a node is; `None` if it is not local.
pub(in crate::kernels) fn local(
    node: &Node,
    facts: &HashMap<String, Fact>,
    set: InstructionSet,
) -> Option<Vec<LocalNode>> {
    let reader = Reader { node, facts };
    let is_standard = node.domain.is_empty() || node.domain == "ai.onnx";
    let outputs: Option<Vec<&Fact>> = node.outputs.iter().map(|name| facts.get(name)).collect();
    let outputs = outputs?;
    let fits = |fact: &&Fact| fact.row_axis().is_some() && fact.is_dynamic() && fact.sizes.len() <= MOST_AXES;
    if !is_standard || node.holds_graph() || outputs.is_empty() || !outputs.iter().all(fits) {
        return None;
    }
    if node.operator == "Split" {
        return reader.split(&outputs);
    }
    let [out] = outputs[..] else { return None };
    let (operation, operands) = reader.single(out, set)?;
    Some(vec![LocalNode { operation, operands, output: node.outputs[0].clone() }])
}

struct Reader<'a> {
    node: &'a Node,
    facts: &'a HashMap<String, Fact>,
}

type Found = Option<(Operation, Vec<Operand>)>;

impl Reader<'_> {
    fn single(&self, out: &Fact, set: InstructionSet) -> Found {
        let function = |f| self.elementwise(out, Operation::Function(f)).filter(|_| self.are(Element::Float));
        let arithmetic = |a| self.elementwise(out, Operation::Arithmetic(a)).filter(|_| out.element != Element::Bool);
        let compare = |c| self.elementwise(out, Operation::Compare(c));
        let decide = |logic| self.elementwise(out, Operation::Decide(logic));
        match self.node.operator.as_str() {
            "Abs" => function(Function::Abs),
            "Acos" => function(Function::Acos),
            "Ceil" => function(Function::Ceil),
            "Cos" => function(Function::Cos),
            "Exp" => function(Function::Exp),
            "Floor" => function(Function::Floor),
            "Log" => function(Function::Log),
            "Neg" => function(Function::Negate),
            "Reciprocal" => function(Function::Reciprocal),
            "Relu" => function(Function::Relu),
            "Round" => function(Function::Round),
            "Sigmoid" => function(Function::Sigmoid),
            "Sign" => function(Function::Sign),
            "Sin" => function(Function::Sin),
            "Softplus" => function(Function::Softplus),
            "Sqrt" => function(Function::Sqrt),
            "Tanh" => function(Function::Tanh),
            "Clip" => self.clip(out),
            "Add" => arithmetic(Arithmetic::Add),
            "Sub" => arithmetic(Arithmetic::Subtract),
            "Mul" => arithmetic(Arithmetic::Multiply),
            "Div" => arithmetic(Arithmetic::Divide),
            "Max" if self.node.inputs.len() == 2 => arithmetic(Arithmetic::Max),
            "Min" if self.node.inputs.len() == 2 => arithmetic(Arithmetic::Min),
            "Mod" if self.node.integer("fmod", 0) == 0 => arithmetic(Arithmetic::Remainder),
            "Pow" => self.power(out),
            "Equal" => compare(Comparison::Equal),
            "Less" => compare(Comparison::Less),
            "LessOrEqual" => compare(Comparison::LessOrEqual),
            "Greater" => compare(Comparison::Greater),
            "GreaterOrEqual" => compare(Comparison::GreaterOrEqual),
            "And" => decide(Logic::And),
            "Or" => decide(Logic::Or),
            "Xor" => decide(Logic::Xor),
            "Not" => self.elementwise(out, Operation::Not),
            "Where" => self.elementwise(out, Operation::Select),
            "Cast" => self.elementwise(out, Operation::Cast(out.element)),
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(out),
            "Transpose" => self.transpose(),
            "Expand" => self.expand(out),
            "Slice" => self.slice(),
            "Concat" => self.concatenate(out),
            "Gather" => self.gather(out),
            "GatherElements" => self.gather_elements(out),
            "GatherND" => self.look_up(out),
            "ScatterND" => self.place(out),
            "OneHot" => self.one_hot(out),
            "Pad" => self.pad(out),
            "ReduceSum" => self.reduce(Reduction::Sum),
            "ReduceMean" => self.reduce(Reduction::Mean),
            "ReduceMax" => self.reduce(Reduction::Max),
            "ReduceMin" => self.reduce(Reduction::Min),
            "ArgMin" if self.node.integer("select_last_index", 0) == 0 => self.place_of_smallest(),
            "Softmax" => self.softmax(out),
            "MatMul" => self.matmul(out, set),
            "Gemm" => self.gemm(set),
            _ => None,
        }
    }

    fn fact(&self, input: usize) -> Option<&Fact> {
        self.facts.get(self.node.inputs.get(input)?)
    }

    /// True if all inputs are of that type.
    fn are(&self, element: Element) -> bool {
        (0..self.node.inputs.len()).all(|input| self.fact(input).is_some_and(|fact| fact.element == element))
    }

    /// The input as rows.
    fn rows(&self, input: usize) -> Option<Operand> {
        let fact = self.fact(input)?;
        let is_rows = fact.is_dynamic() && fact.row_axis().is_some() && fact.sizes.len() <= MOST_AXES;
        is_rows.then(|| Operand::Rows(self.node.inputs[input].clone()))
    }

    /// The input as rows, if they lie along this axis counted from the end, in as many places.
    fn rows_along(&self, input: usize, from_end: usize, places: Extent) -> Option<Operand> {
        let fact = self.fact(input)?;
        let axis = fact.row_axis()?;
        (fact.sizes.len() - axis == from_end && fact.sizes[axis] == places).then(|| self.rows(input)).flatten()
    }

    /// What is not rows, if it is the same for all atoms.
    fn common(&self, input: usize) -> Option<Operand> {
        let (fact, name) = (self.fact(input)?, self.node.inputs[input].clone());
        match fact.content {
            _ if fact.depends_on_atoms() || fact.sizes.len() > MOST_AXES => None,
            Content::Fixed(_) => Some(Operand::Constant(name)),
            // ONNX Runtime makes it, once.
            Content::Dynamic | Content::Unknown => Some(Operand::Whole(name)),
            _ => None,
        }
    }

    fn fixed(&self, input: usize) -> Option<&Numbers> {
        match &self.fact(input)?.content {
            Content::Fixed(numbers) => Some(numbers),
            _ => None,
        }
    }

    fn floats(&self, input: usize) -> Option<&[f32]> {
        match self.fixed(input)? {
            Numbers::Floats(floats) => Some(floats),
            _ => None,
        }
    }

    fn integers(&self, input: usize) -> Option<&[i64]> {
        match self.fixed(input)? {
            Numbers::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    /// One number, whatever its sizes.
    fn scalar(&self, input: usize) -> Option<f32> {
        match &self.fact(input)?.content {
            Content::Fixed(Numbers::Floats(x)) | Content::Uniform(Numbers::Floats(x)) if x.len() == 1 => Some(x[0]),
            _ => None,
        }
    }

    fn has(&self, input: usize) -> bool {
        self.node.inputs.get(input).is_some_and(|name| !name.is_empty())
    }

    /// An input of an operator that repeats its inputs to the sizes of the result.
    fn repeated(&self, input: usize, out: &Fact) -> Option<Operand> {
        let (fact, name) = (self.fact(input)?, self.node.inputs.get(input)?.clone());
        let axis = out.row_axis()?;
        let from_end = out.sizes.len() - axis;
        // Along the rows' axis it has one place or none.
        let one_row = fact.sizes.len() < from_end || fact.sizes[fact.sizes.len() - from_end] == ONE;
        match &fact.content {
            _ if fact.sizes.len() > out.sizes.len() => None,
            Content::Uniform(_) => Some(Operand::Constant(name)),
            Content::Repeated(_) if fact.sizes.len() == from_end && fact.row_axis() == Some(0) => {
                Some(Operand::Constant(name))
            }
            _ if one_row => self.common(input),
            _ => self.rows_along(input, from_end, out.sizes[axis]),
        }
    }

    fn elementwise(&self, out: &Fact, operation: Operation) -> Found {
        let operands: Option<Vec<Operand>> = (0..self.node.inputs.len()).map(|i| self.repeated(i, out)).collect();
        Some((operation, operands?))
    }

    fn clip(&self, out: &Fact) -> Found {
        if out.element != Element::Float {
            return None;
        }
        let bound = |input: usize, none: f32| if self.has(input) { self.scalar(input) } else { Some(none) };
        let (low, high) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
        Some((Operation::Function(Function::Clamp(low, high)), vec![self.rows(0)?]))
    }

    fn power(&self, out: &Fact) -> Found {
        if self.fact(0)?.element != Element::Float {
            return None;
        }
        let exponent = match self.fixed(1) {
            Some(Numbers::Floats(x)) if x.len() == 1 => Some(x[0]),
            Some(Numbers::Integers(x)) if x.len() == 1 => Some(x[0] as f32),
            _ => None,
        };
        match exponent {
            Some(power) => Some((Operation::Function(Function::Power(power)), vec![self.rows(0)?])),
            None if self.fact(1)?.element == Element::Float => {
                self.elementwise(out, Operation::Arithmetic(Arithmetic::Power))
            }
            None => None,
        }
    }

    /// `axis` of the first input, counted from the start; `None` if it is the rows' own.
    fn inner_axis(&self, axis: i64) -> Option<usize> {
        let fact = self.fact(0)?;
        let rank = fact.sizes.len() as i64;
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
        (axis < fact.sizes.len() && fact.row_axis() != Some(axis)).then_some(axis)
    }

    fn reshape(&self, out: &Fact) -> Found {
        // Before the rows' axis nothing may change: then each atom keeps its numbers.
        let before = |fact: &Fact| -> Option<Vec<Extent>> {
            let axes = &fact.sizes[..fact.row_axis()?];
            Some(axes.iter().copied().filter(|&size| size != ONE).collect())
        };
        let same = before(self.fact(0)?)? == before(out)?;
        same.then(|| Some((Operation::Reshape, vec![self.rows(0)?]))).flatten()
    }

    fn transpose(&self) -> Found {
        let rank = self.fact(0)?.sizes.len();
        let given = self.node.integers("perm");
        let backwards = || (0..rank).rev().collect();
        let order: Vec<usize> = given.map_or_else(backwards, |axes| axes.iter().map(|&axis| axis as usize).collect());
        Some((Operation::Transpose(order), vec![self.rows(0)?]))
    }

    fn expand(&self, out: &Fact) -> Found {
        match self.fact(0)?.content {
            Content::Dynamic => Some((Operation::Expand, vec![self.repeated(0, out)?])),
            _ => None,
        }
    }

    fn slice(&self) -> Found {
        let extents = |input: usize| -> Option<Vec<Extent>> {
            match &self.fact(input)?.content {
                Content::Fixed(Numbers::Integers(x)) => Some(x.iter().map(|&x| fixed(x)).collect()),
                Content::Sizes(extents) => Some(extents.clone()),
                _ => None,
            }
        };
        let (starts, ends) = (extents(1)?, extents(2)?);
        let count = starts.len();
        let axes: Vec<i64> = if self.has(3) { self.integers(3)?.to_vec() } else { (0..count as i64).collect() };
        let steps = if self.has(4) { self.integers(4)?.to_vec() } else { vec![1; count] };
        let mut cuts = Vec::new();
        for (((start, end), &axis), &step) in starts.into_iter().zip(ends).zip(&axes).zip(&steps) {
            let step = usize::try_from(step).ok().filter(|&step| step > 0)?;
            let axis = self.inner_axis(axis)?;
            // An axis that grows reaches a fixed end at some size, which no probe may have seen.
            let reaches = end.is_fixed() && (0..ENDLESS).contains(&end.fixed);
            if reaches && !self.fact(0)?.sizes[axis].is_fixed() {
                return None;
            }
            cuts.push((axis, start, step));
        }
        Some((Operation::Slice(cuts), vec![self.rows(0)?]))
    }

    fn split(&self, outputs: &[&Fact]) -> Option<Vec<LocalNode>> {
        let axis = self.inner_axis(self.node.integer("axis", 0))?;
        let mut start = fixed(0);
        let mut nodes = Vec::new();
        for (out, name) in outputs.iter().zip(&self.node.outputs) {
            let operation = Operation::Slice(vec![(axis, start, 1)]);
            nodes.push(LocalNode { operation, operands: vec![self.rows(0)?], output: name.clone() });
            start = sum(start, out.sizes[axis]);
        }
        Some(nodes)
    }

    fn concatenate(&self, out: &Fact) -> Found {
        let rank = out.sizes.len() as i64;
        let axis = self.node.integer("axis", 0);
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
        let rows = out.row_axis().filter(|&rows| rows != axis)?;
        let part = |input: usize| match self.fact(input)?.content {
            Content::Uniform(_) => Some(Operand::Constant(self.node.inputs[input].clone())),
            _ => self.rows_along(input, out.sizes.len() - rows, out.sizes[rows]),
        };
        let operands: Option<Vec<Operand>> = (0..self.node.inputs.len()).map(part).collect();
        let sizes: Option<Vec<Extent>> =
            (0..self.node.inputs.len()).map(|input| self.fact(input).map(|fact| fact.sizes[axis])).collect();
        Some((Operation::Concatenate(axis, sizes?), operands?))
    }

    fn gather(&self, out: &Fact) -> Found {
        let data = self.fact(0)?;
        let axis = self.node.integer("axis", 0);
        let axis = if axis < 0 { axis + data.sizes.len() as i64 } else { axis };
        if axis == 0 && self.fact(1)?.is_dynamic() {
            let index = self.rows(1).filter(|_| self.fact(1).and_then(Fact::row_axis) == out.row_axis())?;
            let name = self.node.inputs[0].clone();
            let source = match data.content {
                Content::Dynamic if data.sizes.len() <= MOST_AXES => Operand::Whole(name),
                Content::Fixed(_) if data.sizes.len() <= MOST_AXES => Operand::Constant(name),
                _ => return None,
            };
            return Some((Operation::Gather, vec![source, index]));
        }
        let axis = self.inner_axis(axis)?;
        let places = self.integers(1)?.to_vec();
        let keeps = self.fact(1)?.sizes.len() <= 1;
        keeps.then(|| Some((Operation::Take(axis, places), vec![self.rows(0)?]))).flatten()
    }

    fn gather_elements(&self, out: &Fact) -> Found {
        let axis = self.inner_axis(self.node.integer("axis", 0))?;
        let rows = out.row_axis()?;
        let from_end = out.sizes.len() - rows;
        let operand = |input: usize| self.rows_along(input, from_end, out.sizes[rows]);
        Some((Operation::GatherElements(axis), vec![operand(0)?, operand(1)?]))
    }

    /// Single numbers of a table at places that all its indices give.
    fn look_up(&self, out: &Fact) -> Found {
        let (table, index) = (self.fact(0)?, self.fact(1)?);
        let depth = index.sizes.last()?.fixed as usize;
        let rows = index.row_axis().filter(|&rows| Some(rows) == out.row_axis() && rows + 1 < index.sizes.len())?;
        let is_full = self.node.integer("batch_dims", 0) == 0 && depth == table.sizes.len();
        let index = self.rows_along(1, index.sizes.len() - rows, out.sizes[rows])?;
        is_full.then(|| Some((Operation::LookUp, vec![self.common(0)?, index]))).flatten()
    }

    /// Parts put at fixed places along the first axis, amid one number.
    fn place(&self, out: &Fact) -> Found {
        let (Content::Uniform(value) | Content::Fixed(value), index) = (&self.fact(0)?.content, self.fact(1)?) else {
            return None;
        };
        let places = self.integers(1)?.to_vec();
        let is_plain = self.node.string("reduction").is_none_or(|reduction| reduction == b"none");
        let rows = out.row_axis().filter(|&rows| rows > 0)?;
        let along_first = index.sizes.len() == 2 && index.sizes[1] == ONE;
        let updates = self.rows_along(2, out.sizes.len() - rows, out.sizes[rows])?;
        let Numbers::Floats(value) = value else { return None };
        let value = *value.first().filter(|first| value.iter().all(|x| x == *first))?;
        (is_plain && along_first).then_some((Operation::Place(places, value), vec![updates]))
    }

    fn one_hot(&self, out: &Fact) -> Found {
        let axis = self.node.integer("axis", -1);
        let is_last = axis == -1 || axis == out.sizes.len() as i64 - 1;
        let whole = matches!(self.fact(0)?.element, Element::Int32 | Element::Int64);
        if !is_last || !whole || out.sizes.len() < 2 {
            return None;
        }
        let values = self.fixed(2)?.clone();
        (values.len() == 2).then_some((Operation::OneHot(values), vec![self.rows(0)?]))
    }

    fn pad(&self, out: &Fact) -> Found {
        let is_constant = self.node.string("mode").is_none_or(|mode| mode == b"constant");
        let pads = match &self.fact(1)?.content {
            Content::Fixed(Numbers::Integers(pads)) => pads,
            _ => return None,
        };
        let rank = out.sizes.len();
        let rows = out.row_axis()?;
        if !is_constant || self.has(3) || pads.len() != 2 * rank || out.element != Element::Float {
            return None;
        }
        let pads: Option<Vec<usize>> = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
        let pads = pads?;
        let value = if self.has(2) { self.scalar(2)? } else { 0.0 };
        (pads[rows] == 0 && pads[rank + rows] == 0)
            .then_some((Operation::Pad(pads[..rank].to_vec(), value), vec![self.rows(0)?]))
    }

    fn reduce(&self, reduction: Reduction) -> Found {
        let given = match self.has(1) {
            true => Some(self.integers(1)?),
            false => self.node.integers("axes"),
        };
        let axes: Option<Vec<usize>> = given?.iter().map(|&axis| self.inner_axis(axis)).collect();
        let mut axes = axes.filter(|axes| !axes.is_empty() && self.are_floats())?;
        axes.sort_unstable();
        Some((Operation::Reduce(reduction, axes), vec![self.rows(0)?]))
    }

    fn are_floats(&self) -> bool {
        self.fact(0).is_some_and(|fact| fact.element == Element::Float)
    }

    fn place_of_smallest(&self) -> Found {
        let axis = self.inner_axis(self.node.integer("axis", 0)).filter(|_| self.are_floats())?;
        Some((Operation::PlaceOfSmallest(axis), vec![self.rows(0)?]))
    }

    fn softmax(&self, out: &Fact) -> Found {
        let axis = self.inner_axis(self.node.integer("axis", -1))?;
        (axis + 1 == out.sizes.len() && self.are_floats()).then_some((Operation::Softmax, vec![self.rows(0)?]))
    }

    fn matmul(&self, out: &Fact, set: InstructionSet) -> Found {
        let (x, y) = (self.fact(0)?, self.fact(1)?);
        if x.element != Element::Float || x.sizes.len() < 2 {
            return None;
        }
        let (x_rows, out_rows) = (x.row_axis(), out.row_axis()?);
        // A constant matrix or vector: one product for all rows.
        if let (Some(b), shape @ ([_] | [_, _]), Some(axis)) = (self.floats(1), y.sizes.as_slice(), x_rows)
            && axis + 1 < x.sizes.len()
        {
            let size = |axis: usize| shape.get(axis).map_or(1, |extent| extent.fixed as usize);
            let panels = Panels::new(set, b, size(0), size(1));
            return Some((Operation::Product(Arc::new(panels), None), vec![self.rows(0)?]));
        }
        if let (Content::Repeated(Numbers::Floats(b)), [_, k, n], Some(0)) = (&y.content, y.sizes.as_slice(), x_rows)
            && x.sizes.len() == 3
            && k.is_fixed()
            && n.is_fixed()
        {
            let panels = Panels::new(set, b, k.fixed as usize, n.fixed as usize);
            return Some((Operation::Product(Arc::new(panels), None), vec![self.rows(0)?]));
        }
        let from_end = out.sizes.len() - out_rows;
        let along = |input: usize| self.rows_along(input, from_end, out.sizes[out_rows]);
        let operands = match (y.sizes.len(), from_end) {
            // A vector takes an axis away.
            (1, _) => vec![self.rows_along(0, from_end + 1, out.sizes[out_rows])?, self.common(1)?],
            // Atoms are columns, or rows of the matrix.
            (_, 1) => vec![self.common(0)?, along(1)?],
            (_, 2) => vec![along(0)?, self.common(1)?],
            _ => vec![
                along(0).or_else(|| self.one_for_all(0, from_end))?,
                along(1).or_else(|| self.one_for_all(1, from_end))?,
            ],
        };
        Some((Operation::Batched, operands))
    }

    /// A factor that has no axis of rows, or one of a single place.
    fn one_for_all(&self, input: usize, from_end: usize) -> Option<Operand> {
        let sizes = &self.fact(input)?.sizes;
        let single = sizes.len() < from_end || sizes[sizes.len() - from_end] == ONE;
        single.then(|| self.common(input)).flatten()
    }

    fn gemm(&self, set: InstructionSet) -> Found {
        let (alpha, beta) = (self.node.float("alpha", 1.0), self.node.float("beta", 1.0));
        let b = self.floats(1)?;
        let size = |axis: usize| self.fact(1).map(|fact| fact.sizes[axis].fixed as usize);
        if self.node.integer("transA", 0) != 0 || self.fact(0)?.row_axis() != Some(0) {
            return None;
        }
        let transposed = self.node.integer("transB", 0) != 0;
        let (k, n) = if transposed { (size(1)?, size(0)?) } else { (size(0)?, size(1)?) };
        let entry = |at: usize| alpha * if transposed { b[at % n * k + at / n] } else { b[at] };
        let panels = Panels::new(set, &(0..k * n).map(entry).collect::<Vec<f32>>(), k, n);
        let bias = match self.has(2) {
            true => {
                let c = self.floats(2).filter(|c| c.len() == n)?;
                Some(Bias::from(c.iter().map(|c| beta * c).collect::<Vec<f32>>()))
            }
            false => None,
        };
        Some((Operation::Product(Arc::new(panels), bias), vec![self.rows(0)?]))
    }
}

const ONE: Extent = fixed(1);
/// Ends of slices from here on mean the end of the axis.
const ENDLESS: i64 = 1 << 31;

const fn fixed(value: i64) -> Extent {
    Extent { fixed: value, per_atom: 0, per_slot: 0, per_edge: 0 }
}

fn sum(a: Extent, b: Extent) -> Extent {
    Extent {
        fixed: a.fixed + b.fixed,
        per_atom: a.per_atom + b.per_atom,
        per_slot: a.per_slot + b.per_slot,
        per_edge: a.per_edge + b.per_edge,
    }
}
