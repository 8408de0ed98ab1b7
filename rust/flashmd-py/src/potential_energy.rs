//! A potential energy that Python computes.

use flashmd::State;
use flashmd::error::Result;
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;

use crate::arrays::to_array;
use crate::convert::vectors;
use crate::errors::{from_python, input_error};

type Array<'py> = PyReadonlyArray2<'py, f64>;
type Evaluated<'py> = (f64, Array<'py>, Option<Array<'py>>);

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
