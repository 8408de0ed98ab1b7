//! Operators that move numbers and leave them as they are.

use super::tensor::{Array, Axes, Nest, Number, SLACK, Workspace};

/// The numbers of `x` in row-major order without gaps; a copy where they are not.
pub(in crate::kernels) fn compacted<'a, T: Number>(workspace: &mut Workspace, x: &Array<'a, T>) -> Array<'a, T> {
    if x.contiguous().is_some() {
        return x.view(x.sizes, x.sizes.row_major(), 0);
    }
    let mut out = T::take(workspace, x.sizes.count());
    copy(x, x.sizes.row_major(), &mut out);
    Array::owned(out, x.sizes)
}

/// The same, with at least [`SLACK`] numbers behind the last one.
pub(in crate::kernels) fn with_slack<'a, T: Number>(workspace: &mut Workspace, x: &Array<'a, T>) -> Array<'a, T> {
    let x = compacted(workspace, x);
    if x.numbers().len() < x.sizes.count() + SLACK { x.into_static(workspace) } else { x }
}

impl<T: Number> Array<'_, T> {
    /// A copy that borrows from nobody.
    pub(in crate::kernels) fn into_static<'b>(self, workspace: &mut Workspace) -> Array<'b, T> {
        let mut out = T::take(workspace, self.sizes.count());
        copy(&self, self.sizes.row_major(), &mut out);
        Array::owned(out, self.sizes)
    }
}

/// Writes the numbers of `x` to places of `strides`.
pub(in crate::kernels) fn copy<T: Number>(x: &Array<'_, T>, strides: Axes, out: &mut [T]) {
    let mut nest = Nest::new(&x.sizes, [x.strides, strides]);
    let (from, n) = (x.numbers(), nest.inner);
    let exchanged = nest.outer().iter().position(|&(size, [step, _])| step == 1 && (size >= 8 || size == 3));
    if let (Some(axis), [step, 1]) = (exchanged.filter(|_| n >= 8), nest.inner_strides)
        && step > 1
    {
        // Its rows are the columns of what is written.
        let (rows, [_, to]) = nest.take(axis);
        nest.for_each(|[i, o]| transpose([rows, n], (&from[i..], step), (&mut out[o..], to)));
        return;
    }
    match nest.inner_strides {
        [1, 1] => nest.for_each(|[i, o]| out[o..o + n].copy_from_slice(&from[i..i + n])),
        [0, 1] => nest.for_each(|[i, o]| out[o..o + n].fill(from[i])),
        [step, to] => nest.for_each(|[i, o]| {
            for t in 0..n {
                out[o + t * to] = from[i + t * step];
            }
        }),
    }
}

/// `to[r·stride + c] = from[c·step + r]` for all rows r and columns c.
pub(in crate::kernels) fn transpose<T: Number>(
    [rows, columns]: [usize; 2],
    (from, step): (&[T], usize),
    (to, stride): (&mut [T], usize),
) {
    if (rows, step) == (3, 3) {
        // Vectors in space.
        let (x, rest) = to.split_at_mut(stride);
        let (y, z) = rest.split_at_mut(stride);
        let vectors = from.as_chunks::<3>().0[..columns].iter();
        for (((v, x), y), z) in vectors.zip(x).zip(y).zip(z) {
            (*x, *y, *z) = (v[0], v[1], v[2]);
        }
        return;
    }
    if rows < 4 || columns < 4 {
        for r in 0..rows {
            for c in 0..columns {
                to[r * stride + c] = from[c * step + r];
            }
        }
        return;
    }
    // The last four columns and rows may lie over those before them.
    for first in (0..columns).step_by(4).map(|first| first.min(columns - 4)) {
        let four = [0, 1, 2, 3].map(|c| &from[(first + c) * step..][..rows]);
        T::write_columns(four, (&mut to[first..], stride));
        if rows % 4 > 0 {
            T::write_columns(four.map(|column| &column[rows - 4..]), (&mut to[(rows - 4) * stride + first..], stride));
        }
    }
}

/// Arrays side by side along `axis`.
pub(in crate::kernels) fn concatenate<'a, T: Number>(
    workspace: &mut Workspace,
    parts: &[&Array<'_, T>],
    axis: usize,
    sizes: Axes,
) -> Array<'a, T> {
    let mut out = T::take(workspace, sizes.count());
    let strides = sizes.row_major();
    let mut first = 0;
    for part in parts.iter().filter(|part| part.sizes.count() > 0) {
        copy(part, strides, &mut out[first * strides[axis]..]);
        first += part.sizes[axis];
    }
    Array::owned(out, sizes)
}

/// Why an index cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct OutOfRange;

/// Place of an index that may count from the end.
fn place(index: i64, size: usize) -> Result<usize, OutOfRange> {
    let from_start = if index < 0 { index + size as i64 } else { index };
    usize::try_from(from_start).ok().filter(|&at| at < size).ok_or(OutOfRange)
}

/// Rows of `x` along its first axis, at `index`.
pub(in crate::kernels) fn gather<'a, T: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    index: &Array<'_, i64>,
    sizes: Axes,
) -> Result<Array<'a, T>, OutOfRange> {
    let source = compacted(workspace, x);
    let index = compacted(workspace, index);
    let count = index.sizes.count();
    let (rows, row) = (x.sizes[0], x.sizes[1..].iter().product::<usize>());
    let mut out = T::take(workspace, sizes.count());
    let (from, index) = (source.numbers(), &index.numbers()[..count]);
    if row == 1 {
        for (out, &i) in out.iter_mut().zip(index) {
            *out = from[place(i, rows)?];
        }
    } else {
        for (out, &i) in out.chunks_exact_mut(row.max(1)).zip(index) {
            let at = place(i, rows)?;
            out.copy_from_slice(&from[at * row..(at + 1) * row]);
        }
    }
    Ok(Array::owned(out, sizes))
}

/// One number of `x` for each of `index`, whose place along `axis` it is.
pub(in crate::kernels) fn gather_elements<'a, T: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    index: &Array<'_, i64>,
    axis: usize,
) -> Result<Array<'a, T>, OutOfRange> {
    let index = compacted(workspace, index);
    let sizes = index.sizes;
    let mut out = T::take(workspace, sizes.count());
    // Along `axis` the index says where to read.
    let nest = Nest::new(&sizes, [sizes.row_major(), x.strides.with(axis, 0)]);
    let (from, step, rows) = (x.numbers(), x.strides[axis], x.sizes[axis]);
    let mut result = Ok(());
    let [at_index, at_x] = nest.inner_strides;
    nest.for_each(|[i, j]| {
        for t in 0..nest.inner {
            let o = i + t * at_index;
            match place(index.numbers()[o], rows) {
                Ok(at) => out[o] = from[j + t * at_x + at * step],
                Err(e) => result = Err(e),
            }
        }
    });
    result.map(|()| Array::owned(out, sizes))
}

/// `x` amid numbers of `value`, with so many of them `before` along each axis.
pub(in crate::kernels) fn pad<'a, T: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    before: &[usize],
    value: T,
    sizes: Axes,
) -> Array<'a, T> {
    let mut out = T::take(workspace, sizes.count());
    out[..sizes.count()].fill(value);
    let strides = sizes.row_major();
    let first: usize = before.iter().zip(strides.iter()).map(|(b, s)| b * s).sum();
    if x.sizes.count() > 0 {
        copy(x, strides, &mut out[first..]);
    }
    Array::owned(out, sizes)
}

/// Numbers of the table `x` at the places that the last axis of `index` gives, one index for each axis of `x`.
pub(in crate::kernels) fn look_up<'a, T: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    index: &Array<'_, i64>,
    sizes: Axes,
) -> Result<Array<'a, T>, OutOfRange> {
    let index = compacted(workspace, index);
    let depth = x.sizes.len();
    let (from, count) = (x.numbers(), index.sizes.count());
    let mut out = T::take(workspace, sizes.count());
    for (out, places) in out.iter_mut().zip(index.numbers()[..count].chunks_exact(depth.max(1))) {
        let mut at = 0;
        for (axis, &i) in places.iter().enumerate() {
            at += place(i, x.sizes[axis])? * x.strides[axis];
        }
        *out = from[at];
    }
    Ok(Array::owned(out, sizes))
}

/// The parts of `x` along its first axis at `places`, amid numbers of `value`.
pub(in crate::kernels) fn put<'a, T: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    places: &[i64],
    value: T,
    sizes: Axes,
) -> Result<Array<'a, T>, OutOfRange> {
    let mut out = T::take(workspace, sizes.count());
    out[..sizes.count()].fill(value);
    let strides = sizes.row_major();
    let part = x.sizes.with(0, 1);
    for (k, &at) in places.iter().enumerate().take(x.sizes[0]) {
        let first = place(at, sizes[0])? * strides[0];
        copy(&x.view(part, x.strides, k * x.strides[0]), strides, &mut out[first..]);
    }
    Ok(Array::owned(out, sizes))
}
