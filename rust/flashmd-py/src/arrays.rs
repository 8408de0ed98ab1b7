//! The core's vectors as numpy arrays.

use flashmd::linalg::Vec3;
use numpy::{PyArray2, PyArrayMethods};
use pyo3::prelude::*;

/// An [N,3] array of vectors.
pub(crate) fn to_array<'py>(py: Python<'py>, vectors: &[Vec3]) -> Bound<'py, PyArray2<f64>> {
    let array = PyArray2::zeros(py, [vectors.len(), 3], false);
    if let Ok(mut view) = array.try_readwrite()
        && let Ok(flat) = view.as_slice_mut()
    {
        flat.copy_from_slice(vectors.as_flattened());
    }
    array
}
