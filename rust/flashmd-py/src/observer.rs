//! Python callbacks as an observer and an energy.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flashmd::State;
use flashmd::checkpoint;
use flashmd::energy::{EnergyForces, PotentialEnergy};
use flashmd::error::Result;
use flashmd::guard::Finding;
use flashmd::rollout::{Frame, Observer};
use flashmd::system::System;
use flashmd::units::{FS, FS_PER_PS};
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{to_array, vectors};
use crate::errors::{from_python, input_error};

type Array<'py> = PyReadonlyArray2<'py, f64>;
type Evaluated<'py> = (f64, Array<'py>, Option<Array<'py>>);

/// Least time between two calls of `on_progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Calls back into Python; Ctrl-C is looked for after every stride.
pub(crate) struct PyObserver {
    calls: Calls,
    saver: Option<Saver>,
    last_step: u64,
    last_progress: Instant,
}

/// What Python wants to be told: the fields of `flashmd_rs.run.Calls`.
#[derive(FromPyObject)]
pub(crate) struct Calls {
    /// When everything was found good.
    on_begin: Py<PyAny>,
    on_frame: Py<PyAny>,
    on_flag: Py<PyAny>,
    /// After every stride; it may raise to end the run.
    on_stride: Py<PyAny>,
    /// A few times a second.
    on_progress: Py<PyAny>,
}

/// Saves checkpoints: the core's part, and what Python wants to find again beside it.
pub(crate) struct Saver {
    pub(crate) path: PathBuf,
    /// Brings the run's files to disk and says, in JSON, where they end.
    pub(crate) on_save: Py<PyAny>,
    pub(crate) model_sha256: String,
}

impl PyObserver {
    pub(crate) fn new(calls: Calls, saver: Option<Saver>, last_step: u64) -> Self {
        Self { calls, saver, last_step, last_progress: Instant::now() }
    }

    fn call_frame(&self, py: Python<'_>, frame: &Frame<'_>) -> PyResult<()> {
        let dict = describe(py, frame.system, frame.state)?;
        dict.set_item("time_fs", frame.time_fs)?;
        dict.set_item("potential_energy", frame.potential_energy)?;
        dict.set_item("conserved_energy", frame.conserved_energy)?;
        self.calls.on_frame.call1(py, (dict,)).map(drop)
    }

    fn call_flag(&self, py: Python<'_>, system: usize, findings: &[Finding], state: &State) -> PyResult<()> {
        let dict = describe(py, system, state)?;
        let said = |f: &Finding| (f.quantity.name(), f.atoms.clone(), f.message.clone());
        dict.set_item("time_ps", state.time / FS / FS_PER_PS)?;
        dict.set_item("findings", findings.iter().map(said).collect::<Vec<_>>())?;
        self.calls.on_flag.call1(py, (dict,)).map(drop)
    }

    fn poll(&mut self, py: Python<'_>, state: &State) -> PyResult<()> {
        py.check_signals()?;
        self.calls.on_stride.call0(py)?;
        if state.step == self.last_step || self.last_progress.elapsed() >= PROGRESS_INTERVAL {
            self.last_progress = Instant::now();
            self.calls.on_progress.call1(py, (state.step, state.temperature()))?;
        }
        Ok(())
    }
}

impl Observer for PyObserver {
    fn begin(&mut self) -> Result<()> {
        Python::attach(|py| self.calls.on_begin.call0(py).map(drop)).map_err(from_python)
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<ControlFlow<()>> {
        Python::attach(|py| self.call_frame(py, frame)).map_err(from_python)?;
        Ok(ControlFlow::Continue(()))
    }

    fn stride(&mut self, state: &State) -> Result<ControlFlow<()>> {
        Python::attach(|py| self.poll(py, state)).map_err(from_python)?;
        Ok(ControlFlow::Continue(()))
    }

    fn flagged(&mut self, system: usize, findings: &[Finding], state: &State) -> Result<()> {
        Python::attach(|py| self.call_flag(py, system, findings, state)).map_err(from_python)
    }

    fn checkpoint(&mut self, systems: &[System]) -> Result<()> {
        let Some(Saver { path, on_save, model_sha256 }) = &self.saver else { return Ok(()) };
        let run = Python::attach(|py| on_save.call0(py)?.extract::<String>(py)).map_err(from_python)?;
        checkpoint::save(path, systems, model_sha256, run)
    }
}

/// A state as a dictionary.
fn describe<'py>(py: Python<'py>, system: usize, state: &State) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("system", system)?;
    dict.set_item("step", state.step)?;
    dict.set_item("positions", to_array(py, &state.positions))?;
    dict.set_item("momenta", to_array(py, &state.momenta))?;
    dict.set_item("cell", to_array(py, state.cell.matrix()))?;
    Ok(dict)
}

/// A Python object with `energy` and `evaluate`, each of (replica, positions, cell).
pub(crate) struct PyEnergy(pub(crate) Py<PyAny>);

impl PyEnergy {
    fn call<'py>(&self, py: Python<'py>, method: &str, state: &State) -> PyResult<Bound<'py, PyAny>> {
        let (positions, cell) = (to_array(py, &state.positions), to_array(py, state.cell.matrix()));
        self.0.bind(py).call_method1(method, (state.key.replica, positions, cell))
    }

    fn call_evaluate(&self, py: Python<'_>, state: &State) -> PyResult<EnergyForces> {
        let (energy, forces, virial): Evaluated<'_> = self.call(py, "evaluate", state)?.extract()?;
        let forces = vectors(py, "forces", &forces)?;
        let virial = virial.map(|v| vectors(py, "virial", &v)).transpose()?;
        match virial.map(<[[f64; 3]; 3]>::try_from).transpose() {
            Ok(virial) if forces.len() == state.len() => Ok(EnergyForces { energy, forces, virial }),
            _ => Err(input_error(py, "forces must have shape [N, 3] and the virial [3, 3]")),
        }
    }
}

impl PotentialEnergy for PyEnergy {
    fn energy(&mut self, state: &State) -> Result<f64> {
        Python::attach(|py| self.call(py, "energy", state)?.extract()).map_err(from_python)
    }

    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        Python::attach(|py| self.call_evaluate(py, state)).map_err(from_python)
    }
}
