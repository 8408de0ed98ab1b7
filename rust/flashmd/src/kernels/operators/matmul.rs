//! Products of matrices in blocks that stay in registers.
//!
//! The second factor is packed in panels of 16 or 32 columns, so that a tile of up to twelve rows and one panel is a loop over
//! multiply-adds of registers. Every number is one chain of multiply-adds in the order of the sum, whatever the
//! instruction set, the tile and the number of rows.

use super::movement::{compacted, transpose};
use super::simd::{InstructionSet, for_each_set};
use super::tensor::{Array, Axes, Number, Workspace};
use crate::kernels::profile::note_product;

/// Numbers of one vector.
type Lanes = [f32; 16];

/// A second factor `[k, n]` in panels.
#[derive(Debug, Clone)]
pub(in crate::kernels) struct Panels {
    pub(in crate::kernels) k: usize,
    pub(in crate::kernels) n: usize,
    vectors: usize,
    numbers: Vec<Lanes>,
}

/// Vectors in a row of a panel: two where there are 32 registers and more than one vector's columns.
fn vectors(set: InstructionSet, n: usize) -> usize {
    if set == InstructionSet::Avx2 || n <= 16 { 1 } else { 2 }
}

impl Panels {
    /// Packs row-major `[k, n]`.
    pub(in crate::kernels) fn new(set: InstructionSet, b: &[f32], k: usize, n: usize) -> Self {
        let mut numbers = Vec::new();
        let vectors = vectors(set, n);
        pack(b, [n, 1], [k, n], vectors, &mut numbers);
        Self { k, n, vectors, numbers }
    }

    /// Bytes that a product reads.
    pub(in crate::kernels) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.numbers.as_slice())
    }
}

/// Sixteens that the panels of a second factor take.
fn panel_length([k, n]: [usize; 2], vectors: usize) -> usize {
    n.div_ceil(16 * vectors) * k * vectors
}

/// Packs `b[l·strides[0] + j·strides[1]]` into panels. What stands beyond the last column is of no account.
fn pack(b: &[f32], strides: [usize; 2], [k, n]: [usize; 2], vectors: usize, into: &mut Vec<Lanes>) {
    let width = 16 * vectors;
    let count = panel_length([k, n], vectors);
    if into.len() < count {
        into.resize(count, [0.0; 16]);
    }
    for (panel, rows) in into[..count].chunks_exact_mut((k * vectors).max(1)).enumerate() {
        let first = panel * width;
        for v in (0..vectors).filter(|v| first + 16 * v < n) {
            let columns = first + 16 * v..n.min(first + 16 * (v + 1));
            match strides {
                [1, step] if step > 1 => {
                    let to = (&mut rows.as_flattened_mut()[16 * v..], width);
                    transpose([k, columns.len()], (&b[columns.start * step..], step), to);
                }
                [step, 1] => pack_rows(&b[columns.start..], step, columns.len(), rows[v..].iter_mut().step_by(vectors)),
                [down, across] => {
                    for (l, row) in rows[v..].iter_mut().step_by(vectors).enumerate() {
                        for (lane, j) in columns.clone().enumerate() {
                            row[lane] = b[l * down + j * across];
                        }
                    }
                }
            }
        }
    }
}

/// Rows whose numbers follow one another.
fn pack_rows<'a>(b: &[f32], step: usize, count: usize, rows: impl Iterator<Item = &'a mut Lanes>) {
    for (l, row) in rows.enumerate() {
        let from = &b[l * step..];
        match from.first_chunk() {
            Some(whole) => *row = *whole,
            None => row[..count].copy_from_slice(&from[..count]),
        }
    }
}

/// First factor `[m, k]` with its strides, the panels of the second, and what is added to every row.
struct Product<'a> {
    a: &'a [f32],
    strides: [usize; 2],
    m: usize,
    k: usize,
    n: usize,
    vectors: usize,
    panels: &'a [Lanes],
    bias: Option<&'a [f32]>,
}

#[inline(always)]
fn multiply_add(x: f32, b: &Lanes, sum: &mut Lanes) {
    for lane in 0..16 {
        sum[lane] = x.mul_add(b[lane], sum[lane]);
    }
}

/// Writes sums, each row with `bias` added and `stride` numbers after the one before.
#[inline(always)]
fn write_tile<const ROWS: usize, const VECTORS: usize>(
    sum: &[[Lanes; VECTORS]; ROWS],
    bias: &[Lanes; VECTORS],
    (out, stride): (&mut [f32], usize),
) {
    for r in 0..ROWS {
        let row = &mut out[r * stride..][..16 * VECTORS];
        for v in 0..VECTORS {
            for lane in 0..16 {
                row[16 * v + lane] = sum[r][v][lane] + bias[v][lane];
            }
        }
    }
}

for_each_set! {
    /// Rows `from..from + ROWS` of the product with one panel, where the numbers of a row follow one another.
    fn rows_tile<const ROWS: usize, const VECTORS: usize>(
        p: &Product<'_>,
        from: usize,
        panel: &[[Lanes; VECTORS]],
        bias: &[Lanes; VECTORS],
        out: (&mut [f32], usize),
    ) {
        let mut sum = [[[0.0; 16]; VECTORS]; ROWS];
        let (k, stride) = (panel.len(), p.strides[0]);
        let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &p.a[(from + r) * stride..][..k];
        }
        for (l, b) in panel.iter().enumerate() {
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    multiply_add(rows[r][l], &b[v], &mut sum[r][v]);
                }
            }
        }
        write_tile(&sum, bias, out);
    }
}

for_each_set! {
    /// The same where those of a column follow one another.
    fn columns_tile<const ROWS: usize, const VECTORS: usize>(
        p: &Product<'_>,
        from: usize,
        panel: &[[Lanes; VECTORS]],
        bias: &[Lanes; VECTORS],
        out: (&mut [f32], usize),
    ) {
        let mut sum = [[[0.0; 16]; VECTORS]; ROWS];
        for (l, b) in panel.iter().enumerate() {
            let start = l * p.strides[1] + from;
            let column = &p.a[start..start + ROWS];
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    multiply_add(column[r], &b[v], &mut sum[r][v]);
                }
            }
        }
        write_tile(&sum, bias, out);
    }
}

fn rows<const ROWS: usize, const VECTORS: usize>(set: InstructionSet, p: &Product<'_>, from: usize, out: &mut [f32]) {
    let (panels, _) = p.panels.as_chunks::<VECTORS>();
    for (number, panel) in panels.chunks_exact(p.k.max(1)).enumerate() {
        let first = number * 16 * VECTORS;
        let width = (16 * VECTORS).min(p.n - first);
        let mut bias = [[0.0; 16]; VECTORS];
        if let Some(numbers) = p.bias {
            bias.as_flattened_mut()[..width].copy_from_slice(&numbers[first..first + width]);
        }
        let run = |to: (&mut [f32], usize)| match p.strides[1] {
            1 => rows_tile::<ROWS, VECTORS>(set, p, from, panel, &bias, to),
            _ => columns_tile::<ROWS, VECTORS>(set, p, from, panel, &bias, to),
        };
        // What a row writes beyond its end, the next one overwrites, if there is no other panel.
        let target = &mut out[from * p.n + first..];
        let fits = (ROWS - 1) * p.n + 16 * VECTORS <= target.len();
        if width == 16 * VECTORS || (first == 0 && fits) {
            run((target, p.n));
            continue;
        }
        let mut sums = [[[0.0; 16]; VECTORS]; ROWS];
        run((sums.as_flattened_mut().as_flattened_mut(), 16 * VECTORS));
        for (r, sum) in sums.iter().enumerate() {
            out[(from + r) * p.n + first..][..width].copy_from_slice(&sum.as_flattened()[..width]);
        }
    }
}

/// All rows, in tiles of nearly equal height.
fn tiles<const VECTORS: usize>(set: InstructionSet, p: &Product<'_>, out: &mut [f32]) {
    // As many sums as fit into registers. More columns of a strided factor than six the compiler does not keep there.
    let most = match (set, VECTORS) {
        _ if p.strides[1] != 1 => 6,
        (InstructionSet::Avx2, _) => 6,
        (_, 1) => 12,
        _ => 8,
    };
    let count = p.m.div_ceil(most).max(1);
    let mut from = 0;
    for index in 0..count {
        let height = (p.m - from).div_ceil(count - index);
        match height {
            1 => rows::<1, VECTORS>(set, p, from, out),
            2 => rows::<2, VECTORS>(set, p, from, out),
            3 => rows::<3, VECTORS>(set, p, from, out),
            4 => rows::<4, VECTORS>(set, p, from, out),
            5 => rows::<5, VECTORS>(set, p, from, out),
            6 => rows::<6, VECTORS>(set, p, from, out),
            7 => rows::<7, VECTORS>(set, p, from, out),
            8 => rows::<8, VECTORS>(set, p, from, out),
            9 => rows::<9, VECTORS>(set, p, from, out),
            10 => rows::<10, VECTORS>(set, p, from, out),
            11 => rows::<11, VECTORS>(set, p, from, out),
            12 => rows::<12, VECTORS>(set, p, from, out),
            _ => {}
        }
        from += height;
    }
}

fn multiply(set: InstructionSet, p: &Product<'_>, out: &mut [f32]) {
    note_product([p.m, p.k, p.n]);
    if p.vectors == 2 { tiles::<2>(set, p, out) } else { tiles::<1>(set, p, out) }
}

/// x · B, or x · B + bias, with a constant B.
pub(in crate::kernels) fn with_constant<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    x: &Array<'_, f32>,
    b: &Panels,
    bias: Option<&[f32]>,
    sizes: Axes,
) -> Array<'a, f32> {
    let source = compacted(workspace, x);
    let m = source.sizes.count() / b.k.max(1);
    let mut out = f32::take(workspace, sizes.count());
    let product = Product {
        a: source.numbers(),
        strides: [b.k, 1],
        m,
        k: b.k,
        n: b.n,
        vectors: b.vectors,
        panels: &b.numbers,
        bias,
    };
    multiply(set, &product, &mut out);
    Array::owned(out, sizes)
}

/// Products of the last two axes, for every place along the axes before, along which either factor may be repeated.
pub(in crate::kernels) fn batched<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    (x, y): (&Array<'_, f32>, &Array<'_, f32>),
    sizes: Axes,
) -> Array<'a, f32> {
    let [m, n] = last_two(sizes);
    let k = x.sizes[x.sizes.len() - 1];
    let mut out = f32::take(workspace, sizes.count());
    if k == 0 {
        out[..sizes.count()].fill(0.0);
        return Array::owned(out, sizes);
    }
    let source;
    let x = match last_two(x.strides) {
        [_, 1] | [1, _] => x,
        _ => {
            source = compacted(workspace, x);
            &source
        }
    };
    let (xs, ys) = (last_two(x.strides), last_two(y.strides));
    // The stride of an axis of one number is of no account, but the row's must be one.
    let strides = if k == 1 { [xs[0], 1] } else { xs };
    let vectors = vectors(set, n);
    let mut panels = std::mem::take(&mut workspace.panels);
    let mut packed = None;
    for_each_product((x, y), &sizes, &mut out, |a, b, out| {
        if packed != Some(b.as_ptr()) {
            pack(b, ys, [k, n], vectors, &mut panels);
            packed = Some(b.as_ptr());
        }
        let panels = &panels[..panel_length([k, n], vectors)];
        multiply(set, &Product { a, strides, m, k, n, vectors, panels, bias: None }, out);
    });
    workspace.panels = panels;
    Array::owned(out, sizes)
}

/// Calls `act` with the factors and the result of each product, from their first number on.
fn for_each_product(
    (x, y): (&Array<'_, f32>, &Array<'_, f32>),
    sizes: &Axes,
    out: &mut [f32],
    mut act: impl FnMut(&[f32], &[f32], &mut [f32]),
) {
    let batch: Axes = sizes[..sizes.len() - 2].iter().copied().collect();
    let outer =
        |array: &Array<'_, f32>| array.view(head(array.sizes), head(array.strides), 0).broadcast_strides(&batch);
    let (x_outer, y_outer) = (outer(x), outer(y));
    let mut counter = [0_usize; super::tensor::MOST_AXES];
    let each = last_two(*sizes).iter().product::<usize>();
    if each == 0 {
        return;
    }
    for number in 0..batch.count() {
        let place = |strides: &Axes| -> usize { counter.iter().zip(strides.iter()).map(|(c, s)| c * s).sum() };
        act(&x.numbers()[place(&x_outer)..], &y.numbers()[place(&y_outer)..], &mut out[number * each..]);
        advance(&mut counter, &batch);
    }
}

fn last_two(axes: Axes) -> [usize; 2] {
    [axes[axes.len() - 2], axes[axes.len() - 1]]
}

/// The next place along axes of these sizes, the last first.
fn advance(counter: &mut [usize], sizes: &Axes) {
    for axis in (0..sizes.len()).rev() {
        counter[axis] += 1;
        if counter[axis] < sizes[axis] {
            break;
        }
        counter[axis] = 0;
    }
}

/// Without the last two axes.
fn head(axes: Axes) -> Axes {
    axes[..axes.len() - 2].iter().copied().collect()
}
