//! The ONNX Runtime library.

use std::path::Path;

use flashmd::kernels;
use flashmd::model::library;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::interpreter::detached;

#[pyfunction]
pub(crate) fn load_runtime(py: Python<'_>, path: &str) -> PyResult<()> {
    detached(py, || library::load(Path::new(path))).map(drop)
}

/// Version of the kernels and the instruction set they use here; None where they cannot be used.
#[pyfunction]
pub(crate) fn kernel_version() -> Option<(u32, &'static str)> {
    kernels::InstructionSet::detect().map(|set| (kernels::VERSION, set.name()))
}

/// Begins to measure what the kernels spend their time on, from zero.
#[pyfunction]
pub(crate) fn start_kernel_profile() {
    kernels::profile::start();
}

/// Ends that: seconds by kind of operator, of all threads together, and the number of multiply-adds in products.
#[pyfunction]
pub(crate) fn stop_kernel_profile() -> (Vec<(&'static str, f64)>, u64) {
    let profile = kernels::profile::stop();
    (profile.seconds.to_vec(), profile.multiply_adds)
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
