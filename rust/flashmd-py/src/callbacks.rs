//! Python callbacks as an observer.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flashmd::State;
use flashmd::error::Result;
use flashmd::run::checkpoint;
use flashmd::run::{Frame, Observer, System};
use flashmd::units::{FS, FS_PER_PS};
use flashmd::violation::Violation;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::to_array;
use crate::interpreter::attached;

/// Least time between two calls of `on_progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What Python wants to be told: fields of `flashmd_rs`' `Callbacks`.
#[derive(FromPyObject)]
pub(crate) struct Callbacks {
    on_begin: Py<PyAny>,
    on_frame: Py<PyAny>,
    on_violations: Py<PyAny>,
    on_stride: Py<PyAny>,
    on_progress: Py<PyAny>,
    on_observe: Py<PyAny>,
    observe_intervals: Vec<u64>,
}

/// Where and how often checkpoints are saved: fields of `flashmd_rs`' `CheckpointWriter`.
#[derive(FromPyObject)]
pub(crate) struct CheckpointWriter {
    path: PathBuf,
    pub(crate) interval: u64,
    /// Brings the run's files to disk and says, in JSON, where they end.
    describe: Py<PyAny>,
}

/// Calls back into Python; Ctrl-C is looked for after every stride.
pub(crate) struct PyObserver {
    /// There until the garbage collector takes them.
    callbacks: Option<Callbacks>,
    writer: Option<CheckpointWriter>,
    model_sha256: String,
    last_progress: Instant,
}

impl PyObserver {
    pub(crate) fn new(callbacks: Callbacks, writer: Option<CheckpointWriter>, model_sha256: String) -> Self {
        Self { callbacks: Some(callbacks), writer, model_sha256, last_progress: Instant::now() }
    }

    /// SHA-256 of the model that moves the atoms.
    pub(crate) fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// Shows what it holds to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        if let Some(callbacks) = &self.callbacks {
            let Callbacks { on_begin, on_frame, on_violations, on_stride, on_progress, on_observe, .. } = callbacks;
            for callback in [on_begin, on_frame, on_violations, on_stride, on_progress, on_observe] {
                visit.call(callback)?;
            }
        }
        self.writer.as_ref().map_or(Ok(()), |writer| visit.call(&writer.describe))
    }

    /// Lets go of all callbacks.
    pub(crate) fn clear(&mut self) {
        (self.callbacks, self.writer) = (None, None);
    }

    /// Tells how far the run is.
    pub(crate) fn tell_progress(&mut self, state: &State) -> Result<()> {
        attached(|py| self.progress(py, state))
    }

    fn progress(&mut self, py: Python<'_>, state: &State) -> PyResult<()> {
        self.last_progress = Instant::now();
        self.call(|c| c.on_progress.call1(py, (state.step, state.temperature())).map(drop))
    }

    fn call(&self, call: impl FnOnce(&Callbacks) -> PyResult<()>) -> PyResult<()> {
        self.callbacks.as_ref().map_or(Ok(()), call)
    }

    fn call_violations(&self, py: Python<'_>, system: usize, found: &[Violation], state: &State) -> PyResult<()> {
        let dict = describe(py, system, state)?;
        let found = found.iter().map(|v| (v.quantity.name(), v.atoms.clone(), v.message.clone()));
        dict.set_item("time_ps", state.time / FS / FS_PER_PS)?;
        dict.set_item("violations", found.collect::<Vec<_>>())?;
        self.call(|c| c.on_violations.call1(py, (dict,)).map(drop))
    }

    /// Calls `on_observe` for every living system, if an observer is due; true if one ends the run.
    fn call_observers(&self, py: Python<'_>, living: &[Frame<'_>]) -> PyResult<bool> {
        let Some(callbacks) = &self.callbacks else { return Ok(false) };
        let step = living.first().map_or(0, |frame| frame.state.step);
        let mut ends = false;
        if callbacks.observe_intervals.iter().any(|&n| n > 0 && step.is_multiple_of(n)) {
            for frame in living {
                ends |= callbacks.on_observe.bind(py).call1((state_dict(py, frame)?,))?.is_truthy()?;
            }
        }
        Ok(ends)
    }

    fn call_stride(&mut self, py: Python<'_>, living: &[Frame<'_>]) -> PyResult<ControlFlow<()>> {
        let ends = self.call_observers(py, living)?;
        py.check_signals()?;
        self.call(|c| c.on_stride.call0(py).map(drop))?;
        if let Some(first) = living.first().filter(|_| self.last_progress.elapsed() >= PROGRESS_INTERVAL) {
            self.progress(py, first.state)?;
        }
        Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Observer for PyObserver {
    fn begin(&mut self) -> Result<()> {
        attached(|py| self.call(|c| c.on_begin.call0(py).map(drop)))
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        let call = |py: Python<'_>| {
            let dict = state_dict(py, frame)?;
            dict.set_item("conserved_energy", frame.conserved_energy)?;
            self.call(|c| c.on_frame.call1(py, (dict,)).map(drop))
        };
        attached(call)
    }

    fn violations(&mut self, system: usize, violations: &[Violation], state: &State) -> Result<()> {
        attached(|py| self.call_violations(py, system, violations, state))
    }

    fn checkpoint(&mut self, systems: &[System]) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let run = attached(|py| writer.describe.call0(py)?.extract::<String>(py))?;
        checkpoint::save(&writer.path, systems, &self.model_sha256, run)
    }

    fn stride(&mut self, living: &[Frame<'_>]) -> Result<ControlFlow<()>> {
        attached(|py| self.call_stride(py, living))
    }
}

/// A frame as a dictionary, without its conserved energy.
pub(crate) fn state_dict<'py>(py: Python<'py>, frame: &Frame<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = describe(py, frame.system, frame.state)?;
    dict.set_item("time_fs", frame.time_fs)?;
    dict.set_item("potential_energy", frame.potential_energy)?;
    dict.set_item("virial", frame.virial.map(|virial| to_array(py, &virial)))?;
    dict.set_item("stress", frame.stress().map(|stress| to_array(py, &stress)))?;
    Ok(dict)
}

fn describe<'py>(py: Python<'py>, system: usize, state: &State) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("system", system)?;
    dict.set_item("step", state.step)?;
    dict.set_item("positions", to_array(py, &state.positions))?;
    dict.set_item("momenta", to_array(py, &state.momenta))?;
    dict.set_item("cell", to_array(py, state.cell.matrix()))?;
    Ok(dict)
}
