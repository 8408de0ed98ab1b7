//! The class `Edges`.

use flashmd::neighbors::{NeighborSearch, PaddedEdges, Part, as_input};
use numpy::{PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, ToPyArray};
use pyo3::prelude::*;

use crate::convert;
use crate::errors::to_python;
use crate::interpreter::detached;
use crate::neighbors::finite_positions;

type Arrays<'py> =
    (Bound<'py, PyArray3<f32>>, Bound<'py, PyArray2<bool>>, Bound<'py, PyArray2<i32>>, Bound<'py, PyArray2<i32>>);

/// The neighbour search of a run and the arrays it feeds to the network.
#[pyclass(module = "flashmd_rs._core")]
pub(crate) struct Edges {
    search: NeighborSearch,
    arrays: PaddedEdges,
}

#[pymethods]
impl Edges {
    #[new]
    #[pyo3(signature = (cutoff, *, threads = 1))]
    fn new(py: Python<'_>, cutoff: f64, threads: usize) -> PyResult<Self> {
        let search = NeighborSearch::new(cutoff).map_err(|e| to_python(py, e))?.with_threads(threads);
        Ok(Self { search, arrays: PaddedEdges::default() })
    }

    fn update<'py>(
        &mut self,
        py: Python<'py>,
        positions: PyReadonlyArray2<'py, f64>,
        cell: PyReadonlyArray2<'py, f64>,
        pbc: PyReadonlyArray1<'py, bool>,
    ) -> PyResult<usize> {
        let positions = finite_positions(py, &positions)?;
        let cell = convert::cell(py, &cell, &pbc)?;
        detached(py, || {
            self.search.update(&positions, &cell).map_err(|e| as_input(e, "mend it or give a smaller cutoff"))?;
            self.arrays.assemble(&[Part { search: &self.search, rotation: None }])
        })?;
        Ok(self.search.edges())
    }

    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<Arrays<'py>> {
        let PaddedEdges { atoms, max_neighbors, edge_vectors, mask, neighbors, reverse } = &self.arrays;
        let (atoms, max_neighbors) = (*atoms, *max_neighbors);
        Ok((
            edge_vectors.to_pyarray(py).reshape([atoms, max_neighbors, 3])?,
            mask.to_pyarray(py).reshape([atoms, max_neighbors])?,
            neighbors.to_pyarray(py).reshape([atoms, max_neighbors])?,
            reverse.to_pyarray(py).reshape([atoms, max_neighbors])?,
        ))
    }
}
