//! Sums, means, extrema and softmax along axes.

use super::functions::exp;
use super::movement::{compacted, with_slack};
use super::simd::{InstructionSet, for_each_set};
use super::tensor::{Array, Axes, Number, Workspace};

/// What becomes of the numbers along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
}

/// Partial sums: number k goes to sum k mod 16, so that the result does not depend on the width of a register.
const LANES: usize = 16;

/// `reduction` of `x` along `axes` (ascending), to an array of `sizes`.
pub(in crate::kernels) fn reduce<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    reduction: Reduction,
    axes: &[usize],
    x: &Array<'_, f32>,
    sizes: Axes,
) -> Array<'a, f32> {
    let count: usize = axes.iter().map(|&axis| x.sizes[axis]).product();
    let mut left: Vec<usize> = x.sizes.to_vec();
    let mut current: Option<Array<'_, f32>> = None;
    // One run of neighbouring axes after the other, the last first.
    let mut rest = axes;
    while let Some((&last, _)) = rest.split_last() {
        let run = rest.iter().rev().zip((0..=last).rev()).take_while(|&(&axis, wanted)| axis == wanted).count();
        let first = last + 1 - run;
        rest = &rest[..rest.len() - run];
        let shape =
            [left[..first].iter().product(), left[first..=last].iter().product(), left[last + 1..].iter().product()];
        let source = current.as_ref().unwrap_or(x);
        let source = with_slack(workspace, source);
        let mut out = f32::take(workspace, shape[0] * shape[2]);
        let scale = if reduction == Reduction::Mean && rest.is_empty() { 1.0 / count as f32 } else { 1.0 };
        along(set, reduction, shape, scale, source.numbers(), &mut out);
        left[first..=last].fill(1);
        current = Some(Array::owned(out, Axes::new(&left)));
    }
    match current {
        Some(done) => done.view(sizes, sizes.row_major(), 0),
        None => compacted(workspace, &x.view(sizes, x.strides, 0)).into_static(workspace),
    }
}

for_each_set! {
    /// Along the middle axis of `[outer, count, inner]`.
    fn along(reduction: Reduction, shape: [usize; 3], scale: f32, x: &[f32], out: &mut [f32]) {
        match reduction {
            Reduction::Sum | Reduction::Mean => fold(shape, x, out, 0.0, |a, b| a + b),
            Reduction::Max => fold(shape, x, out, f32::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a }),
            Reduction::Min => fold(shape, x, out, f32::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a }),
        }
        if scale != 1.0 {
            for x in &mut out[..shape[0] * shape[2]] {
                *x *= scale;
            }
        }
    }
}

#[inline(always)]
fn fold([outer, count, inner]: [usize; 3], x: &[f32], out: &mut [f32], start: f32, f: impl Fn(f32, f32) -> f32 + Copy) {
    if count == 0 || inner == 0 {
        return out[..outer * inner].fill(start);
    }
    if inner == 1 {
        let tail = Tail::new(count);
        for (row, out) in out[..outer].iter_mut().enumerate() {
            *out = fold_row(&x[row * count..], count, &tail, start, f);
        }
        return;
    }
    if inner == 3 {
        // Vectors in space: three numbers are too few for a loop.
        let (x, out) = (x.as_chunks::<3>().0, out.as_chunks_mut::<3>().0);
        for (rows, out) in x.chunks_exact(count).zip(&mut out[..outer]) {
            *out = rows.iter().fold([start; 3], |a, b| [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2])]);
        }
        return;
    }
    for (rows, out) in x.chunks_exact(count * inner).zip(out[..outer * inner].chunks_exact_mut(inner)) {
        out.fill(start);
        for row in rows.chunks_exact(inner) {
            for (out, x) in out.iter_mut().zip(row) {
                *out = f(*out, *x);
            }
        }
    }
}

/// The first `count` numbers of `x`.
#[inline(always)]
fn fold_row(x: &[f32], count: usize, tail: &Tail, start: f32, f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    // The same as below with zeros for the rest.
    if let [a, b, c] = x[..count] {
        return f(f(a, c), b);
    }
    let mut lanes = [start; LANES];
    let whole = count - count % LANES;
    for at in (0..whole).step_by(LANES) {
        fold_sixteen(&mut lanes, sixteen(x, at), f);
    }
    if whole < count {
        fold_sixteen(&mut lanes, &tail.own(sixteen(x, whole), start), f);
    }
    across(lanes, f)
}

#[inline(always)]
fn fold_sixteen(lanes: &mut [f32; LANES], x: &[f32; LANES], f: impl Fn(f32, f32) -> f32 + Copy) {
    for lane in 0..LANES {
        lanes[lane] = f(lanes[lane], x[lane]);
    }
}

/// Softmax along the last axis.
pub(in crate::kernels) fn softmax<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    x: &Array<'_, f32>,
) -> Array<'a, f32> {
    let row = x.sizes.last().copied().unwrap_or(1);
    let source = with_slack(workspace, x);
    let mut out = f32::take(workspace, x.sizes.count());
    softmax_rows(set, row, x.sizes.count(), source.numbers(), &mut out);
    Array::owned(out, x.sizes)
}

for_each_set! {
    fn softmax_rows(row: usize, count: usize, x: &[f32], out: &mut [f32]) {
        let tail = Tail::new(row);
        let whole = row - row % LANES;
        let larger = |a, b| if b > a { b } else { a };
        for first in (0..count).step_by(row.max(1)) {
            let (x, out) = (&x[first..], &mut out[first..]);
            let mut most = [f32::NEG_INFINITY; LANES];
            for at in (0..whole).step_by(LANES) {
                fold_sixteen(&mut most, sixteen(x, at), larger);
            }
            if whole < row {
                fold_sixteen(&mut most, &tail.own(sixteen(x, whole), f32::NEG_INFINITY), larger);
            }
            let largest = across(most, larger);
            let mut sum = [0.0; LANES];
            for at in (0..whole).step_by(LANES) {
                let weights = weights(sixteen(x, at), largest);
                fold_sixteen(&mut sum, &weights, |a, b| a + b);
                *sixteen_mut(out, at) = weights;
            }
            if whole < row {
                let weights = weights(&tail.own(sixteen(x, whole), f32::NEG_INFINITY), largest);
                fold_sixteen(&mut sum, &weights, |a, b| a + b);
                // What this writes beyond the row is written again with the next one.
                *sixteen_mut(out, whole) = weights;
            }
            let inverse = 1.0 / across(sum, |a, b| a + b);
            for at in (0..row).step_by(LANES) {
                let weights = sixteen_mut(out, at);
                for lane in 0..LANES {
                    weights[lane] *= inverse;
                }
            }
        }
    }
}

/// The last sixteen numbers of a row: all bits are set where they are its own, none where they are the next row's.
struct Tail([u32; LANES]);

impl Tail {
    /// For rows of so many numbers.
    fn new(count: usize) -> Self {
        let mut own = [0; LANES];
        own[..count % LANES].fill(u32::MAX);
        Self(own)
    }

    /// The last sixteen numbers, where `rest` stands for those of the next row.
    #[inline(always)]
    fn own(&self, x: &[f32; LANES], rest: f32) -> [f32; LANES] {
        let mut own = [0.0; LANES];
        for lane in 0..LANES {
            own[lane] = f32::from_bits(x[lane].to_bits() & self.0[lane] | rest.to_bits() & !self.0[lane]);
        }
        own
    }
}

/// Sixteen numbers from `at` on, which are there: buffers end with [`super::tensor::SLACK`].
#[inline(always)]
fn sixteen(x: &[f32], at: usize) -> &[f32; LANES] {
    &x[at..at + LANES].as_chunks().0[0]
}

#[inline(always)]
fn sixteen_mut(x: &mut [f32], at: usize) -> &mut [f32; LANES] {
    let x = &mut x[at..at + LANES];
    &mut x.as_chunks_mut().0[0]
}

/// Numbers of all lanes brought together: first with ninth and so on.
#[inline(always)]
fn across(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for lane in 0..8 {
        eight[lane] = f(lanes[lane], lanes[lane + 8]);
    }
    for lane in 0..4 {
        four[lane] = f(eight[lane], eight[lane + 4]);
    }
    f(f(four[0], four[2]), f(four[1], four[3]))
}

/// e to the power of each number less the largest. What is negligible becomes zero at once.
#[inline(always)]
fn weights(x: &[f32; LANES], largest: f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        let difference = x[lane] - largest;
        let weight = exp(difference);
        out[lane] = if difference < -80.0 { 0.0 } else { weight };
    }
    out
}

/// Place of the smallest number along `axis` of `[outer, count, inner]`, the first of equals.
pub(in crate::kernels) fn place_of_smallest<'a>(
    workspace: &mut Workspace,
    x: &Array<'_, f32>,
    axis: usize,
    sizes: Axes,
) -> Array<'a, i64> {
    let source = compacted(workspace, x);
    let x = source.numbers();
    let (count, inner) = (source.sizes[axis], source.sizes[axis + 1..].iter().product::<usize>());
    let mut out = i64::take(workspace, sizes.count());
    for (at, out) in out[..sizes.count()].iter_mut().enumerate() {
        let first = at / inner * count * inner + at % inner;
        let mut best = 0;
        for k in 1..count {
            if x[first + k * inner] < x[first + best * inner] {
                best = k;
            }
        }
        *out = best as i64;
    }
    Array::owned(out, sizes)
}
