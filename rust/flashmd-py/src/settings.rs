//! The settings of a run as Python describes them, and the filters that they stand for.

use flashmd::Error;
use flashmd::error::Result;
use flashmd::filters::barostat::{Barostat, CellRescaling, Coupling, MonteCarlo, Reservoir};
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::metropolis::Metropolis;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, Scope};
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::run::System;
use flashmd::units::BAR;
use pyo3::prelude::*;

/// What is the same for every system of a run: fields of `flashmd_rs`' `Settings`.
#[derive(FromPyObject)]
pub(crate) struct Settings {
    pub(crate) interval: u64,
    pub(crate) seed: u64,
    stride_fs: f64,
    pub(crate) random_rotation: bool,
    metropolis: bool,
    pressure_bar: f64,
    thermostat: Option<ThermostatOption>,
    barostat: Option<BarostatOption>,
    rescale_energy: Option<RescalingOption>,
    guard: GuardOption,
}

/// `Langevin` or `Bussi`.
#[derive(FromPyObject)]
struct ThermostatOption {
    kind: String,
    time_constant_fs: f64,
}

/// `CellRescaling` or `MonteCarloBarostat`; the latter has no time constant.
#[derive(FromPyObject)]
struct BarostatOption {
    kind: String,
    interval: u64,
    coupling: String,
    compressibility_per_bar: f64,
    #[pyo3(attribute, default)]
    time_constant_fs: Option<f64>,
}

/// `EnergyRescaling`.
#[derive(FromPyObject)]
struct RescalingOption {
    scope: String,
    fallback: String,
    limit: f64,
}

/// `Guard`.
#[derive(FromPyObject)]
struct GuardOption {
    policy: String,
    fallback_strides: u64,
    timestep_fs: f64,
}

impl Settings {
    /// True if a filter acts on whole molecules.
    pub(crate) fn needs_molecules(&self) -> bool {
        self.barostat.is_some() || self.rescale_energy.as_ref().is_some_and(|option| option.scope == "molecule")
    }

    /// True if states are checked against the model's domain.
    pub(crate) fn checks_domain(&self) -> bool {
        self.guard.policy != "off"
    }

    /// Puts the filters of these settings around a system with a thermostat at `kelvin`, if it has one.
    pub(crate) fn equip(&self, system: &mut System, kelvin: Option<f64>) -> Result<()> {
        system.guard = self.guard.policy(self.stride_fs)?;
        system.thermostat = self.thermostat(kelvin)?;
        system.metropolis = kelvin.filter(|_| self.metropolis).map(Metropolis::new).transpose()?;
        system.rescaling = self.rescale_energy.as_ref().map(|option| option.filter(system)).transpose()?;
        let barostat = |option: &BarostatOption| option.filter(kelvin, self.pressure_bar, self.stride_fs);
        system.barostat = self.barostat.as_ref().map(barostat).transpose()?;
        Ok(())
    }

    fn thermostat(&self, kelvin: Option<f64>) -> Result<Option<Thermostat>> {
        let (Some(kelvin), Some(option)) = (kelvin, &self.thermostat) else { return Ok(None) };
        let (tau, stride) = (option.time_constant_fs, self.stride_fs);
        match option.kind.as_str() {
            "langevin" => Ok(Some(Thermostat::Langevin(Langevin::new(kelvin, tau, stride)?))),
            "bussi" => Ok(Some(Thermostat::Bussi(Bussi::new(kelvin, tau, stride)?))),
            other => Err(unknown("thermostat", other)),
        }
    }
}

impl GuardOption {
    fn policy(&self, stride_fs: f64) -> Result<Option<GuardPolicy>> {
        match self.policy.as_str() {
            "off" => Ok(None),
            // A frame is collected where it is reported.
            "warn" | "collect" => Ok(Some(GuardPolicy::Report)),
            "stop" => Ok(Some(GuardPolicy::Stop)),
            "fallback" => GuardPolicy::fallback(self.fallback_strides, self.timestep_fs, stride_fs).map(Some),
            other => Err(unknown("guard", other)),
        }
    }
}

impl RescalingOption {
    fn filter(&self, system: &System) -> Result<Rescaling> {
        let scope = match self.scope.as_str() {
            "global" => Scope::Global,
            "species" => Scope::Groups(system.state.numbers.iter().map(|&z| z.into()).collect()),
            "molecule" => Scope::Groups(system.molecules.of.clone()),
            other => return Err(unknown("rescaling", other)),
        };
        let fallback = match self.fallback.as_str() {
            "stop" => BeyondLimit::Stop,
            "skip" => BeyondLimit::Skip,
            "clamp" => BeyondLimit::Clamp,
            other => return Err(unknown("rescaling fallback", other)),
        };
        Rescaling::new(scope, self.limit, fallback)
    }
}

impl BarostatOption {
    fn filter(&self, kelvin: Option<f64>, pressure_bar: f64, stride_fs: f64) -> Result<Barostat> {
        let reservoir = Reservoir {
            pressure: pressure_bar * BAR,
            temperature: kelvin.unwrap_or(f64::NAN),
            compressibility: self.compressibility_per_bar / BAR,
            coupling: match self.coupling.as_str() {
                "isotropic" => Coupling::Isotropic,
                "anisotropic" => Coupling::Anisotropic,
                other => return Err(unknown("coupling", other)),
            },
            interval: self.interval,
        };
        match self.kind.as_str() {
            "cell_rescaling" => {
                let time_constant_fs = self.time_constant_fs.unwrap_or(f64::NAN);
                CellRescaling::new(reservoir, time_constant_fs, stride_fs).map(Barostat::CellRescaling)
            }
            "monte_carlo" => MonteCarlo::new(reservoir).map(Barostat::MonteCarlo),
            other => Err(unknown("barostat", other)),
        }
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::Input(format!("there is no {what} called {name:?}"))
}
