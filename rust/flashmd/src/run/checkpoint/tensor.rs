//! Values as tensors of little-endian numbers, and back.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, TensorView, View};

use crate::linalg::{Mat3, Vec3};

/// A tensor to be written.
#[derive(Debug)]
pub(super) struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a tensor can hold.
pub(super) trait Stored: Sized {
    /// The value as a tensor.
    fn store(&self) -> Tensor;

    /// The value in a tensor; `None` if it has another type or shape.
    fn load(view: &TensorView<'_>) -> Option<Self>;
}

/// A number of a tensor.
trait Number: Copy {
    const DTYPE: Dtype;
    type Bytes: IntoIterator<Item = u8>;

    fn to_bytes(self) -> Self::Bytes;
    /// Of bytes as many as the number has.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($type:ty, $dtype:ident) => {
        impl Number for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            type Bytes = [u8; size_of::<Self>()];

            fn to_bytes(self) -> Self::Bytes {
                self.to_le_bytes()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }
    };
}

number!(f64, F64);
number!(u64, U64);
number!(i64, I64);
number!(u32, U32);
number!(u8, U8);

fn store<T: Number>(shape: &[usize], values: impl IntoIterator<Item = T>) -> Tensor {
    let bytes = values.into_iter().flat_map(T::to_bytes).collect();
    Tensor { dtype: T::DTYPE, shape: shape.to_vec(), bytes }
}

/// The numbers of a tensor whose shape ends in `inner`, behind `outer` axes of any size.
fn load<T: Number>(view: &TensorView<'_>, outer: usize, inner: &[usize]) -> Option<Vec<T>> {
    let fits = view.dtype() == T::DTYPE && view.shape().get(outer..) == Some(inner);
    if fits { view.data().chunks_exact(size_of::<T>()).map(T::from_bytes).collect() } else { None }
}

macro_rules! scalar {
    ($type:ty) => {
        impl Stored for $type {
            fn store(&self) -> Tensor {
                store(&[], [*self])
            }

            fn load(view: &TensorView<'_>) -> Option<Self> {
                load(view, 0, &[])?.first().copied()
            }
        }
    };
}

scalar!(f64);
scalar!(u64);

/// NaN stands for none.
impl Stored for Option<f64> {
    fn store(&self) -> Tensor {
        self.unwrap_or(f64::NAN).store()
    }

    fn load(view: &TensorView<'_>) -> Option<Self> {
        f64::load(view).map(|x| Some(x).filter(|x| !x.is_nan()))
    }
}

macro_rules! list {
    ($type:ty) => {
        impl Stored for Vec<$type> {
            fn store(&self) -> Tensor {
                store(&[self.len()], self.iter().copied())
            }

            fn load(view: &TensorView<'_>) -> Option<Self> {
                load(view, 1, &[])
            }
        }
    };
}

list!(f64);
list!(u32);
list!(u8);

/// One byte each, 0 or 1.
impl Stored for Vec<bool> {
    fn store(&self) -> Tensor {
        store(&[self.len()], self.iter().map(|&flag| u8::from(flag)))
    }

    fn load(view: &TensorView<'_>) -> Option<Self> {
        Some(load::<u8>(view, 1, &[])?.into_iter().map(|byte| byte != 0).collect())
    }
}

macro_rules! rows {
    ($type:ty, $number:ty, $width:literal) => {
        impl Stored for Vec<$type> {
            fn store(&self) -> Tensor {
                store(&[self.len(), $width], self.as_flattened().iter().copied())
            }

            fn load(view: &TensorView<'_>) -> Option<Self> {
                Some(load::<$number>(view, 1, &[$width])?.as_chunks::<$width>().0.to_vec())
            }
        }
    };
}

rows!(Vec3, f64, 3);
rows!([i64; 3], i64, 3);
rows!([u32; 2], u32, 2);

impl Stored for Mat3 {
    fn store(&self) -> Tensor {
        self.to_vec().store()
    }

    fn load(view: &TensorView<'_>) -> Option<Self> {
        Vec::<Vec3>::load(view)?.try_into().ok()
    }
}

impl Stored for [bool; 3] {
    fn store(&self) -> Tensor {
        self.to_vec().store()
    }

    fn load(view: &TensorView<'_>) -> Option<Self> {
        Vec::<bool>::load(view)?.try_into().ok()
    }
}
