//! Python's description of the systems of a run as the core's, and back.

use flashmd::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Moves, Reservoir};
use flashmd::error::Result;
use flashmd::guard::{Policy, Quantity};
use flashmd::metropolis::Metropolis;
use flashmd::molecules::Molecules;
use flashmd::random::Key;
use flashmd::rescale::{Fallback, Rescale, Scope};
use flashmd::system::System;
use flashmd::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::units::BAR;
use flashmd::{Error, State};
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::Atoms;
use crate::errors::to_python;

/// What is the same for every system of a run: the fields of `flashmd_rs.settings.Settings`.
#[derive(FromPyObject)]
#[allow(non_snake_case, reason = "names carry their units")]
pub(crate) struct Settings {
    pub(crate) steps: u64,
    pub(crate) interval: u64,
    pub(crate) seed: u64,
    pub(crate) stride_fs: f64,
    pub(crate) random_rotation: bool,
    thermostat: String,
    time_constant_fs: f64,
    metropolis: bool,
    rescale_scope: Option<String>,
    rescale_fallback: String,
    rescale_limit: f64,
    barostat: String,
    pressure_bar: f64,
    compressibility_per_bar: f64,
    barostat_time_constant_fs: f64,
    barostat_interval: u64,
    barostat_coupling: String,
    guard: String,
    guard_fallback_strides: u64,
    guard_timestep_fs: f64,
}

/// One system: the fields of `flashmd_rs.structure.Start`.
#[derive(FromPyObject)]
#[allow(non_snake_case, reason = "names carry their units")]
pub(crate) struct Start<'py> {
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

impl Start<'_> {
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

impl Settings {
    fn needs_molecules(&self) -> bool {
        self.barostat != "none" || self.rescale_scope.as_deref() == Some("molecule")
    }

    /// Puts the filters of these settings around a system.
    pub(crate) fn equip(&self, system: &mut System, kelvin: Option<f64>) -> Result<()> {
        system.guard = self.guard()?;
        system.thermostat = self.thermostat(kelvin)?;
        system.metropolis = kelvin.filter(|_| self.metropolis).map(Metropolis::new).transpose()?;
        system.rescale = self.rescale(system)?;
        system.barostat = self.barostat(kelvin)?;
        Ok(())
    }

    /// True if the model's domain is looked at.
    pub(crate) fn watches(&self) -> bool {
        self.guard != "off"
    }

    fn guard(&self) -> Result<Option<Policy>> {
        match self.guard.as_str() {
            "off" => Ok(None),
            // A frame is collected where it is reported.
            "warn" | "collect" => Ok(Some(Policy::Report)),
            "stop" => Ok(Some(Policy::Stop)),
            "fallback" => {
                Policy::fallback(self.guard_fallback_strides, self.guard_timestep_fs, self.stride_fs).map(Some)
            }
            other => Err(unknown("guard", other)),
        }
    }

    fn thermostat(&self, kelvin: Option<f64>) -> Result<Option<Thermostat>> {
        let Some(kelvin) = kelvin else { return Ok(None) };
        let (tau, stride) = (self.time_constant_fs, self.stride_fs);
        match self.thermostat.as_str() {
            "none" => Ok(None),
            "langevin" => Ok(Some(Thermostat::Langevin(Langevin::new(kelvin, tau, stride)?))),
            "bussi" => Ok(Some(Thermostat::Bussi(Bussi::new(kelvin, tau, stride)?))),
            other => Err(unknown("thermostat", other)),
        }
    }

    fn rescale(&self, system: &System) -> Result<Option<Rescale>> {
        let scope = match self.rescale_scope.as_deref() {
            None => return Ok(None),
            Some("global") => Scope::Global,
            Some("species") => Scope::Groups(system.state.numbers.iter().map(|&z| z.into()).collect()),
            Some("molecule") => Scope::Groups(system.molecules.of.clone()),
            Some(other) => return Err(unknown("rescaling", other)),
        };
        let fallback = match self.rescale_fallback.as_str() {
            "stop" => Fallback::Stop,
            "skip" => Fallback::Skip,
            "clamp" => Fallback::Clamp,
            other => return Err(unknown("rescaling fallback", other)),
        };
        Rescale::new(scope, self.rescale_limit, fallback).map(Some)
    }

    fn barostat(&self, kelvin: Option<f64>) -> Result<Option<Barostat>> {
        if self.barostat == "none" {
            return Ok(None);
        }
        let reservoir = Reservoir {
            pressure: self.pressure_bar * BAR,
            temperature: kelvin.unwrap_or(f64::NAN),
            compressibility: self.compressibility_per_bar / BAR,
            coupling: match self.barostat_coupling.as_str() {
                "isotropic" => Coupling::Isotropic,
                "anisotropic" => Coupling::Anisotropic,
                other => return Err(unknown("coupling", other)),
            },
            interval: self.barostat_interval,
        };
        match self.barostat.as_str() {
            "cell_rescaling" => CellRescaling::new(reservoir, self.barostat_time_constant_fs, self.stride_fs)
                .map(|b| Some(Barostat::CellRescaling(b))),
            "monte_carlo" => MonteCarlo::new(reservoir).map(|b| Some(Barostat::MonteCarlo(b))),
            other => Err(unknown("barostat", other)),
        }
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::Input(format!("there is no {what} called {name:?}"))
}

/// The accounts of a system, and why it ended early.
pub(crate) fn account<'py>(py: Python<'py>, system: &mut System) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let ledger = &system.ledger;
    dict.set_item("heat_eV", ledger.heat)?;
    dict.set_item("work_eV", ledger.work)?;
    dict.set_item("molecules", system.molecules.count)?;
    let tested = counts(py, ledger.metropolis)?;
    dict.set_item("metropolis", system.metropolis.as_ref().map(|_| tested))?;
    let rescale = PyDict::new(py);
    let tally = ledger.rescale;
    rescale.set_item("count", tally.count)?;
    rescale.set_item("skipped", tally.skipped)?;
    rescale.set_item("clamped", tally.clamped)?;
    rescale.set_item("alpha_min", Some(tally.alpha_min).filter(|_| tally.count > 0))?;
    rescale.set_item("alpha_max", Some(tally.alpha_max).filter(|_| tally.count > 0))?;
    dict.set_item("rescale", system.rescale.as_ref().map(|_| rescale))?;
    let moves = counts(py, ledger.moves)?;
    dict.set_item("barostat", system.barostat.as_ref().map(|_| moves))?;
    let guard = PyDict::new(py);
    guard.set_item("fallback_strides", ledger.guard.fallbacks)?;
    let counts = Quantity::ALL.iter().zip(ledger.guard.counts).filter(|(_, count)| *count > 0);
    guard.set_item("strides", counts.map(|(quantity, count)| (quantity.name(), count)).collect::<Vec<_>>())?;
    dict.set_item("guard", system.guard.map(|_| guard))?;
    let failure = system.failure.take().map(|e| to_python(py, e).into_value(py));
    dict.set_item("failure", failure)?;
    Ok(dict)
}

fn counts(py: Python<'_>, moves: Moves) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("tried", moves.tried)?;
    dict.set_item("accepted", moves.accepted)?;
    Ok(dict)
}
