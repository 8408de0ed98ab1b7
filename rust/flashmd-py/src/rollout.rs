//! `rollout`.

use std::time::Instant;

use flashmd::State;
use flashmd::energy::PotentialEnergy;
use flashmd::error::Result;
use flashmd::model::Kind;
use flashmd::model::energy::EnergyModel;
use flashmd::rollout::{Report, Rollout};
use flashmd::stride::{Direct, Randomness};
use flashmd::thermostat::Langevin;
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::Atoms;
use crate::errors::to_python;
use crate::model::Model;
use crate::observer::{PyEnergy, PyObserver};

/// Where potential energies come from.
enum Energy {
    Model(Py<Model>),
    Callable(PyEnergy),
}

/// The options of a run that are plain numbers.
struct Settings {
    steps: u64,
    interval: u64,
    seed: u64,
    temperature: Option<f64>,
    time_constant_fs: f64,
    random_rotation: bool,
    rescale_energy: bool,
}

#[pyfunction]
#[pyo3(signature = (
    model, positions, momenta, masses, numbers, cell, pbc, *, steps, interval, seed, temperature_K, time_constant_fs,
    random_rotation, rescale_energy, energy, on_frame, on_progress = None
))]
#[allow(clippy::too_many_arguments, non_snake_case, reason = "the keyword interface of Python")]
pub(crate) fn rollout<'py>(
    py: Python<'py>,
    model: Py<Model>,
    positions: PyReadonlyArray2<'py, f64>,
    momenta: PyReadonlyArray2<'py, f64>,
    masses: PyReadonlyArray1<'py, f64>,
    numbers: PyReadonlyArray1<'py, i64>,
    cell: PyReadonlyArray2<'py, f64>,
    pbc: PyReadonlyArray1<'py, bool>,
    steps: u64,
    interval: u64,
    seed: u64,
    temperature_K: Option<f64>,
    time_constant_fs: f64,
    random_rotation: bool,
    rescale_energy: bool,
    energy: Option<Bound<'py, PyAny>>,
    on_frame: Py<PyAny>,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (masses, numbers, cell, pbc) = (&masses, &numbers, &cell, &pbc);
    let atoms = Atoms { positions: &positions, momenta: Some(&momenta), masses, numbers, cell, pbc };
    let mut state = atoms.state(py)?;
    let energy = energy.map(|e| match e.cast::<Model>() {
        Ok(model) => Energy::Model(model.clone().unbind()),
        Err(_) => Energy::Callable(PyEnergy(e.unbind())),
    });
    let temperature = temperature_K;
    let settings = Settings { steps, interval, seed, temperature, time_constant_fs, random_rotation, rescale_energy };
    let mut observer = PyObserver { on_frame, on_progress, last_step: steps, last_progress: Instant::now() };
    let report =
        py.detach(|| run(model.get(), &mut state, settings, energy, &mut observer)).map_err(|e| to_python(py, e))?;
    to_dict(py, &report)
}

fn run(
    model: &Model,
    state: &mut State,
    settings: Settings,
    energy: Option<Energy>,
    observer: &mut PyObserver,
) -> Result<Report> {
    model.expect_kind(Kind::Direct)?;
    if let Some(Energy::Model(surface)) = &energy {
        surface.get().expect_kind(Kind::Energy)?;
    }
    let mut held = model.hold()?;
    let randomness = Randomness { seed: settings.seed, rotate: settings.random_rotation, residual: true };
    let stride_fs = held.model().metadata().stride_fs;
    let mut propagator = Direct::new(held.model(), state, randomness)?;
    let thermostat = settings
        .temperature
        .map(|kelvin| Langevin::new(kelvin, settings.time_constant_fs, stride_fs, settings.seed))
        .transpose()?;
    let mut options = Rollout {
        steps: settings.steps,
        interval: settings.interval,
        thermostat,
        energy: None,
        rescale: settings.rescale_energy,
    };
    match energy {
        None => options.run(state, &mut propagator, observer),
        Some(Energy::Callable(mut callable)) => {
            options.energy = Some(&mut callable as &mut dyn PotentialEnergy);
            options.run(state, &mut propagator, observer)
        }
        Some(Energy::Model(model)) => {
            let mut held = model.get().hold()?;
            let mut surface = EnergyModel::new(held.model(), state)?;
            options.energy = Some(&mut surface);
            options.run(state, &mut propagator, observer)
        }
    }
}

fn to_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("steps", report.steps)?;
    dict.set_item("seconds", report.total.as_secs_f64())?;
    dict.set_item("seconds_neighbors", report.propagator.neighbors.as_secs_f64())?;
    dict.set_item("seconds_network", report.propagator.network.as_secs_f64())?;
    dict.set_item("seconds_energy", report.energy.as_secs_f64())?;
    dict.set_item("seconds_callbacks", report.observer.as_secs_f64())?;
    dict.set_item("heat_eV", report.heat)?;
    let rescale = match report.rescale.filter(|r| r.count > 0) {
        None => None,
        Some(rescale) => {
            let part = PyDict::new(py);
            part.set_item("count", rescale.count)?;
            part.set_item("alpha_min", rescale.alpha_min)?;
            part.set_item("alpha_max", rescale.alpha_max)?;
            Some(part)
        }
    };
    dict.set_item("rescale", rescale)?;
    Ok(dict)
}
