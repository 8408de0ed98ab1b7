//! What a simulation has done, as dictionaries.

use flashmd::filters::MoveCounts;
use flashmd::filters::guard::GuardStatistics;
use flashmd::filters::rescaling::RescalingStatistics;
use flashmd::propagators::SolverStatistics;
use flashmd::run::{Report, System};
use flashmd::violation::Quantity;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::errors::stability;

/// Everything that was counted and timed.
pub(crate) fn statistics<'py>(py: Python<'py>, report: &Report, systems: &[System]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("steps", report.steps)?;
    dict.set_item("seconds", report.total.as_secs_f64())?;
    dict.set_item("seconds_neighbors", report.propagator.neighbors.as_secs_f64())?;
    dict.set_item("network_runs", report.propagator.runs)?;
    dict.set_item("seconds_network", report.propagator.network.as_secs_f64())?;
    dict.set_item("seconds_energy", report.energy.as_secs_f64())?;
    dict.set_item("seconds_callbacks", report.observer.as_secs_f64())?;
    if let Some(solver) = report.solver {
        dict.set_item("solver", solver_statistics(py, solver)?)?;
    }
    let systems = systems.iter().map(|s| of_system(py, s)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("systems", PyList::new(py, systems)?)?;
    Ok(dict)
}

fn solver_statistics(py: Python<'_>, solver: SolverStatistics) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("strides", solver.strides)?;
    dict.set_item("mean_iterations", solver.iterations as f64 / solver.strides.max(1) as f64)?;
    dict.set_item("most_iterations", solver.most_iterations)?;
    dict.set_item("largest_residual", solver.largest_residual)?;
    Ok(dict)
}

/// What was counted in a system, and why it ended early.
fn of_system<'py>(py: Python<'py>, system: &System) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let statistics = &system.statistics;
    dict.set_item("heat_eV", statistics.heat)?;
    dict.set_item("work_eV", statistics.work)?;
    dict.set_item("molecules", system.molecules.count)?;
    dict.set_item("metropolis", system.metropolis.as_ref().map(|_| moves(py, statistics.metropolis)).transpose()?)?;
    dict.set_item("rescaling", system.rescaling.as_ref().map(|_| rescaling(py, &statistics.rescaling)).transpose()?)?;
    dict.set_item("barostat", system.barostat.as_ref().map(|_| moves(py, statistics.barostat)).transpose()?)?;
    dict.set_item("guard", system.guard.map(|_| guard(py, &statistics.guard)).transpose()?)?;
    dict.set_item("failure", system.failure.as_ref().map(|e| stability(py, e).into_value(py)))?;
    Ok(dict)
}

fn moves(py: Python<'_>, moves: MoveCounts) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("tried", moves.tried)?;
    dict.set_item("accepted", moves.accepted)?;
    Ok(dict)
}

fn rescaling<'py>(py: Python<'py>, counted: &RescalingStatistics) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", counted.count)?;
    dict.set_item("skipped", counted.skipped)?;
    dict.set_item("clamped", counted.clamped)?;
    dict.set_item("alpha_min", Some(counted.alpha_min).filter(|_| counted.count > 0))?;
    dict.set_item("alpha_max", Some(counted.alpha_max).filter(|_| counted.count > 0))?;
    Ok(dict)
}

fn guard<'py>(py: Python<'py>, counted: &GuardStatistics) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("fallback_strides", counted.fallbacks)?;
    let counts = Quantity::ALL.iter().zip(counted.counts).filter(|(_, count)| *count > 0);
    dict.set_item("strides", counts.map(|(quantity, count)| (quantity.name(), count)).collect::<Vec<_>>())?;
    Ok(dict)
}
