//! The ONNX Runtime library.

use std::path::Path;

use flashmd::kernels;
use flashmd::model::library;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::detached;

#[pyfunction]
pub(crate) fn load_runtime(py: Python<'_>, path: &str) -> PyResult<()> {
    detached(py, || library::load(Path::new(path))).map(drop)
}

/// Version of the kernels and the instruction set they use here; None where they cannot be used.
#[pyfunction]
pub(crate) fn kernel_version() -> Option<(u32, &'static str)> {
    kernels::InstructionSet::detect().map(|set| (kernels::VERSION, set.name()))
}

/// Processors that this process may use, by its affinity mask and the quota of its control group.
#[pyfunction]
pub(crate) fn available_processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[pyfunction]
pub(crate) fn runtime_info(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(library) = library::current() else { return Ok(None) };
    let info = PyDict::new(py);
    info.set_item("path", library.path.display().to_string())?;
    info.set_item("version", library.version)?;
    info.set_item("providers", library.providers)?;
    Ok(Some(info))
}
