//! `neighbor_list`.

use flashmd::linalg::Vec3;
use flashmd::neighbors::{Columns, FullSearch};
use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray1};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{self, vectors};
use crate::errors::input_error;
use crate::interpreter::detached;

/// Columns of the pairs by the letters `ijdDS`, in the order in which `quantities` names them.
///
/// They are numpy's own memory: it asks for huge pages, without which most of the time of a long list goes into page faults.
#[pyfunction]
pub(crate) fn neighbor_list<'py>(
    py: Python<'py>,
    quantities: &str,
    positions: PyReadonlyArray2<'py, f64>,
    cell: PyReadonlyArray2<'py, f64>,
    pbc: PyReadonlyArray1<'py, bool>,
    cutoff: f64,
) -> PyResult<Bound<'py, PyTuple>> {
    let positions = finite_positions(py, &positions)?;
    let cell = convert::cell(py, &cell, &pbc)?;
    let search = detached(py, || FullSearch::new(&positions, &cell, cutoff))?;
    let pairs = search.pairs();
    let size = |letter, width: usize| quantities.contains(letter).then_some(width * pairs);
    let whole = [size('i', 1), size('j', 1), size('S', 3)].map(|n| n.map(|n| PyArray1::<i64>::zeros(py, n, false)));
    let real = [size('d', 1), size('D', 3)].map(|n| n.map(|n| PyArray1::<f64>::zeros(py, n, false)));
    {
        let [mut i, mut j, mut shifts] = whole.each_ref().map(|array| array.as_ref().map(PyArrayMethods::readwrite));
        let [mut distances, mut vectors] = real.each_ref().map(|array| array.as_ref().map(PyArrayMethods::readwrite));
        let columns = Columns {
            i: slice(&mut i)?,
            j: slice(&mut j)?,
            distances: slice(&mut distances)?,
            vectors: slice(&mut vectors)?.map(|flat| flat.as_chunks_mut().0),
            shifts: slice(&mut shifts)?.map(|flat| flat.as_chunks_mut().0),
        };
        detached(py, || {
            search.write(columns);
            Ok(())
        })?;
    }
    let [i, j, shifts] = whole.map(|array| array.map(Bound::into_any));
    let [distances, vectors] = real.map(|array| array.map(Bound::into_any));
    let triples = |flat: &Bound<'py, PyAny>| flat.call_method1("reshape", ((pairs, 3),));
    let mut chosen = Vec::with_capacity(quantities.len());
    for letter in quantities.chars() {
        chosen.extend(match letter {
            'i' => i.clone(),
            'j' => j.clone(),
            'd' => distances.clone(),
            'D' => vectors.as_ref().map(triples).transpose()?,
            _ => shifts.as_ref().map(triples).transpose()?,
        });
    }
    PyTuple::new(py, chosen)
}

/// The numbers of a column, if it is wanted.
fn slice<'a, T: Element>(view: &'a mut Option<PyReadwriteArray1<'_, T>>) -> PyResult<Option<&'a mut [T]>> {
    Ok(view.as_mut().map(PyReadwriteArray1::as_slice_mut).transpose()?)
}

/// An [N,3] array of finite numbers.
pub(crate) fn finite_positions(py: Python<'_>, positions: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<Vec3>> {
    let positions = vectors(py, "positions", positions)?;
    if positions.iter().flatten().any(|x| !x.is_finite()) {
        return Err(input_error(py, "positions are not all finite; mend the structure"));
    }
    Ok(positions)
}
