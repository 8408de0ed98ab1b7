//! Validation of a system: its filters suit its state, each other, and the propagator.

use super::system::System;
use crate::error::{Error, Result};
use crate::filters::barostat::Barostat;
use crate::filters::guard::{self, GuardPolicy};

/// Checks a system that is to be moved by strides that are `reversible` or not, with an energy model or without.
///
/// # Errors
/// `Input` if something does not suit; `Stability` for numbers that are not finite.
pub(super) fn validate(system: &System, has_energy: bool, reversible: bool) -> Result<()> {
    guard::check_finite(&system.state)?;
    if let Some(thermostat) = &system.thermostat {
        thermostat.check(&system.state)?;
    }
    if let Some(barostat) = &system.barostat {
        barostat.check(&system.state)?;
    }
    for (wanted, what) in [
        (system.metropolis.is_some(), "metropolis"),
        (system.rescaling.is_some(), "rescale_energy"),
        (system.barostat.is_some(), "a barostat"),
        (falls_back(system), "guard 'fallback'"),
    ] {
        if wanted && !has_energy {
            return Err(Error::Input(format!("{what} needs an energy model; give one, or leave {what} out")));
        }
    }
    if system.metropolis.is_some() { check_metropolis(system, reversible) } else { Ok(()) }
}

/// Checks that nothing takes the Metropolis test's exactness away.
fn check_metropolis(system: &System, reversible: bool) -> Result<()> {
    for (spoilt, what) in [
        (!reversible, "a model whose strides are reversible: one of kind splitting, hybrid or action"),
        (system.thermostat.is_none(), "a thermostat: give temperature_K"),
        (system.rescaling.is_some(), "energies that are not rescaled: leave rescale_energy out"),
        (
            matches!(system.barostat, Some(Barostat::CellRescaling(_))),
            "a barostat that keeps detailed balance: take monte_carlo",
        ),
        (falls_back(system), "one kind of stride: take another guard than 'fallback'"),
    ] {
        if spoilt {
            return Err(Error::Input(format!("metropolis samples without bias, which needs {what}")));
        }
    }
    Ok(())
}

fn falls_back(system: &System) -> bool {
    matches!(system.guard, Some(GuardPolicy::Fallback { .. }))
}
