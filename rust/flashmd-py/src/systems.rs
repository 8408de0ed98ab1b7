//! Python's description of a system as the core's.

use flashmd::State;
use flashmd::error::Result;
use flashmd::filters::molecules::Molecules;
use flashmd::random::Key;
use flashmd::run::System;
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::convert::Atoms;
use crate::errors::to_python;
use crate::settings::Settings;

/// One system: fields of `flashmd_rs`' `SystemInput`.
#[derive(FromPyObject)]
#[allow(non_snake_case, reason = "names carry their units")]
pub(crate) struct SystemInput<'py> {
    positions: PyReadonlyArray2<'py, f64>,
    momenta: PyReadonlyArray2<'py, f64>,
    masses: PyReadonlyArray1<'py, f64>,
    numbers: PyReadonlyArray1<'py, i64>,
    cell: PyReadonlyArray2<'py, f64>,
    pbc: PyReadonlyArray1<'py, bool>,
    fixed: PyReadonlyArray1<'py, bool>,
    bond_radii: PyReadonlyArray1<'py, f64>,
    replica: u64,
    pub(crate) temperature_K: Option<f64>,
}

impl SystemInput<'_> {
    /// The state it describes.
    pub(crate) fn state(&self, py: Python<'_>, settings: &Settings) -> PyResult<State> {
        let atoms = Atoms {
            positions: &self.positions,
            momenta: Some(&self.momenta),
            masses: &self.masses,
            numbers: &self.numbers,
            cell: &self.cell,
            pbc: &self.pbc,
        };
        let mut state = atoms.state(py)?.with_fixed(self.fixed.as_array().to_vec()).map_err(|e| to_python(py, e))?;
        state.key = Key { seed: settings.seed, replica: self.replica };
        Ok(state)
    }

    /// `state` as a system at its beginning: its molecules are found where something needs them.
    pub(crate) fn begin(&self, state: State, settings: &Settings) -> Result<System> {
        let mut system = System::new(state);
        if settings.needs_molecules() {
            system.molecules = Molecules::find(&system.state, &self.bond_radii.as_array().to_vec())?;
        }
        Ok(system)
    }
}
