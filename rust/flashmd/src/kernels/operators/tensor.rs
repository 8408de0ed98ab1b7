//! Arrays as the kernels hold them: strided views of numbers that are shared or borrowed, and the buffers behind them.

use std::ops::Deref;
use std::rc::Rc;

use wide::f32x4;

/// Most axes of an array.
pub(in crate::kernels) const MOST_AXES: usize = 6;

/// Numbers behind the last of a buffer, so that sixteen can be read from any on.
pub(in crate::kernels) const SLACK: usize = 16;

/// Sizes or strides, one for each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct Axes {
    values: [usize; MOST_AXES],
    rank: usize,
}

impl Axes {
    /// At most [`MOST_AXES`] of `values`; what is beyond is left out.
    pub(in crate::kernels) fn new(values: &[usize]) -> Self {
        values.iter().copied().collect()
    }

    /// The strides of an array of these sizes whose last axis lies closest.
    pub(in crate::kernels) fn row_major(self) -> Self {
        let mut strides = self;
        let mut next = 1;
        for (stride, &size) in strides.values[..self.rank].iter_mut().zip(self.iter()).rev() {
            *stride = next;
            next *= size;
        }
        strides
    }

    pub(in crate::kernels) fn count(&self) -> usize {
        self.iter().product()
    }

    pub(in crate::kernels) fn with(mut self, axis: usize, value: usize) -> Self {
        self.values[axis] = value;
        self
    }
}

impl Deref for Axes {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.values[..self.rank]
    }
}

impl FromIterator<usize> for Axes {
    fn from_iter<I: IntoIterator<Item = usize>>(iter: I) -> Self {
        let mut axes = Self { values: [0; MOST_AXES], rank: 0 };
        for value in iter.into_iter().take(MOST_AXES) {
            axes.values[axes.rank] = value;
            axes.rank += 1;
        }
        axes
    }
}

#[derive(Debug, Clone)]
enum Storage<'a, T> {
    Shared(Rc<Vec<T>>),
    Borrowed(&'a [T]),
}

/// A strided view.
#[derive(Debug, Clone)]
pub(in crate::kernels) struct Array<'a, T> {
    pub(in crate::kernels) sizes: Axes,
    pub(in crate::kernels) strides: Axes,
    offset: usize,
    storage: Storage<'a, T>,
}

impl<'a, T> Array<'a, T> {
    /// `numbers` in row-major order.
    pub(in crate::kernels) fn borrowed(numbers: &'a [T], sizes: Axes) -> Self {
        Self { sizes, strides: sizes.row_major(), offset: 0, storage: Storage::Borrowed(numbers) }
    }

    /// The first numbers of `buffer`, in row-major order.
    pub(in crate::kernels) fn owned(buffer: Vec<T>, sizes: Axes) -> Self {
        Self { sizes, strides: sizes.row_major(), offset: 0, storage: Storage::Shared(Rc::new(buffer)) }
    }

    /// The numbers from the first of the view on.
    pub(in crate::kernels) fn numbers(&self) -> &[T] {
        match &self.storage {
            Storage::Shared(buffer) => &buffer[self.offset..],
            Storage::Borrowed(numbers) => &numbers[self.offset..],
        }
    }

    /// The numbers of a view in row-major order without gaps.
    pub(in crate::kernels) fn contiguous(&self) -> Option<&[T]> {
        let wanted = self.sizes.row_major();
        let axes = self.sizes.iter().zip(self.strides.iter()).zip(wanted.iter());
        let is = axes.clone().all(|((&size, stride), wanted)| size == 1 || stride == wanted);
        is.then(|| &self.numbers()[..self.sizes.count()])
    }

    /// Another view of the same numbers, which begins `skip` numbers later.
    pub(in crate::kernels) fn view(&self, sizes: Axes, strides: Axes, skip: usize) -> Self
    where
        T: Clone,
    {
        Self { sizes, strides, offset: self.offset + skip, storage: self.storage.clone() }
    }

    /// The strides as of an array of `sizes`, along which this one is repeated.
    pub(in crate::kernels) fn broadcast_strides(&self, sizes: &Axes) -> Axes {
        let missing = sizes.len() - self.sizes.len();
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if self.sizes[own] != 1 || sizes[axis] == 1 => self.strides[own],
            _ => 0,
        };
        (0..sizes.len()).map(stride).collect()
    }

    fn into_buffer(self) -> Option<Vec<T>> {
        match self.storage {
            Storage::Shared(buffer) => Rc::try_unwrap(buffer).ok(),
            Storage::Borrowed(_) => None,
        }
    }
}

/// An array of one of the types that networks use; `int32` is held as `int64`.
#[derive(Debug, Clone)]
pub(in crate::kernels) enum Tensor<'a> {
    Floats(Array<'a, f32>),
    Integers(Array<'a, i64>),
    Booleans(Array<'a, bool>),
}

impl Tensor<'_> {
    pub(in crate::kernels) fn sizes(&self) -> Axes {
        match self {
            Self::Floats(x) => x.sizes,
            Self::Integers(x) => x.sizes,
            Self::Booleans(x) => x.sizes,
        }
    }
}

/// Buffers of one thread, used again and again.
#[derive(Debug, Default)]
pub(in crate::kernels) struct Workspace {
    floats: Vec<Vec<f32>>,
    integers: Vec<Vec<i64>>,
    booleans: Vec<Vec<bool>>,
    /// Of the second factor of a product.
    pub(in crate::kernels) panels: Vec<[f32; 16]>,
}

/// A type of numbers with buffers in a workspace.
pub(in crate::kernels) trait Number: Copy + Default {
    fn buffers(workspace: &mut Workspace) -> &mut Vec<Vec<Self>>;

    /// A buffer of at least `count` numbers and [`SLACK`] more, of any value.
    fn take(workspace: &mut Workspace, count: usize) -> Vec<Self> {
        let buffers = Self::buffers(workspace);
        let least = count + SLACK;
        let fits = |buffer: &Vec<Self>| (least..=4 * least).contains(&buffer.len());
        match buffers.iter().rposition(fits) {
            Some(place) => buffers.swap_remove(place),
            None => vec![Self::default(); least],
        }
    }

    /// Writes four columns as the rows of what begins at `to`: `to[r·stride + c] = columns[c][r]`, for whole fours of rows.
    fn write_columns(columns: [&[Self]; 4], (to, stride): (&mut [Self], usize)) {
        for (c, column) in columns.into_iter().enumerate() {
            let whole = column.len() - column.len() % 4;
            column[..whole].iter().enumerate().for_each(|(r, x)| to[r * stride + c] = *x);
        }
    }
}

impl Number for f32 {
    fn buffers(workspace: &mut Workspace) -> &mut Vec<Vec<Self>> {
        &mut workspace.floats
    }

    fn write_columns(columns: [&[Self]; 4], (to, stride): (&mut [Self], usize)) {
        let [a, b, c, d] = columns.map(|column| column.as_chunks::<4>().0);
        for (four, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
            let rows = f32x4::transpose([a, b, c, d].map(|x| f32x4::from(*x)));
            let to = &mut to[4 * four * stride..];
            for r in 0..4 {
                to[r * stride..][..4].copy_from_slice(&rows[r].to_array());
            }
        }
    }
}

impl Number for i64 {
    fn buffers(workspace: &mut Workspace) -> &mut Vec<Vec<Self>> {
        &mut workspace.integers
    }
}

impl Number for bool {
    fn buffers(workspace: &mut Workspace) -> &mut Vec<Vec<Self>> {
        &mut workspace.booleans
    }
}

impl Workspace {
    /// Takes back the buffer of an array that nobody uses any longer.
    pub(in crate::kernels) fn give_back(&mut self, tensor: Tensor<'_>) {
        match tensor {
            Tensor::Floats(x) => self.floats.extend(x.into_buffer()),
            Tensor::Integers(x) => self.integers.extend(x.into_buffer()),
            Tensor::Booleans(x) => self.booleans.extend(x.into_buffer()),
        }
    }
}

/// Nested loops over arrays of the same sizes: an inner loop over one axis, and as few outer ones as the strides allow.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Nest<const ARRAYS: usize> {
    outer: [(usize, [usize; ARRAYS]); MOST_AXES],
    depth: usize,
    pub(in crate::kernels) inner: usize,
    pub(in crate::kernels) inner_strides: [usize; ARRAYS],
}

impl<const ARRAYS: usize> Nest<ARRAYS> {
    /// Inner loops shorter than this are not worth their beginning, if another axis is longer.
    const SHORT: usize = 8;

    pub(in crate::kernels) fn new(sizes: &Axes, strides: [Axes; ARRAYS]) -> Self {
        let mut nest =
            Self { outer: [(1, [0; ARRAYS]); MOST_AXES], depth: 0, inner: sizes.count(), inner_strides: [1; ARRAYS] };
        for (axis, &size) in sizes.iter().enumerate().filter(|&(_, &size)| size != 1) {
            let stride: [usize; ARRAYS] = std::array::from_fn(|array| strides[array][axis]);
            match nest.outer[..nest.depth].last_mut() {
                Some((outer, above)) if (0..ARRAYS).all(|array| above[array] == stride[array] * size) => {
                    *outer *= size;
                    *above = stride;
                }
                _ => {
                    nest.outer[nest.depth] = (size, stride);
                    nest.depth += 1;
                }
            }
        }
        if let Some(last) = nest.depth.checked_sub(1) {
            let is_short = nest.outer[last].0 < Self::SHORT;
            let longest = (0..nest.depth).rev().max_by_key(|&k| nest.outer[k].0).unwrap_or(last);
            (nest.inner, nest.inner_strides) = nest.take(if is_short { longest } else { last });
        }
        nest
    }

    /// The outer loops: sizes and strides.
    pub(in crate::kernels) fn outer(&self) -> &[(usize, [usize; ARRAYS])] {
        &self.outer[..self.depth]
    }

    /// True if the last outer loop goes along three numbers of the last array that follow one another, and the inner one from
    /// each of these vectors to the next.
    pub(in crate::kernels) fn goes_along_vectors(&self) -> bool {
        let last = ARRAYS - 1;
        let is_vector = |&(size, strides): &(usize, [usize; ARRAYS])| size == 3 && strides[last] == 1;
        self.outer().last().is_some_and(is_vector) && self.inner_strides[last] == 3
    }

    /// Takes an outer loop out.
    pub(in crate::kernels) fn take(&mut self, place: usize) -> (usize, [usize; ARRAYS]) {
        let taken = self.outer[place];
        self.outer.copy_within(place + 1..self.depth, place);
        self.depth -= 1;
        taken
    }

    /// Calls `act` with the places at which each inner loop begins.
    #[inline(always)]
    pub(in crate::kernels) fn for_each(&self, mut act: impl FnMut([usize; ARRAYS])) {
        let count: usize = self.outer().iter().map(|&(size, _)| size).product();
        let mut at = [0; ARRAYS];
        let mut counters = [0; MOST_AXES];
        for _ in 0..count {
            act(at);
            for (counter, &(size, strides)) in counters.iter_mut().zip(self.outer()).rev() {
                *counter += 1;
                for (place, stride) in at.iter_mut().zip(strides) {
                    *place += stride;
                }
                if *counter < size {
                    break;
                }
                *counter = 0;
                for (place, stride) in at.iter_mut().zip(strides) {
                    *place -= stride * size;
                }
            }
        }
    }
}
