//! Sums, means, extrema and softmax along axes.

use super::functions::exp;
use super::movement::compacted;
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
        let source = compacted(workspace, source);
        let mut out = f32::take(workspace, shape[0] * shape[2]);
        let scale = if reduction == Reduction::Mean && rest.is_empty() { 1.0 / count as f32 } else { 1.0 };
        along(set, reduction, shape, scale, &source.numbers()[..shape.iter().product()], &mut out);
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
    if inner == 1 {
        for (row, out) in x.chunks_exact(count.max(1)).zip(&mut out[..outer]) {
            *out = fold_row(row, start, f);
        }
        return;
    }
    for (rows, out) in x.chunks_exact((count * inner).max(1)).zip(out.chunks_exact_mut(inner)) {
        out.fill(start);
        for row in rows.chunks_exact(inner) {
            for (out, x) in out.iter_mut().zip(row) {
                *out = f(*out, *x);
            }
        }
    }
}

#[inline(always)]
fn fold_row(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    // The same as below with zeros for the rest.
    if let [a, b, c] = *row {
        return f(f(a, c), b);
    }
    let mut lanes = [start; LANES];
    for at in (0..row.len()).step_by(LANES) {
        let x = sixteen(row, at, row.len() - at, start);
        for lane in 0..LANES {
            lanes[lane] = f(lanes[lane], x[lane]);
        }
    }
    across(lanes, f)
}

/// Softmax along the last axis.
pub(in crate::kernels) fn softmax<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    x: &Array<'_, f32>,
) -> Array<'a, f32> {
    let row = x.sizes.last().copied().unwrap_or(1);
    let source = compacted(workspace, x);
    let mut out = f32::take(workspace, x.sizes.count());
    softmax_rows(set, row, &source.numbers()[..x.sizes.count()], &mut out);
    Array::owned(out, x.sizes)
}

for_each_set! {
    fn softmax_rows(row: usize, x: &[f32], out: &mut [f32]) {
        for first in (0..x.len()).step_by(row.max(1)) {
            let mut most = [f32::NEG_INFINITY; LANES];
            for at in (0..row).step_by(LANES) {
                let x = sixteen(x, first + at, row - at, f32::NEG_INFINITY);
                for lane in 0..LANES {
                    most[lane] = if x[lane] > most[lane] { x[lane] } else { most[lane] };
                }
            }
            let largest = across(most, |a, b| if b > a { b } else { a });
            let mut sum = [0.0; LANES];
            for at in (0..row).step_by(LANES) {
                let x = sixteen(x, first + at, row - at, f32::NEG_INFINITY);
                let weights = weights(&x, largest);
                for lane in 0..LANES {
                    sum[lane] += weights[lane];
                }
                put_sixteen(out, first + at, row - at, weights);
            }
            let inverse = 1.0 / across(sum, |a, b| a + b);
            for out in &mut out[first..first + row] {
                *out *= inverse;
            }
        }
    }
}

/// Sixteen numbers from `at` on, of which those from `count` on are `rest`.
#[inline(always)]
fn sixteen(x: &[f32], at: usize, count: usize, rest: f32) -> [f32; LANES] {
    let mut numbers = match x[at..].first_chunk::<LANES>() {
        Some(x) => *x,
        None => last_sixteen(&x[at..], rest),
    };
    if count < LANES {
        for (lane, x) in numbers.iter_mut().enumerate() {
            *x = if (lane as u32) < count as u32 { *x } else { rest };
        }
    }
    numbers
}

/// Fewer than sixteen numbers, filled up.
#[cold]
#[inline(never)]
fn last_sixteen(x: &[f32], rest: f32) -> [f32; LANES] {
    let mut numbers = [rest; LANES];
    numbers[..x.len()].copy_from_slice(x);
    numbers
}

/// Writes `count` of these numbers from `at` on, or all sixteen where what follows is written later.
#[inline(always)]
fn put_sixteen(out: &mut [f32], at: usize, count: usize, numbers: [f32; LANES]) {
    match out[at..].first_chunk_mut::<LANES>() {
        Some(out) => *out = numbers,
        None => put_last(&mut out[at..at + count.min(LANES)], &numbers),
    }
}

#[cold]
#[inline(never)]
fn put_last(out: &mut [f32], numbers: &[f32; LANES]) {
    out.copy_from_slice(&numbers[..out.len()]);
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
