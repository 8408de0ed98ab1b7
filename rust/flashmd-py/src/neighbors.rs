//! `neighbor_list`.

use flashmd::linalg::Vec3;
use flashmd::neighbors::full_list;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::arrays::triples;
use crate::convert::{self, vectors};
use crate::errors::{detached, input_error};

type Lists<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<i64>>,
);

#[pyfunction]
pub(crate) fn neighbor_list<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray2<'py, f64>,
    cell: PyReadonlyArray2<'py, f64>,
    pbc: PyReadonlyArray1<'py, bool>,
    cutoff: f64,
) -> PyResult<Lists<'py>> {
    let positions = finite_positions(py, &positions)?;
    let cell = convert::cell(py, &cell, &pbc)?;
    let list = detached(py, || full_list(&positions, &cell, cutoff))?;
    Ok((
        list.i.into_pyarray(py),
        list.j.into_pyarray(py),
        list.distances.into_pyarray(py),
        triples(py, list.vectors)?,
        triples(py, list.shifts)?,
    ))
}

/// An [N,3] array of finite numbers.
pub(crate) fn finite_positions(py: Python<'_>, positions: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<Vec3>> {
    let positions = vectors(py, "positions", positions)?;
    if positions.iter().flatten().any(|x| !x.is_finite()) {
        return Err(input_error(py, "positions are not all finite; mend the structure"));
    }
    Ok(positions)
}
