//! The class `Model`.

use std::sync::Arc;

use flashmd::State;
use flashmd::error::Result;
use flashmd::filters::guard;
use flashmd::model::{Contract, Device, Kernels, Kind, Model as CoreModel, Placement};
use flashmd::network::EnergyModel;
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use flashmd::propagators::Randomness;
use flashmd::propagators::prepare;
use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::arrays::to_array;
use crate::convert::Atoms;
use crate::errors::input_error;
use crate::interpreter::detached;

/// More than any machine has.
const MOST_THREADS: usize = 4096;

type Array2<'py> = Bound<'py, PyArray2<f64>>;

#[pyfunction]
pub(crate) fn inspect_model(py: Python<'_>, data: &[u8]) -> PyResult<String> {
    detached(py, || Contract::read(data)).map(|contract| contract.json)
}

/// A loaded model; simulations that use it hold a share of their own.
#[pyclass(frozen, module = "flashmd_rs._core")]
pub(crate) struct Model {
    inner: Arc<CoreModel>,
}

impl Model {
    /// A share of the model.
    pub(crate) fn share(&self) -> Arc<CoreModel> {
        Arc::clone(&self.inner)
    }
}

/// Checks that a model moves atoms.
pub(crate) fn expect_to_move(model: &CoreModel) -> Result<()> {
    if model.metadata().kind.spec().moves_atoms { Ok(()) } else { model.expect_kind(Kind::Direct) }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (data, *, name, threads, device = "cpu", kernels = "auto"))]
    fn new(py: Python<'_>, data: &[u8], name: &str, threads: i64, device: &str, kernels: &str) -> PyResult<Self> {
        let device = match device {
            "cpu" => Device::Cpu,
            "cuda" => Device::Cuda,
            other => return Err(input_error(py, &format!("device is {other:?}; wanted \"cpu\" or \"cuda\""))),
        };
        let kernels = match kernels {
            "auto" => Kernels::Auto,
            "off" => Kernels::Off,
            other => return Err(input_error(py, &format!("kernels is {other:?}; wanted \"auto\" or \"off\""))),
        };
        let threads = match usize::try_from(threads) {
            Ok(count @ 1..=MOST_THREADS) => count,
            _ => {
                return Err(input_error(
                    py,
                    &format!("got threads={threads}, wanted a number from 1 to {MOST_THREADS}"),
                ));
            }
        };
        let model = detached(py, || CoreModel::load(data, name, Placement { device, threads, kernels }))?;
        Ok(Self { inner: Arc::new(model) })
    }

    #[getter]
    fn metadata_json(&self) -> &str {
        &self.inner.contract().json
    }

    #[getter]
    fn sha256(&self) -> &str {
        self.inner.sha256()
    }

    #[getter]
    fn inputs(&self) -> Vec<&'static str> {
        self.inner.contract().inputs.iter().map(|input| input.name()).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<&str> {
        self.inner.contract().output_names.iter().map(String::as_str).collect()
    }

    /// Stages, operators in them, and operators left to ONNX Runtime; None without kernels.
    #[getter]
    fn kernels(&self) -> Option<(usize, usize, usize)> {
        self.inner.kernels().map(|found| (found.stages, found.operators, found.left))
    }

    #[getter]
    fn device(&self) -> &'static str {
        self.inner.device().name()
    }

    fn check_start(
        &self,
        py: Python<'_>,
        positions: PyReadonlyArray2<'_, f64>,
        masses: PyReadonlyArray1<'_, f64>,
        numbers: PyReadonlyArray1<'_, i64>,
        cell: PyReadonlyArray2<'_, f64>,
        pbc: PyReadonlyArray1<'_, bool>,
    ) -> PyResult<Option<String>> {
        let (masses, numbers, cell, pbc) = (&masses, &numbers, &cell, &pbc);
        let state = Atoms { positions: &positions, momenta: None, masses, numbers, cell, pbc }.state(py)?;
        detached(py, || self.inner.check_start(&state))
    }

    #[allow(clippy::too_many_arguments, reason = "the arrays of an ase.Atoms")]
    fn stride<'py>(
        &self,
        py: Python<'py>,
        positions: PyReadonlyArray2<'py, f64>,
        momenta: PyReadonlyArray2<'py, f64>,
        masses: PyReadonlyArray1<'py, f64>,
        numbers: PyReadonlyArray1<'py, i64>,
        cell: PyReadonlyArray2<'py, f64>,
        pbc: PyReadonlyArray1<'py, bool>,
    ) -> PyResult<(Array2<'py>, Array2<'py>)> {
        let (masses, numbers, cell, pbc) = (&masses, &numbers, &cell, &pbc);
        let atoms = Atoms { positions: &positions, momenta: Some(&momenta), masses, numbers, cell, pbc };
        let mut state = atoms.state(py)?;
        detached(py, || self.one_stride(&mut state))?;
        Ok((to_array(py, &state.positions), to_array(py, &state.momenta)))
    }

    fn energy<'py>(
        &self,
        py: Python<'py>,
        positions: PyReadonlyArray2<'py, f64>,
        masses: PyReadonlyArray1<'py, f64>,
        numbers: PyReadonlyArray1<'py, i64>,
        cell: PyReadonlyArray2<'py, f64>,
        pbc: PyReadonlyArray1<'py, bool>,
    ) -> PyResult<(f64, Array2<'py>, Array2<'py>)> {
        let (masses, numbers, cell, pbc) = (&masses, &numbers, &cell, &pbc);
        let state = Atoms { positions: &positions, momenta: None, masses, numbers, cell, pbc }.state(py)?;
        let result = detached(py, || self.evaluate(&state))?;
        Ok((result.energy, to_array(py, &result.forces), to_array(py, &result.virial.unwrap_or_default())))
    }
}

impl Model {
    fn one_stride(&self, state: &mut State) -> Result<()> {
        expect_to_move(&self.inner)?;
        let mut propagator = prepare(&self.inner, &[&*state], Randomness::default(), false)?;
        let time_ps = propagator.stride_fs() / flashmd::units::FS_PER_PS;
        let mut advance = || {
            let outcomes = propagator.advance(&mut [&mut *state])?;
            outcomes.into_iter().try_for_each(|outcome| outcome.result)?;
            guard::check_finite(state)
        };
        advance().map_err(|e| e.at(1, time_ps))
    }

    fn evaluate(&self, state: &State) -> Result<EnergyForces> {
        EnergyModel::new(self.share(), &[state])?.evaluate(state)
    }
}
