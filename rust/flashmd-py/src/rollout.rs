//! `rollout`.

use std::time::Instant;

use flashmd::State;
use flashmd::energy::PotentialEnergy;
use flashmd::error::Result;
use flashmd::model::Kind;
use flashmd::model::energy::EnergyModel;
use flashmd::rollout::{Report, Rollout};
use flashmd::stride::{Direct, Randomness};
use flashmd::system::System;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::errors::detached;
use crate::model::Model;
use crate::observer::{PyEnergy, PyObserver};
use crate::systems::{Settings, Start, account};

/// Where potential energies come from.
enum Energy {
    Model(Py<Model>),
    Python(PyEnergy),
}

#[pyfunction]
#[pyo3(signature = (model, starts, settings, *, energy, on_frame, on_progress = None))]
pub(crate) fn rollout<'py>(
    py: Python<'py>,
    model: Py<Model>,
    starts: Vec<Start<'py>>,
    settings: Settings,
    energy: Option<Bound<'py, PyAny>>,
    on_frame: Py<PyAny>,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut systems = starts.iter().map(|start| start.system(py, &settings)).collect::<PyResult<Vec<System>>>()?;
    let energy = energy.map(|e| match e.cast::<Model>() {
        Ok(model) => Energy::Model(model.clone().unbind()),
        Err(_) => Energy::Python(PyEnergy(e.unbind())),
    });
    let mut observer = PyObserver { on_frame, on_progress, last_step: settings.steps, last_progress: Instant::now() };
    let report = detached(py, || run(model.get(), &mut systems, &settings, energy, &mut observer))?;
    let dict = to_dict(py, &report)?;
    let accounts = systems.iter_mut().map(|s| account(py, s)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("systems", PyList::new(py, accounts)?)?;
    Ok(dict)
}

fn run(
    model: &Model,
    systems: &mut [System],
    settings: &Settings,
    energy: Option<Energy>,
    observer: &mut PyObserver,
) -> Result<Report> {
    model.expect_kind(Kind::Direct)?;
    if let Some(Energy::Model(surface)) = &energy {
        surface.get().expect_kind(Kind::Energy)?;
    }
    let mut held = model.hold()?;
    let randomness = Randomness { rotate: settings.random_rotation, residual: true };
    let mut propagator = Direct::new(held.model(), &states(systems), randomness)?;
    let mut options = Rollout { steps: settings.steps, interval: settings.interval, ..Rollout::default() };
    match energy {
        None => options.run(systems, &mut propagator, observer),
        Some(Energy::Python(mut python)) => {
            options.energy = Some(&mut python as &mut dyn PotentialEnergy);
            options.run(systems, &mut propagator, observer)
        }
        Some(Energy::Model(model)) => {
            let mut held = model.get().hold()?;
            let mut surface = EnergyModel::new(held.model(), &states(systems))?;
            options.energy = Some(&mut surface);
            options.run(systems, &mut propagator, observer)
        }
    }
}

fn states(systems: &[System]) -> Vec<&State> {
    systems.iter().map(|system| &system.state).collect()
}

fn to_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("steps", report.steps)?;
    dict.set_item("seconds", report.total.as_secs_f64())?;
    dict.set_item("seconds_neighbors", report.propagator.neighbors.as_secs_f64())?;
    dict.set_item("seconds_network", report.propagator.network.as_secs_f64())?;
    dict.set_item("seconds_energy", report.energy.as_secs_f64())?;
    dict.set_item("seconds_callbacks", report.observer.as_secs_f64())?;
    Ok(dict)
}
