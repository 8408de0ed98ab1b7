//! A potential energy that Python computes.

use flashmd::State;
use flashmd::error::Result;
use flashmd::linalg::Mat3;
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;

use crate::arrays::to_array;
use crate::convert::vectors;
use crate::errors::input_error;
use crate::interpreter::attached;

type Array<'py> = PyReadonlyArray2<'py, f64>;
type Evaluated<'py> = (f64, Array<'py>, Option<Array<'py>>);

/// A Python object with `energy`, `evaluate` and `energy_and_virial`, each of (replica, positions, cell).
pub(crate) struct PyEnergy(pub(crate) Py<PyAny>);

impl PyEnergy {
    fn call<'py>(&self, py: Python<'py>, method: &str, state: &State) -> PyResult<Bound<'py, PyAny>> {
        let (positions, cell) = (to_array(py, &state.positions), to_array(py, state.cell.matrix()));
        self.0.bind(py).call_method1(method, (state.key.replica, positions, cell))
    }

    fn call_evaluate(&self, py: Python<'_>, state: &State) -> PyResult<EnergyForces> {
        let (energy, forces, virial): Evaluated<'_> = self.call(py, "evaluate", state)?.extract()?;
        let forces = vectors(py, "forces", &forces)?;
        if forces.len() != state.len() {
            return Err(input_error(py, "forces must have shape [N, 3]"));
        }
        let virial = virial.map(|v| matrix(py, &v)).transpose()?;
        Ok(EnergyForces { energy, forces, virial })
    }

    fn call_energy_and_virial(&self, py: Python<'_>, state: &State) -> PyResult<Option<(f64, Mat3)>> {
        let found: Option<(f64, Array<'_>)> = self.call(py, "energy_and_virial", state)?.extract()?;
        found.map(|(energy, virial)| Ok((energy, matrix(py, &virial)?))).transpose()
    }
}

/// A virial.
fn matrix(py: Python<'_>, virial: &Array<'_>) -> PyResult<Mat3> {
    let rows = vectors(py, "virial", virial)?;
    Mat3::try_from(rows).map_err(|_| input_error(py, "the virial must have shape [3, 3]"))
}

impl PotentialEnergy for PyEnergy {
    fn energy(&mut self, state: &State) -> Result<f64> {
        attached(|py| self.call(py, "energy", state)?.extract())
    }

    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        attached(|py| self.call_evaluate(py, state))
    }

    fn energy_and_virial(&mut self, state: &State) -> Result<Option<(f64, Mat3)>> {
        attached(|py| self.call_energy_and_virial(py, state))
    }
}
