//! Python callbacks as an observer and an energy.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use flashmd::State;
use flashmd::energy::{EnergyForces, PotentialEnergy};
use flashmd::error::Result;
use flashmd::rollout::{Frame, Observer};
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{to_array, vectors};
use crate::errors::{from_python, input_error};

type Array<'py> = PyReadonlyArray2<'py, f64>;

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
        dict.set_item("system", frame.system)?;
        dict.set_item("step", frame.state.step)?;
        dict.set_item("time_fs", frame.time_fs)?;
        dict.set_item("positions", to_array(py, &frame.state.positions))?;
        dict.set_item("momenta", to_array(py, &frame.state.momenta))?;
        dict.set_item("cell", to_array(py, frame.state.cell.matrix()))?;
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

/// A Python object with `energy` and `evaluate`, each of (replica, positions, cell).
pub(crate) struct PyEnergy(pub(crate) Py<PyAny>);

impl PyEnergy {
    fn call<'py>(&self, py: Python<'py>, method: &str, state: &State) -> PyResult<Bound<'py, PyAny>> {
        let (positions, cell) = (to_array(py, &state.positions), to_array(py, state.cell.matrix()));
        self.0.bind(py).call_method1(method, (state.key.replica, positions, cell))
    }

    fn call_evaluate(&self, py: Python<'_>, state: &State) -> PyResult<EnergyForces> {
        let (energy, forces, virial): (f64, Array<'_>, Array<'_>) = self.call(py, "evaluate", state)?.extract()?;
        let forces = vectors(py, "forces", &forces)?;
        match <[[f64; 3]; 3]>::try_from(vectors(py, "virial", &virial)?) {
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
