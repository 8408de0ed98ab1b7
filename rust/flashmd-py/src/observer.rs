//! Python callbacks as an observer and an energy.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use flashmd::State;
use flashmd::energy::PotentialEnergy;
use flashmd::error::Result;
use flashmd::rollout::{Frame, Observer};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::to_array;
use crate::errors::from_python;

/// Least time between two calls of `on_progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Calls back into Python; Ctrl-C is looked for after every stride.
pub(crate) struct PyObserver {
    pub(crate) on_frame: Py<PyAny>,
    pub(crate) on_progress: Option<Py<PyAny>>,
    pub(crate) last_step: u64,
    pub(crate) last_progress: Instant,
}

impl PyObserver {
    fn call_frame(&self, py: Python<'_>, frame: &Frame<'_>) -> PyResult<()> {
        let dict = PyDict::new(py);
        dict.set_item("step", frame.state.step)?;
        dict.set_item("time_fs", frame.time_fs)?;
        dict.set_item("positions", to_array(py, &frame.state.positions))?;
        dict.set_item("momenta", to_array(py, &frame.state.momenta))?;
        dict.set_item("potential_energy", frame.potential_energy)?;
        dict.set_item("conserved_energy", frame.conserved_energy)?;
        self.on_frame.call1(py, (dict,)).map(drop)
    }

    fn poll(&mut self, py: Python<'_>, state: &State) -> PyResult<()> {
        py.check_signals()?;
        let Some(on_progress) = &self.on_progress else { return Ok(()) };
        if state.step == self.last_step || self.last_progress.elapsed() >= PROGRESS_INTERVAL {
            self.last_progress = Instant::now();
            on_progress.call1(py, (state.step, state.temperature()))?;
        }
        Ok(())
    }
}

impl Observer for PyObserver {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<ControlFlow<()>> {
        Python::attach(|py| self.call_frame(py, frame)).map_err(from_python)?;
        Ok(ControlFlow::Continue(()))
    }

    fn stride(&mut self, state: &State) -> Result<ControlFlow<()>> {
        Python::attach(|py| self.poll(py, state)).map_err(from_python)?;
        Ok(ControlFlow::Continue(()))
    }
}

/// A Python callable of positions that returns eV.
pub(crate) struct PyEnergy(pub(crate) Py<PyAny>);

impl PotentialEnergy for PyEnergy {
    fn energy(&mut self, state: &State) -> Result<f64> {
        Python::attach(|py| self.0.call1(py, (to_array(py, &state.positions),))?.extract(py)).map_err(from_python)
    }
}
