//! The Python binding: conversions and error mapping only. Its interface is `python/flashmd_rs/_core.pyi`.
#![allow(missing_docs, reason = "the documentation of the Python interface is in _core.pyi")]

mod arrays;
mod callbacks;
mod convert;
mod edges;
mod errors;
mod interpreter;
mod model;
mod neighbors;
mod potential_energy;
mod runtime;
mod settings;
mod simulation;
mod statistics;
mod systems;
mod topology;

use pyo3::prelude::*;

/// The Rust core of flashmd-rs. Shared state is behind locks: it does not need the GIL.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    interpreter::wait_at_exit(module)?;
    module.add_function(wrap_pyfunction!(runtime::load_runtime, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::runtime_info, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::kernel_version, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::start_kernel_profile, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::stop_kernel_profile, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::available_processors, module)?)?;
    module.add_function(wrap_pyfunction!(model::inspect_model, module)?)?;
    module.add_function(wrap_pyfunction!(neighbors::neighbor_list, module)?)?;
    module.add_function(wrap_pyfunction!(topology::bonded_pairs, module)?)?;
    module.add_function(wrap_pyfunction!(topology::environments, module)?)?;
    module.add_function(wrap_pyfunction!(simulation::read_checkpoint, module)?)?;
    module.add_class::<edges::Edges>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<simulation::Simulation>()
}
