//! The class `Model`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use flashmd::energy::{EnergyForces, PotentialEnergy};
use flashmd::error::Result;
use flashmd::model::energy::EnergyModel;
use flashmd::model::{Contract, Device, Kind, Model as CoreModel, process};
use flashmd::propagators::prepare;
use flashmd::stride::Randomness;
use flashmd::{Error, State, guard};
use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::convert::{Atoms, to_array};
use crate::errors::{detached, input_error};

type Array2<'py> = Bound<'py, PyArray2<f64>>;

#[pyfunction]
pub(crate) fn inspect_model(py: Python<'_>, data: &[u8]) -> PyResult<String> {
    detached(py, || Contract::read(data)).map(|contract| contract.json)
}

/// A session serves one run at a time: others wait, except the thread that is already inside.
#[pyclass(frozen, module = "flashmd_rs._core")]
pub(crate) struct Model {
    inner: Mutex<CoreModel>,
    /// Number of the thread that holds `inner`, 0 for none.
    holder: AtomicU64,
    metadata_json: String,
    sha256: String,
    inputs: Vec<&'static str>,
    outputs: Vec<String>,
    device: Device,
    kind: Kind,
    name: String,
}

/// The model, for as long as a call uses it.
pub(crate) struct Held<'a> {
    guard: MutexGuard<'a, CoreModel>,
    holder: &'a AtomicU64,
}

impl Held<'_> {
    pub(crate) fn model(&mut self) -> &mut CoreModel {
        &mut self.guard
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Ordering::SeqCst);
    }
}

impl Model {
    /// `Model` if the model is of another kind.
    pub(crate) fn expect_kind(&self, wanted: Kind) -> Result<()> {
        if self.kind == wanted {
            return Ok(());
        }
        let (name, got, wanted) = (&self.name, self.kind.name(), wanted.name());
        Err(Error::Model(format!("{name}: it is of kind {got:?}, wanted {wanted:?} here; give a model of that kind")))
    }

    /// Checks that the model moves atoms.
    pub(crate) fn expect_to_move(&self) -> Result<()> {
        if self.kind.moves() { Ok(()) } else { self.expect_kind(Kind::Direct) }
    }

    /// Takes the model; call it without the GIL, which another thread may need to let go of the model.
    ///
    /// # Errors
    /// `Input` if this thread holds it already, `RuntimeLibrary` in a forked process, where the lock may never open.
    pub(crate) fn hold(&self) -> Result<Held<'_>> {
        process::check()?;
        let me = thread_number();
        if self.holder.load(Ordering::SeqCst) == me {
            return Err(Error::Input(
                "this model is running the rollout that called you back; load it a second time".into(),
            ));
        }
        let guard =
            self.inner.lock().map_err(|_| Error::Model("a run with this model panicked; load it again".into()))?;
        self.holder.store(me, Ordering::SeqCst);
        Ok(Held { guard, holder: &self.holder })
    }
}

/// A number of the current thread, from 1.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (data, *, name, device = "cpu", threads = None))]
    fn new(py: Python<'_>, data: &[u8], name: &str, device: &str, threads: Option<i64>) -> PyResult<Self> {
        let device = match device {
            "cpu" => Device::Cpu,
            "cuda" => Device::Cuda,
            other => return Err(input_error(py, &format!("device is {other:?}; wanted \"cpu\" or \"cuda\""))),
        };
        let threads = match threads.map(usize::try_from) {
            None => None,
            Some(Ok(count @ 1..=4096)) => Some(count),
            Some(_) => return Err(input_error(py, "threads must be a number from 1 to 4096, or None for every core")),
        };
        let model = detached(py, || CoreModel::load(data, name, device, threads))?;
        let contract = model.contract();
        Ok(Self {
            metadata_json: contract.json.clone(),
            sha256: model.sha256().to_owned(),
            inputs: contract.inputs.iter().map(|i| i.name()).collect(),
            outputs: contract.output_names.clone(),
            device,
            kind: model.metadata().kind,
            name: name.to_owned(),
            holder: AtomicU64::new(0),
            inner: Mutex::new(model),
        })
    }

    #[getter]
    fn metadata_json(&self) -> &str {
        &self.metadata_json
    }

    #[getter]
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    #[getter]
    fn inputs(&self) -> Vec<&'static str> {
        self.inputs.clone()
    }

    #[getter]
    fn outputs(&self) -> Vec<String> {
        self.outputs.clone()
    }

    #[getter]
    fn device(&self) -> &'static str {
        self.device.name()
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
        let mut held = self.hold()?;
        let mut stride = prepare(held.model(), &[&*state], Randomness::default(), false)?;
        let time_ps = stride.stride_fs() / flashmd::units::FS_PER_PS;
        stride.advance(state).and_then(|()| guard::check_finite(state)).map_err(|e| e.at(1, time_ps, None))
    }

    fn evaluate(&self, state: &State) -> Result<EnergyForces> {
        let mut held = self.hold()?;
        EnergyModel::new(held.model(), &[state])?.evaluate(state)
    }
}
