//! A stage as a custom operator of ONNX Runtime.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::{TensorElementType, ValueRef, ValueRefMut};

use super::program::Program;
use crate::kernels::graph::extent::SystemSize;
use crate::kernels::graph::facts::Element;
use crate::kernels::operators::movement::copy;
use crate::kernels::operators::simd::{FlushToZero, InstructionSet};
use crate::kernels::operators::tensor::{Array, Axes, Nest, Tensor, Workspace};

/// A program under the name by which the graph calls it.
pub(in crate::kernels) struct StageOperator {
    pub(in crate::kernels) name: String,
    pub(in crate::kernels) program: Arc<Program>,
    pub(in crate::kernels) set: InstructionSet,
}

pub(in crate::kernels) struct StageKernel {
    program: Arc<Program>,
    set: InstructionSet,
    workspaces: Mutex<Vec<Workspace>>,
}

impl Operator for StageOperator {
    type Kernel<'attr> = StageKernel;

    fn name(&self) -> &str {
        &self.name
    }

    /// The sources of the program, then the mask, which says how many atoms and slots there are.
    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let types = self.program.sources.iter().map(|source| type_of(source.element));
        types.chain([TensorElementType::Bool]).map(OperatorInput::required).collect::<Vec<_>>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let types = self.program.results.iter().map(|result| type_of(result.element));
        types.map(OperatorOutput::required).collect::<Vec<_>>()
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<StageKernel> {
        Ok(StageKernel { program: self.program.clone(), set: self.set, workspaces: Mutex::default() })
    }
}

fn type_of(element: Element) -> TensorElementType {
    match element {
        Element::Float => TensorElementType::Float32,
        Element::Int32 => TensorElementType::Int32,
        Element::Int64 => TensorElementType::Int64,
        Element::Bool => TensorElementType::Bool,
    }
}

/// All numbers of an input.
enum Whole<'a> {
    Floats(&'a [f32]),
    Integers(&'a [i64]),
    /// A 32-bit input in 64 bits, as kernels want it.
    Converted(Vec<i64>),
    Booleans(&'a [bool]),
}

struct Input<'a> {
    shape: Vec<usize>,
    rows: Option<usize>,
    slots: Option<usize>,
    numbers: Whole<'a>,
}

/// All numbers of an output, which blocks write to, each in its own part.
struct Target<T> {
    start: *mut T,
    count: usize,
}

// SAFETY: blocks write to parts that do not overlap, and nobody reads before all are done.
#[allow(unsafe_code)]
unsafe impl<T> Sync for Target<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T> Send for Target<T> {}

impl<T> Target<T> {
    fn new(numbers: &mut [T]) -> Self {
        Self { start: numbers.as_mut_ptr(), count: numbers.len() }
    }

    /// Writes the numbers of `x` from the place `first` on at these strides.
    #[allow(unsafe_code)]
    fn write(&self, x: &Array<'_, T>, first: usize, strides: Axes) -> Option<()>
    where
        T: Copy,
    {
        let nest = Nest::new(&x.sizes, [x.strides, strides]);
        let ([step, stride], from, n) = (nest.inner_strides, x.numbers(), nest.inner);
        let mut fits = true;
        nest.for_each(|[i, o]| {
            let start = first + o;
            if n == 0 || start + (n - 1) * stride >= self.count {
                fits &= n == 0;
                return;
            }
            // SAFETY: within the numbers of an output that outlives the run of the kernel; each block of atoms writes to its
            // own rows alone, once. What is read lies in another array.
            unsafe {
                match (step, stride) {
                    (1, 1) => self.start.add(start).copy_from_nonoverlapping(from[i..i + n].as_ptr(), n),
                    _ => (0..n).for_each(|t| self.start.add(start + t * stride).write(from[i + t * step])),
                }
            }
        });
        fits.then_some(())
    }
}

enum Output {
    Floats(Target<f32>),
    Int32(Target<i32>),
    Int64(Target<i64>),
    Booleans(Target<bool>),
}

fn refused(what: &str) -> ort::Error {
    ort::Error::new(format!("a kernel {what}; run with kernels='off' and report it"))
}

impl Kernel for StageKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        // ONNX Runtime calls this through an interface that no panic may cross.
        catch_unwind(AssertUnwindSafe(|| self.run(context))).unwrap_or_else(|_| Err(refused("panicked")))
    }
}

impl StageKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let sources = &self.program.sources;
        let mut values: Vec<ValueRef<'_>> = Vec::with_capacity(sources.len() + 1);
        for place in 0..=sources.len() {
            values.push(context.input(place)?.ok_or_else(|| refused("lacks an input"))?);
        }
        let mask = shape_of(&values[sources.len()])?;
        let [atoms, slots] = mask[..] else { return Err(refused("was given a mask of other axes")) };
        let whole = SystemSize { atoms, slots };
        let mut inputs = Vec::with_capacity(sources.len());
        for (source, value) in sources.iter().zip(&values) {
            inputs.push(Input {
                shape: shape_of(value)?,
                rows: source.rows,
                slots: source.slots,
                numbers: numbers_of(value, source.element)?,
            });
        }
        let mut held: Vec<ValueRefMut<'_>> = Vec::with_capacity(self.program.results.len());
        for (place, result) in self.program.results.iter().enumerate() {
            let shape: Vec<i64> = result.sizes.iter().map(|extent| extent.at(whole)).collect();
            held.push(context.output(place, shape)?.ok_or_else(|| refused("lacks an output"))?);
        }
        let mut outputs = Vec::with_capacity(held.len());
        for (value, result) in held.iter_mut().zip(&self.program.results) {
            outputs.push(output_of(value, result.element)?);
        }
        if atoms == 0 {
            return Ok(());
        }
        let blocks = atoms.div_ceil(self.program.block_atoms(slots));
        let each = atoms.div_ceil(blocks);
        let degrees = match self.program.takes_fewer_slots {
            true => degrees(values[sources.len()].try_extract_tensor::<bool>()?.1, slots),
            false => vec![slots; atoms],
        };
        let failed = AtomicBool::new(false);
        let blocks = atoms.div_ceil(each);
        context.par_for(blocks, blocks, |block| {
            let rows = block * each..atoms.min((block + 1) * each);
            let most = degrees[rows.clone()].iter().max().map_or(slots, |&most| most);
            let run = || self.run_block(&inputs, &outputs, rows, whole, most);
            let result = catch_unwind(AssertUnwindSafe(run));
            if !matches!(result, Ok(Some(()))) {
                failed.store(true, Ordering::Relaxed);
            }
        })?;
        if failed.load(Ordering::Relaxed) {
            Err(refused("met sizes or indices that do not go together"))
        } else {
            Ok(())
        }
    }

    fn run_block(
        &self,
        inputs: &[Input<'_>],
        outputs: &[Output],
        rows: Range<usize>,
        whole: SystemSize,
        most: usize,
    ) -> Option<()> {
        let _flush = FlushToZero::begin();
        let taken = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = taken.unwrap_or_default();
        // One slot without an edge shows what the others without one would give.
        let system = SystemSize { atoms: rows.len(), slots: whole.slots.min(most + 1) };
        let unused = whole.slots - system.slots;
        let mut tensors = Vec::with_capacity(inputs.len());
        for input in inputs {
            tensors.push(input.block(&rows, whole.atoms, unused)?);
        }
        let made = self.program.run(self.set, &mut workspace, tensors, system).ok()?;
        for ((tensor, output), result) in made.into_iter().zip(outputs).zip(&self.program.results) {
            let of =
                |system: SystemSize| -> Axes { result.sizes.iter().map(|extent| extent.size_at(system)).collect() };
            let (sizes, strides) = (of(system), of(whole).row_major());
            let first = rows.start * (sizes[result.rows] / rows.len()) * strides[result.rows];
            output.write(&tensor, first, strides)?;
            if let Some(axis) = result.slots.filter(|_| unused > 0) {
                let rest = last_repeated(&tensor, axis, unused);
                output.write(&rest, first + sizes[axis] * strides[axis], strides)?;
            }
            workspace.give_back(tensor);
        }
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        Some(())
    }
}

impl Input<'_> {
    /// What a block of atoms reads of it.
    fn block(&self, rows: &Range<usize>, atoms: usize, unused: usize) -> Option<Tensor<'_>> {
        let all = Axes::new(&self.shape);
        let mut sizes = all;
        if let Some(axis) = self.slots {
            sizes = sizes.with(axis, sizes[axis].checked_sub(unused)?);
        }
        let whole = match &self.numbers {
            Whole::Floats(x) => Tensor::Floats(Array::borrowed(x, all).view(sizes, all.row_major(), 0)),
            Whole::Integers(x) => Tensor::Integers(Array::borrowed(x, all).view(sizes, all.row_major(), 0)),
            Whole::Converted(x) => Tensor::Integers(Array::borrowed(x, all).view(sizes, all.row_major(), 0)),
            Whole::Booleans(x) => Tensor::Booleans(Array::borrowed(x, all).view(sizes, all.row_major(), 0)),
        };
        let Some(axis) = self.rows else { return Some(whole) };
        let each = self.shape.get(axis).filter(|size| *size % atoms == 0)? / atoms;
        Some(rows_of(whole, axis, rows.start * each, rows.len() * each))
    }
}

/// The places `from..from + count` along an axis.
fn rows_of(tensor: Tensor<'_>, axis: usize, from: usize, count: usize) -> Tensor<'_> {
    fn part<'a, T: Clone>(x: &Array<'a, T>, axis: usize, from: usize, count: usize) -> Array<'a, T> {
        let sizes = x.sizes.with(axis, count);
        // An empty array has no first number.
        let skip = if sizes.count() == 0 { 0 } else { from * x.strides[axis] };
        x.view(sizes, x.strides, skip)
    }
    match tensor {
        Tensor::Floats(x) => Tensor::Floats(part(&x, axis, from, count)),
        Tensor::Integers(x) => Tensor::Integers(part(&x, axis, from, count)),
        Tensor::Booleans(x) => Tensor::Booleans(part(&x, axis, from, count)),
    }
}

/// How many slots from the first on each atom needs: up to its last edge.
fn degrees(mask: &[bool], slots: usize) -> Vec<usize> {
    let degree = |row: &[bool]| row.iter().rposition(|&is_edge| is_edge).map_or(0, |last| last + 1);
    mask.chunks_exact(slots.max(1)).map(degree).collect()
}

/// The last place of `tensor` along `axis`, `count` times.
fn last_repeated<'a>(tensor: &Tensor<'a>, axis: usize, count: usize) -> Tensor<'a> {
    fn repeat<'a, T: Clone>(x: &Array<'a, T>, axis: usize, count: usize) -> Array<'a, T> {
        let skip = (x.sizes[axis] - 1) * x.strides[axis];
        x.view(x.sizes.with(axis, count), x.strides.with(axis, 0), skip)
    }
    match tensor {
        Tensor::Floats(x) => Tensor::Floats(repeat(x, axis, count)),
        Tensor::Integers(x) => Tensor::Integers(repeat(x, axis, count)),
        Tensor::Booleans(x) => Tensor::Booleans(repeat(x, axis, count)),
    }
}

impl Output {
    /// Writes what a block of atoms gave, from the place `first` on at these strides.
    fn write(&self, tensor: &Tensor<'_>, first: usize, strides: Axes) -> Option<()> {
        let sizes = tensor.sizes();
        match (self, tensor) {
            (Self::Floats(target), Tensor::Floats(x)) => target.write(x, first, strides),
            (Self::Int64(target), Tensor::Integers(x)) => target.write(x, first, strides),
            (Self::Booleans(target), Tensor::Booleans(x)) => target.write(x, first, strides),
            (Self::Int32(target), Tensor::Integers(x)) => {
                let mut wide = vec![0; sizes.count()];
                copy(x, sizes.row_major(), &mut wide);
                let narrow = wide.into_iter().map(|x| x as i32).collect();
                target.write(&Array::owned(narrow, sizes), first, strides)
            }
            _ => None,
        }
    }
}

fn shape_of(value: &ValueRef<'_>) -> ort::Result<Vec<usize>> {
    Ok(value.shape().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect())
}

fn numbers_of<'a>(value: &'a ValueRef<'_>, element: Element) -> ort::Result<Whole<'a>> {
    Ok(match element {
        Element::Float => Whole::Floats(value.try_extract_tensor::<f32>()?.1),
        Element::Int64 => Whole::Integers(value.try_extract_tensor::<i64>()?.1),
        Element::Int32 => Whole::Converted(value.try_extract_tensor::<i32>()?.1.iter().map(|&i| i.into()).collect()),
        Element::Bool => Whole::Booleans(value.try_extract_tensor::<bool>()?.1),
    })
}

fn output_of(value: &mut ValueRefMut<'_>, element: Element) -> ort::Result<Output> {
    Ok(match element {
        Element::Float => Output::Floats(Target::new(value.try_extract_tensor_mut::<f32>()?.1)),
        Element::Int64 => Output::Int64(Target::new(value.try_extract_tensor_mut::<i64>()?.1)),
        Element::Int32 => Output::Int32(Target::new(value.try_extract_tensor_mut::<i32>()?.1)),
        Element::Bool => Output::Booleans(Target::new(value.try_extract_tensor_mut::<bool>()?.1)),
    })
}
