//! `rollout`.

use std::path::{Path, PathBuf};

use flashmd::State;
use flashmd::checkpoint;
use flashmd::energy::PotentialEnergy;
use flashmd::error::Result;
use flashmd::model::Kind;
use flashmd::model::energy::EnergyModel;
use flashmd::propagators::prepare;
use flashmd::rollout::{Report, Rollout, common_step};
use flashmd::stride::Randomness;
use flashmd::system::System;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::convert::to_array;
use crate::errors::{detached, to_python};
use crate::model::Model;
use crate::observer::{Calls, PyEnergy, PyObserver, Saver};
use crate::systems::{Settings, Start, account};

/// Where potential energies come from.
enum Energy {
    Model(Py<Model>),
    Python(PyEnergy),
}

/// Where and how often checkpoints are saved: the fields of `flashmd_rs.checkpoint.Saving`.
#[derive(FromPyObject)]
pub(crate) struct Saving {
    path: PathBuf,
    interval: u64,
    /// Called before each; what it returns is kept in the file.
    on_save: Py<PyAny>,
}

#[pyfunction]
#[pyo3(signature = (model, starts, settings, *, energy, calls, saving = None, resume = None))]
#[allow(clippy::too_many_arguments, reason = "keywords of a Python function")]
pub(crate) fn rollout<'py>(
    py: Python<'py>,
    model: Py<Model>,
    starts: Vec<Start<'py>>,
    settings: Settings,
    energy: Option<Bound<'py, PyAny>>,
    calls: Calls,
    saving: Option<Saving>,
    resume: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut systems = systems(py, &starts, &settings, resume.as_deref())?;
    let energy = energy.map(|e| match e.cast::<Model>() {
        Ok(model) => Energy::Model(model.clone().unbind()),
        Err(_) => Energy::Python(PyEnergy(e.unbind())),
    });
    let checkpoint_interval = saving.as_ref().map(|s| s.interval);
    let saver = saving.map(|Saving { path, on_save, .. }| Saver {
        path,
        on_save,
        model_sha256: model.get().sha256().to_owned(),
    });
    let mut observer = PyObserver::new(calls, saver, settings.steps);
    let course = Course { checkpoint_interval, resumed: resume.is_some() };
    let report = detached(py, || run(model.get(), &mut systems, &settings, course, energy, &mut observer))?;
    let dict = to_dict(py, &report)?;
    let accounts = systems.iter_mut().map(|s| account(py, s)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("systems", PyList::new(py, accounts)?)?;
    Ok(dict)
}

/// The systems at their beginning, or as the checkpoint at `resume` holds them.
fn systems(py: Python<'_>, starts: &[Start<'_>], settings: &Settings, resume: Option<&Path>) -> PyResult<Vec<System>> {
    let states = starts.iter().map(|start| start.state(py, settings)).collect::<PyResult<Vec<State>>>()?;
    let build = || {
        let mut systems = match resume {
            Some(path) => checkpoint::load(path)?.resume(&states)?,
            None => {
                let begin = |(start, state): (&Start<'_>, State)| start.begin(state, settings);
                starts.iter().zip(states).map(begin).collect::<Result<Vec<System>>>()?
            }
        };
        for (system, start) in systems.iter_mut().zip(starts) {
            settings.equip(system, start.temperature_K)?;
        }
        Ok(systems)
    };
    build().map_err(|e| to_python(py, e))
}

/// Where a run stands between its beginning and its end.
#[derive(Clone, Copy)]
struct Course {
    checkpoint_interval: Option<u64>,
    resumed: bool,
}

fn run(
    model: &Model,
    systems: &mut [System],
    settings: &Settings,
    course: Course,
    energy: Option<Energy>,
    observer: &mut PyObserver,
) -> Result<Report> {
    model.expect_to_move()?;
    if let Some(Energy::Model(surface)) = &energy {
        surface.get().expect_kind(Kind::Energy)?;
    }
    let mut held = model.hold()?;
    let randomness = Randomness { rotate: settings.random_rotation, residual: true };
    let mut propagator = prepare(held.model(), &states(systems), randomness, settings.watches())?;
    let propagator = propagator.as_mut();
    let mut options = Rollout {
        steps: settings.steps.saturating_sub(common_step(systems)),
        interval: settings.interval,
        checkpoint_interval: course.checkpoint_interval,
        resumed: course.resumed,
        energy: None,
    };
    match energy {
        None => options.run(systems, propagator, observer),
        Some(Energy::Python(mut python)) => {
            options.energy = Some(&mut python as &mut dyn PotentialEnergy);
            options.run(systems, propagator, observer)
        }
        Some(Energy::Model(model)) => {
            let mut held = model.get().hold()?;
            let mut surface = EnergyModel::new(held.model(), &states(systems))?;
            options.energy = Some(&mut surface);
            options.run(systems, propagator, observer)
        }
    }
}

#[pyfunction]
pub(crate) fn read_checkpoint<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    let found = detached(py, || checkpoint::load(&path))?;
    let dict = PyDict::new(py);
    dict.set_item("path", &found.path)?;
    dict.set_item("passed_over", &found.passed_over)?;
    dict.set_item("step", found.header.step)?;
    dict.set_item("model_sha256", &found.header.model_sha256)?;
    dict.set_item("run", &found.header.run)?;
    let frame = |system: &System| {
        let state = &system.state;
        let (positions, momenta) = (to_array(py, &state.positions), to_array(py, &state.momenta));
        (positions, momenta, to_array(py, state.cell.matrix()))
    };
    dict.set_item("frames", PyList::new(py, found.systems.iter().map(frame))?)?;
    Ok(dict)
}

fn states(systems: &[System]) -> Vec<&State> {
    systems.iter().map(|system| &system.state).collect()
}

fn to_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("steps", report.steps)?;
    dict.set_item("seconds", report.total.as_secs_f64())?;
    dict.set_item("seconds_neighbors", report.propagator.neighbors.as_secs_f64())?;
    dict.set_item("network_runs", report.propagator.runs)?;
    dict.set_item("seconds_network", report.propagator.network.as_secs_f64())?;
    dict.set_item("seconds_energy", report.energy.as_secs_f64())?;
    dict.set_item("seconds_callbacks", report.observer.as_secs_f64())?;
    if let Some(solver) = report.solver {
        let found = PyDict::new(py);
        found.set_item("strides", solver.strides)?;
        found.set_item("mean_sweeps", solver.sweeps as f64 / solver.strides.max(1) as f64)?;
        found.set_item("most_sweeps", solver.most_sweeps)?;
        found.set_item("largest_residual", solver.largest_residual)?;
        dict.set_item("solver", found)?;
    }
    Ok(dict)
}
