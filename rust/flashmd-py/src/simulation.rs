//! The class `Simulation`, and `read_checkpoint`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use flashmd::error::Result;
use flashmd::model::Model as CoreModel;
use flashmd::network::EnergyModel;
use flashmd::potential_energy::PotentialEnergy;
use flashmd::propagators::Randomness;
use flashmd::propagators::prepare;
use flashmd::run::checkpoint;
use flashmd::run::{Schedule, Simulation as CoreSimulation, System};
use flashmd::{Error, Placement, State};
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::arrays::to_array;
use crate::callbacks::{Callbacks, CheckpointWriter, PyObserver, state_dict};
use crate::convert::{self, vectors};
use crate::errors::{input_error, to_python};
use crate::interpreter::detached;
use crate::model::{Model, expect_to_move};
use crate::potential_energy::PyEnergy;
use crate::settings::Settings;
use crate::statistics::statistics;
use crate::systems::SystemInput;

/// A simulation and the callbacks that see it; one call at a time.
#[pyclass(frozen, module = "flashmd_rs._core")]
pub(crate) struct Simulation {
    inner: Mutex<Inner>,
}

struct Inner {
    simulation: CoreSimulation<'static>,
    observer: PyObserver,
}

/// Where potential energies come from.
enum EnergySource {
    Model(Arc<CoreModel>),
    Python(PyEnergy),
}

impl EnergySource {
    fn of(object: &Bound<'_, PyAny>) -> Self {
        match object.cast::<Model>() {
            Ok(model) => Self::Model(model.get().share()),
            Err(_) => Self::Python(PyEnergy(object.clone().unbind())),
        }
    }

    fn prepare(self, states: &[&State]) -> Result<Box<dyn PotentialEnergy>> {
        match self {
            Self::Model(model) => Ok(Box::new(EnergyModel::new(model, states)?)),
            Self::Python(energy) => Ok(Box::new(energy)),
        }
    }
}

#[pymethods]
impl Simulation {
    #[new]
    #[pyo3(signature = (model, inputs, settings, *, energy, callbacks, bias = None, writer = None, resume = None))]
    #[allow(clippy::too_many_arguments, reason = "keywords of a Python function")]
    fn new(
        py: Python<'_>,
        model: &Bound<'_, Model>,
        inputs: Vec<SystemInput<'_>>,
        settings: Settings,
        energy: Option<Bound<'_, PyAny>>,
        callbacks: Callbacks,
        bias: Option<Bound<'_, PyAny>>,
        writer: Option<CheckpointWriter>,
        resume: Option<PathBuf>,
    ) -> PyResult<Self> {
        let systems = systems(py, &inputs, &settings, resume.as_deref())?;
        let model = model.get().share();
        let [energy, bias] = [energy, bias].map(|source| source.as_ref().map(EnergySource::of));
        let schedule = Schedule {
            interval: settings.interval,
            checkpoint_interval: writer.as_ref().map(|w| w.interval),
            resumed: resume.is_some(),
        };
        let observer = PyObserver::new(callbacks, writer, model.sha256().to_owned());
        let simulation = detached(py, || build(&model, systems, &settings, [energy, bias], schedule))?;
        Ok(Self { inner: Mutex::new(Inner { simulation, observer }) })
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            let Inner { simulation, observer } = &mut *self.lock()?;
            simulation.start(observer)
        })
    }

    fn advance(&self, py: Python<'_>, strides: u64) -> PyResult<bool> {
        detached(py, || {
            let Inner { simulation, observer } = &mut *self.lock()?;
            simulation.advance(strides, observer).map(|flow| flow.is_continue())
        })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            let Inner { simulation, observer } = &mut *self.lock()?;
            simulation.finish(observer)?;
            match simulation.systems().iter().find(|s| s.is_alive()) {
                Some(system) => observer.tell_progress(&system.state),
                None => Ok(()),
            }
        })
    }

    fn save(&self, py: Python<'_>, path: PathBuf, run: String) -> PyResult<()> {
        detached(py, || {
            let Inner { simulation, observer } = &*self.lock()?;
            simulation.check_running()?;
            if !simulation.is_alive() {
                return Err(Error::Checkpoint("every system has failed: there is nothing to go on from".into()));
            }
            checkpoint::save(&path, simulation.systems(), observer.model_sha256(), run)
        })
    }

    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.lock().map_err(|e| to_python(py, e))?.simulation.step())
    }

    fn state<'py>(&self, py: Python<'py>, system: usize) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.lock().map_err(|e| to_python(py, e))?;
        match inner.simulation.frame(system) {
            Some(frame) => state_dict(py, &frame),
            None => {
                let count = inner.simulation.systems().len();
                Err(input_error(py, &format!("there is no system {system}: there are {count}, counted from 0")))
            }
        }
    }

    fn place(
        &self,
        py: Python<'_>,
        system: usize,
        positions: PyReadonlyArray2<'_, f64>,
        momenta: PyReadonlyArray2<'_, f64>,
        cell: PyReadonlyArray2<'_, f64>,
        pbc: PyReadonlyArray1<'_, bool>,
    ) -> PyResult<()> {
        let to = Placement {
            positions: vectors(py, "positions", &positions)?,
            momenta: vectors(py, "momenta", &momenta)?,
            cell: convert::cell(py, &cell, &pbc)?,
        };
        detached(py, || self.lock()?.simulation.place(system, to))
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.lock().map_err(|e| to_python(py, e))?;
        statistics(py, &inner.simulation.report(), inner.simulation.systems())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        // While a call is in progress its caller holds everything.
        self.inner.try_lock().map_or(Ok(()), |inner| inner.observer.traverse(&visit))
    }

    fn __clear__(&self) {
        if let Ok(mut inner) = self.inner.try_lock() {
            inner.observer.clear();
        }
    }
}

impl Simulation {
    /// Takes the simulation, if nobody has it.
    fn lock(&self) -> Result<MutexGuard<'_, Inner>> {
        self.inner.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => Error::Input(
                "this simulation is at work: ask it between its strides, not from one of its own callbacks, and not from \
                 another thread meanwhile"
                    .into(),
            ),
            TryLockError::Poisoned(_) => Error::Input(
                "this simulation ended with an error and cannot go on; go on from its checkpoint, or make a new one".into(),
            ),
        })
    }
}

/// The systems at their beginning, or as the checkpoint at `resume` holds them.
fn systems(
    py: Python<'_>,
    inputs: &[SystemInput<'_>],
    settings: &Settings,
    resume: Option<&Path>,
) -> PyResult<Vec<System>> {
    let states = inputs.iter().map(|input| input.state(py, settings)).collect::<PyResult<Vec<State>>>()?;
    let build = || {
        let mut systems = match resume {
            Some(path) => checkpoint::load(path)?.resume(&states)?,
            None => {
                let begin = |(input, state): (&SystemInput<'_>, State)| input.begin(state, settings);
                inputs.iter().zip(states).map(begin).collect::<Result<Vec<System>>>()?
            }
        };
        for (system, input) in systems.iter_mut().zip(inputs) {
            settings.equip(system, input.temperature_K)?;
        }
        Ok(systems)
    };
    build().map_err(|e| to_python(py, e))
}

fn build(
    model: &Arc<CoreModel>,
    mut systems: Vec<System>,
    settings: &Settings,
    [energy, bias]: [Option<EnergySource>; 2],
    schedule: Schedule,
) -> Result<CoreSimulation<'static>> {
    expect_to_move(model)?;
    // A checkpoint brings them along: what is bonded was decided when the run began.
    for system in &mut systems {
        model.find_bonds(&mut system.state)?;
    }
    let states: Vec<&State> = systems.iter().map(|system| &system.state).collect();
    let randomness = Randomness { rotate: settings.random_rotation, stochastic_noise: true };
    let propagator = prepare(model, &states, randomness, settings.checks_domain())?;
    let energy = energy.map(|source| source.prepare(&states)).transpose()?;
    let bias = bias.map(|source| source.prepare(&states)).transpose()?;
    let simulation = CoreSimulation::new(systems, propagator, energy, schedule)?;
    match bias {
        Some(bias) => simulation.with_bias(bias),
        None => Ok(simulation),
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
