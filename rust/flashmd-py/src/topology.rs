//! `bonded_pairs` and `environments`.

use flashmd::State;
use flashmd::topology::{self, Reach};
use numpy::ndarray::ArrayView1;
use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::convert;
use crate::errors::{input_error, to_python};
use crate::neighbors::finite_positions;

/// Pairs of bonded atoms [B, 2].
#[pyfunction]
pub(crate) fn bonded_pairs<'py>(
    py: Python<'py>,
    numbers: PyReadonlyArray1<'py, i64>,
    positions: PyReadonlyArray2<'py, f64>,
    cell: PyReadonlyArray2<'py, f64>,
    pbc: PyReadonlyArray1<'py, bool>,
    reaches: Vec<(String, String, f64)>,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let positions = finite_positions(py, &positions)?;
    let atoms = positions.len();
    let cell = convert::cell(py, &cell, &pbc)?;
    let reaches: Vec<Reach<'_>> =
        reaches.iter().map(|(a, b, longest)| Reach { elements: [a, b], longest: *longest }).collect();
    let state = State::new(positions, vec![[0.0; 3]; atoms], vec![1.0; atoms], atomic_numbers(&numbers), cell);
    let state = state.map_err(|e| to_python(py, e))?;
    let pairs = topology::bonded_pairs(&state, &reaches).map_err(|e| to_python(py, e))?;
    if let Some(([i, j], _)) = pairs.iter().find(|&(pair, shift)| !topology::is_nearest(&state, pair, shift)) {
        return Err(input_error(
            py,
            &format!("atoms {i} and {j} are bonded across more than half of the cell; give a larger cell"),
        ));
    }
    let rows: Vec<Vec<i64>> = pairs.atoms.iter().map(|pair| pair.map(i64::from).to_vec()).collect();
    if rows.is_empty() {
        return Ok(PyArray2::zeros(py, [0, 2], false));
    }
    Ok(PyArray2::from_vec2(py, &rows)?)
}

/// What surrounds each atom, by pairs of bonded atoms [B, 2].
#[pyfunction]
pub(crate) fn environments(
    py: Python<'_>,
    numbers: PyReadonlyArray1<'_, i64>,
    pairs: PyReadonlyArray2<'_, i64>,
) -> PyResult<Vec<String>> {
    let numbers = atomic_numbers(&numbers);
    let within = |&atom: &i64| u32::try_from(atom).ok().filter(|&atom| (atom as usize) < numbers.len());
    let read = |row: ArrayView1<'_, i64>| -> Option<[u32; 2]> {
        let atoms: Option<Vec<u32>> = row.iter().map(within).collect();
        atoms?.try_into().ok()
    };
    let pairs: Option<Vec<[u32; 2]>> = pairs.as_array().rows().into_iter().map(read).collect();
    let pairs = pairs.ok_or_else(|| input_error(py, "pairs do not name two of the atoms each"))?;
    Ok(topology::environments(&numbers, &pairs))
}

/// Numbers that no element has become the dummy "X".
fn atomic_numbers(numbers: &PyReadonlyArray1<'_, i64>) -> Vec<u8> {
    numbers.as_array().iter().map(|&z| u8::try_from(z).unwrap_or(0)).collect()
}
