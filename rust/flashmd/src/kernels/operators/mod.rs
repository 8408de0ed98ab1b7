//! The operators that kernels run, on a block of atoms at a time.

pub(in crate::kernels) mod elementwise;
mod functions;
#[cfg(test)]
mod instructions;
pub(in crate::kernels) mod matmul;
pub(in crate::kernels) mod movement;
pub(in crate::kernels) mod reduce;
pub(in crate::kernels) mod simd;
pub(in crate::kernels) mod tensor;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::kernels::graph::Numbers;
use crate::kernels::graph::extent::{Extent, SystemSize};
use crate::kernels::graph::facts::Element;
use crate::kernels::profile::Kind;
use elementwise::{Arithmetic, Comparison, Function, Logic};
use matmul::Panels;
use movement::OutOfRange;
use reduce::Reduction;
use simd::InstructionSet;
use tensor::{Array, Axes, Number, Tensor, Workspace};

/// What is added to every row of a product.
pub(in crate::kernels) type Bias = Arc<[f32]>;

/// An operator with its settings; sizes of results are given from outside.
#[derive(Debug, Clone)]
pub(in crate::kernels) enum Operation {
    Function(Function),
    Arithmetic(Arithmetic),
    Compare(Comparison),
    Decide(Logic),
    Not,
    Select,
    Cast(Element),
    Reshape,
    Transpose(Vec<usize>),
    Expand,
    /// Axis, first place (from the end where it is negative) and step.
    Slice(Vec<(usize, Extent, usize)>),
    /// Along an axis, of which the parts have these sizes.
    Concatenate(usize, Vec<Extent>),
    /// Rows of the first operand at the second.
    Gather,
    /// These places along an axis.
    Take(usize, Vec<i64>),
    GatherElements(usize),
    /// Numbers of the first operand at the places that the last axis of the second gives.
    LookUp,
    /// Parts at these places along the first axis, amid a number.
    Place(Vec<i64>, f32),
    /// Number of what is off, and of what is on.
    OneHot(Numbers),
    /// So many numbers before along each axis, and which.
    Pad(Vec<usize>, f32),
    Reduce(Reduction, Vec<usize>),
    PlaceOfSmallest(usize),
    Softmax,
    Product(Arc<Panels>, Option<Bias>),
    Batched,
}

/// Why an operator cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Fault {
    /// An index beyond the end.
    OutOfRange,
    /// Types or sizes that do not go together.
    Mismatch,
}

impl From<OutOfRange> for Fault {
    fn from(_: OutOfRange) -> Self {
        Self::OutOfRange
    }
}

/// The same expression for arrays of each type.
macro_rules! of_any_type {
    ($tensor:expr, $x:ident => $body:expr) => {
        match $tensor {
            Tensor::Floats($x) => Tensor::Floats($body),
            Tensor::Integers($x) => Tensor::Integers($body),
            Tensor::Booleans($x) => Tensor::Booleans($body),
        }
    };
}

type Run<'a> = Result<Tensor<'a>, Fault>;

impl Operation {
    /// What bounds it.
    pub(in crate::kernels) fn kind(&self) -> Kind {
        match self {
            Self::Product(..) | Self::Batched => Kind::Product,
            Self::Function(_)
            | Self::Arithmetic(_)
            | Self::Compare(_)
            | Self::Decide(_)
            | Self::Not
            | Self::Select
            | Self::Cast(_) => Kind::Elementwise,
            Self::Reduce(..) | Self::Softmax | Self::PlaceOfSmallest(_) => Kind::Sum,
            Self::Reshape
            | Self::Transpose(_)
            | Self::Expand
            | Self::Slice(_)
            | Self::Concatenate(..)
            | Self::Gather
            | Self::Take(..)
            | Self::GatherElements(_)
            | Self::LookUp
            | Self::Place(..)
            | Self::OneHot(_)
            | Self::Pad(..) => Kind::Movement,
        }
    }

    /// The result, of these sizes.
    pub(in crate::kernels) fn run<'a>(
        &self,
        set: InstructionSet,
        workspace: &mut Workspace,
        operands: &[&Tensor<'a>],
        sizes: Axes,
        system: SystemSize,
    ) -> Run<'a> {
        match (self, operands) {
            (Self::Function(f), [Tensor::Floats(x)]) => Ok(Tensor::Floats(elementwise::apply(set, workspace, *f, x))),
            (Self::Arithmetic(a), [Tensor::Floats(x), Tensor::Floats(y)]) => {
                Ok(Tensor::Floats(elementwise::combine(set, workspace, *a, (x, y), sizes)))
            }
            (Self::Arithmetic(a), [Tensor::Integers(x), Tensor::Integers(y)]) => {
                Ok(Tensor::Integers(elementwise::combine_integers(workspace, *a, (x, y), sizes)))
            }
            (Self::Compare(c), operands) => compare(workspace, *c, operands, sizes),
            (Self::Decide(logic), [Tensor::Booleans(x), Tensor::Booleans(y)]) => {
                Ok(Tensor::Booleans(elementwise::decide(workspace, *logic, (x, y), sizes)))
            }
            (Self::Not, [Tensor::Booleans(x)]) => Ok(Tensor::Booleans(elementwise::convert(workspace, x, |x| !x))),
            (Self::Select, [Tensor::Booleans(c), rest @ ..]) => select(set, workspace, c, rest, sizes),
            (Self::Cast(element), [x]) => Ok(cast(workspace, *element, x)),
            (Self::Reshape, [x]) => Ok(viewed(workspace, x, sizes)),
            (Self::Transpose(order), [x]) => Ok(transposed(x, order)),
            (Self::Expand, [x]) => Ok(expanded(x, sizes)),
            (Self::Slice(cuts), [x]) => sliced(x, cuts, sizes, system),
            (Self::Concatenate(axis, parts), operands) => {
                let full = |(part, extent): (&&Tensor<'a>, &Extent)| match part.sizes().len() {
                    // One number stands for all.
                    0 => expanded(part, sizes.with(*axis, extent.size_at(system))),
                    _ => (*part).clone(),
                };
                let parts: Vec<Tensor<'a>> = operands.iter().zip(parts).map(full).collect();
                concatenate(workspace, &parts.iter().collect::<Vec<_>>(), *axis, sizes)
            }
            (Self::Gather, [x, Tensor::Integers(index)]) => gather(workspace, x, index, sizes),
            (Self::Take(axis, places), [x]) => take(workspace, x, *axis, places, sizes),
            (Self::GatherElements(axis), [x, Tensor::Integers(index)]) => gather_elements(workspace, x, index, *axis),
            (Self::LookUp, [x, Tensor::Integers(index)]) => {
                Ok(of_any_type!(x, x => movement::look_up(workspace, x, index, sizes)?))
            }
            (Self::Place(places, value), [Tensor::Floats(x)]) => {
                Ok(Tensor::Floats(movement::put(workspace, x, places, *value, sizes)?))
            }
            (Self::OneHot(values), [Tensor::Integers(x)]) => one_hot(workspace, x, values, sizes),
            (Self::Pad(before, value), [Tensor::Floats(x)]) => {
                Ok(Tensor::Floats(movement::pad(workspace, x, before, *value, sizes)))
            }
            (Self::Reduce(reduction, axes), [Tensor::Floats(x)]) => {
                Ok(Tensor::Floats(reduce::reduce(set, workspace, *reduction, axes, x, sizes)))
            }
            (Self::PlaceOfSmallest(axis), [Tensor::Floats(x)]) => {
                Ok(Tensor::Integers(reduce::place_of_smallest(workspace, x, *axis, sizes)))
            }
            (Self::Softmax, [Tensor::Floats(x)]) => Ok(Tensor::Floats(reduce::softmax(set, workspace, x))),
            (Self::Product(panels, bias), [Tensor::Floats(x)]) if x.sizes.last() == Some(&panels.k) => {
                Ok(Tensor::Floats(matmul::with_constant(set, workspace, x, panels, bias.as_deref(), sizes)))
            }
            (Self::Batched, [Tensor::Floats(x), Tensor::Floats(y)]) => batched(set, workspace, (x, y), sizes),
            _ => Err(Fault::Mismatch),
        }
    }
}

fn compare<'a>(workspace: &mut Workspace, c: Comparison, operands: &[&Tensor<'a>], sizes: Axes) -> Run<'a> {
    match operands {
        [Tensor::Floats(x), Tensor::Floats(y)] => {
            Ok(Tensor::Booleans(elementwise::compare(workspace, c, (x, y), sizes)))
        }
        [Tensor::Integers(x), Tensor::Integers(y)] => {
            Ok(Tensor::Booleans(elementwise::compare(workspace, c, (x, y), sizes)))
        }
        [Tensor::Booleans(x), Tensor::Booleans(y)] => {
            Ok(Tensor::Booleans(elementwise::compare(workspace, c, (x, y), sizes)))
        }
        _ => Err(Fault::Mismatch),
    }
}

fn select<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    condition: &Array<'a, bool>,
    operands: &[&Tensor<'a>],
    sizes: Axes,
) -> Run<'a> {
    match operands {
        [Tensor::Floats(x), Tensor::Floats(y)] => {
            Ok(Tensor::Floats(elementwise::select_floats(set, workspace, condition, (x, y), sizes)))
        }
        [Tensor::Integers(x), Tensor::Integers(y)] => {
            Ok(Tensor::Integers(elementwise::select(workspace, condition, (x, y), sizes)))
        }
        [Tensor::Booleans(x), Tensor::Booleans(y)] => {
            Ok(Tensor::Booleans(elementwise::select(workspace, condition, (x, y), sizes)))
        }
        _ => Err(Fault::Mismatch),
    }
}

fn cast<'a>(workspace: &mut Workspace, element: Element, x: &Tensor<'a>) -> Tensor<'a> {
    match (x, element) {
        (Tensor::Floats(_), Element::Float)
        | (Tensor::Integers(_), Element::Int32 | Element::Int64)
        | (Tensor::Booleans(_), Element::Bool) => x.clone(),
        (Tensor::Integers(x), Element::Float) => Tensor::Floats(elementwise::convert(workspace, x, |x| x as f32)),
        (Tensor::Booleans(x), Element::Float) => {
            Tensor::Floats(elementwise::convert(workspace, x, |x| f32::from(u8::from(x))))
        }
        (Tensor::Floats(x), Element::Int32 | Element::Int64) => {
            Tensor::Integers(elementwise::convert(workspace, x, |x| x as i64))
        }
        (Tensor::Booleans(x), Element::Int32 | Element::Int64) => {
            Tensor::Integers(elementwise::convert(workspace, x, i64::from))
        }
        (Tensor::Floats(x), Element::Bool) => Tensor::Booleans(elementwise::convert(workspace, x, |x| x != 0.0)),
        (Tensor::Integers(x), Element::Bool) => Tensor::Booleans(elementwise::convert(workspace, x, |x| x != 0)),
    }
}

/// The same numbers in other sizes.
fn viewed<'a>(workspace: &mut Workspace, x: &Tensor<'a>, sizes: Axes) -> Tensor<'a> {
    of_any_type!(x, x => movement::compacted(workspace, x).view(sizes, sizes.row_major(), 0))
}

fn transposed<'a>(x: &Tensor<'a>, order: &[usize]) -> Tensor<'a> {
    let turned = |axes: &Axes| order.iter().map(|&axis| axes[axis]).collect::<Axes>();
    of_any_type!(x, x => x.view(turned(&x.sizes), turned(&x.strides), 0))
}

fn expanded<'a>(x: &Tensor<'a>, sizes: Axes) -> Tensor<'a> {
    of_any_type!(x, x => x.view(sizes, x.broadcast_strides(&sizes), 0))
}

fn sliced<'a>(x: &Tensor<'a>, cuts: &[(usize, Extent, usize)], sizes: Axes, system: SystemSize) -> Run<'a> {
    let mut first = vec![0; sizes.len()];
    let mut steps = vec![1; sizes.len()];
    for &(axis, start, step) in cuts {
        let size = x.sizes()[axis];
        let start = start.at(system);
        let start = if start < 0 { start + size as i64 } else { start };
        first[axis] = usize::try_from(start.max(0)).map_err(|_| Fault::Mismatch)?.min(size);
        steps[axis] = step;
        if sizes[axis] > 0 && first[axis] + (sizes[axis] - 1) * step >= size {
            return Err(Fault::Mismatch);
        }
    }
    // Nothing is left: there is no first number to begin at.
    if sizes.count() == 0 {
        first.fill(0);
    }
    let skip = |strides: &Axes| -> usize { first.iter().zip(strides.iter()).map(|(f, s)| f * s).sum() };
    let stepped = |strides: &Axes| strides.iter().zip(&steps).map(|(stride, step)| stride * step).collect::<Axes>();
    Ok(of_any_type!(x, x => x.view(sizes, stepped(&x.strides), skip(&x.strides))))
}

fn concatenate<'a>(workspace: &mut Workspace, parts: &[&Tensor<'a>], axis: usize, sizes: Axes) -> Run<'a> {
    /// The parts as arrays of one type.
    macro_rules! parts_of {
        ($variant:ident) => {{
            let arrays: Option<Vec<_>> =
                parts.iter().map(|part| if let Tensor::$variant(x) = part { Some(x) } else { None }).collect();
            let arrays = arrays.ok_or(Fault::Mismatch)?;
            if arrays.iter().map(|part| part.sizes[axis]).sum::<usize>() != sizes[axis] {
                return Err(Fault::Mismatch);
            }
            Ok(Tensor::$variant(movement::concatenate(workspace, &arrays, axis, sizes)))
        }};
    }
    match parts.first() {
        Some(Tensor::Floats(_)) => parts_of!(Floats),
        Some(Tensor::Integers(_)) => parts_of!(Integers),
        Some(Tensor::Booleans(_)) => parts_of!(Booleans),
        None => Err(Fault::Mismatch),
    }
}

fn gather<'a>(workspace: &mut Workspace, x: &Tensor<'a>, index: &Array<'a, i64>, sizes: Axes) -> Run<'a> {
    Ok(of_any_type!(x, x => movement::gather(workspace, x, index, sizes)?))
}

fn gather_elements<'a>(workspace: &mut Workspace, x: &Tensor<'a>, index: &Array<'a, i64>, axis: usize) -> Run<'a> {
    Ok(of_any_type!(x, x => movement::gather_elements(workspace, x, index, axis)?))
}

fn take<'a>(workspace: &mut Workspace, x: &Tensor<'a>, axis: usize, places: &[i64], sizes: Axes) -> Run<'a> {
    let size = x.sizes()[axis];
    let from_start = |&place: &i64| {
        let at = if place < 0 { place + size as i64 } else { place };
        usize::try_from(at).ok().filter(|&at| at < size).ok_or(Fault::OutOfRange)
    };
    let places: Vec<usize> = places.iter().map(from_start).collect::<Result<_, _>>()?;
    let one = x.sizes().with(axis, 1);
    let parts: Vec<Tensor<'a>> =
        places.iter().map(|place| of_any_type!(x, x => x.view(one, x.strides, place * x.strides[axis]))).collect();
    match parts.as_slice() {
        // An axis of one place may be there or not; the strides of the others stay.
        [part] => Ok(of_any_type!(part, part => without_or_with(part, axis, sizes))),
        parts => {
            let joined = x.sizes().with(axis, places.len());
            let every: Vec<&Tensor<'a>> = parts.iter().collect();
            let joined = concatenate(workspace, &every, axis, joined)?;
            Ok(viewed(workspace, &joined, sizes))
        }
    }
}

fn without_or_with<'a, T: Clone>(part: &Array<'a, T>, axis: usize, sizes: Axes) -> Array<'a, T> {
    if sizes.len() == part.sizes.len() {
        return part.view(sizes, part.strides, 0);
    }
    let strides = (0..part.sizes.len()).filter(|&other| other != axis).map(|other| part.strides[other]).collect();
    part.view(sizes, strides, 0)
}

fn one_hot<'a>(workspace: &mut Workspace, x: &Array<'a, i64>, values: &Numbers, sizes: Axes) -> Run<'a> {
    fn write<'a, T: Number>(
        workspace: &mut Workspace,
        x: &Array<'_, i64>,
        [off, on]: [T; 2],
        sizes: Axes,
    ) -> Array<'a, T> {
        let depth = sizes.last().copied().unwrap_or(1);
        let x = movement::compacted(workspace, x);
        let mut out = T::take(workspace, sizes.count());
        out[..sizes.count()].fill(off);
        for (row, &index) in out.chunks_exact_mut(depth.max(1)).zip(&x.numbers()[..x.sizes.count()]) {
            let index = if index < 0 { index + depth as i64 } else { index };
            if let Some(place) = usize::try_from(index).ok().and_then(|index| row.get_mut(index)) {
                *place = on;
            }
        }
        Array::owned(out, sizes)
    }
    match values {
        Numbers::Floats(v) if v.len() == 2 => Ok(Tensor::Floats(write(workspace, x, [v[0], v[1]], sizes))),
        Numbers::Integers(v) if v.len() == 2 => Ok(Tensor::Integers(write(workspace, x, [v[0], v[1]], sizes))),
        Numbers::Booleans(v) if v.len() == 2 => Ok(Tensor::Booleans(write(workspace, x, [v[0], v[1]], sizes))),
        _ => Err(Fault::Mismatch),
    }
}

fn batched<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    (x, y): (&Array<'a, f32>, &Array<'a, f32>),
    sizes: Axes,
) -> Run<'a> {
    // A vector is a matrix of one column.
    let column = y.sizes.len() == 1;
    let with_column = |axes: &Axes, last: usize| axes.iter().copied().chain([last]).collect::<Axes>();
    let y = if column { y.view(with_column(&y.sizes, 1), with_column(&y.strides, 1), 0) } else { y.clone() };
    let full = if column { with_column(&sizes, 1) } else { sizes };
    let rank = full.len();
    let (xs, ys) = (x.sizes, y.sizes);
    let is_sound = xs.len() >= 2
        && ys.len() >= 2
        && xs[xs.len() - 1] == ys[ys.len() - 2]
        && xs[xs.len() - 2] == full[rank - 2]
        && ys[ys.len() - 1] == full[rank - 1];
    if !is_sound {
        return Err(Fault::Mismatch);
    }
    let product = matmul::batched(set, workspace, (x, &y), full);
    Ok(Tensor::Floats(product.view(sizes, sizes.row_major(), 0)))
}
