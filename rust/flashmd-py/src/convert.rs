//! numpy arrays to the core's types.

use flashmd::linalg::{Mat3, Vec3};
use flashmd::{Cell, State};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::errors::{input_error, to_python};

/// The arrays that describe N atoms.
pub(crate) struct Atoms<'a, 'py> {
    pub(crate) positions: &'a PyReadonlyArray2<'py, f64>,
    pub(crate) momenta: Option<&'a PyReadonlyArray2<'py, f64>>,
    pub(crate) masses: &'a PyReadonlyArray1<'py, f64>,
    pub(crate) numbers: &'a PyReadonlyArray1<'py, i64>,
    pub(crate) cell: &'a PyReadonlyArray2<'py, f64>,
    pub(crate) pbc: &'a PyReadonlyArray1<'py, bool>,
}

impl Atoms<'_, '_> {
    /// A checked state; without momenta they are zero.
    pub(crate) fn state(&self, py: Python<'_>) -> PyResult<State> {
        let positions = vectors(py, "positions", self.positions)?;
        let momenta = match self.momenta {
            Some(momenta) => vectors(py, "momenta", momenta)?,
            None => vec![[0.0; 3]; positions.len()],
        };
        let masses = self.masses.as_array().to_vec();
        // Numbers that no element has become the dummy "X", which no model knows.
        let numbers = self.numbers.as_array().iter().map(|&z| u8::try_from(z).unwrap_or(0)).collect();
        let cell = cell(py, self.cell, self.pbc)?;
        State::new(positions, momenta, masses, numbers, cell).map_err(|e| to_python(py, e))
    }
}

/// An [N,3] array.
pub(crate) fn vectors(py: Python<'_>, what: &str, array: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<Vec3>> {
    if array.shape()[1] != 3 {
        return Err(input_error(py, &format!("{what} have shape {:?}; wanted [N, 3]", array.shape())));
    }
    Ok(array.as_array().rows().into_iter().map(|row| [row[0], row[1], row[2]]).collect())
}

/// A [3,3] array and three flags.
pub(crate) fn cell(
    py: Python<'_>,
    matrix: &PyReadonlyArray2<'_, f64>,
    pbc: &PyReadonlyArray1<'_, bool>,
) -> PyResult<Cell> {
    let rows = vectors(py, "cell", matrix)?;
    let flags = pbc.as_array().to_vec();
    let (Ok(rows), Ok(flags)) = (<Mat3>::try_from(rows), <[bool; 3]>::try_from(flags)) else {
        return Err(input_error(
            py,
            &format!("cell and pbc have shapes {:?} and {:?}; wanted [3, 3] and [3]", matrix.shape(), pbc.shape()),
        ));
    };
    Cell::new(rows, flags).map_err(|e| to_python(py, e))
}
