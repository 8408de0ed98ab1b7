//! The potential energy of a run, checked and timed.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::potential_energy::PotentialEnergy;

/// A potential energy that a run may have, and the time it took.
#[derive(Default)]
pub(crate) struct TimedPotential<'a> {
    energy: Option<Box<dyn PotentialEnergy + 'a>>,
    spent: Duration,
}

impl<'a> TimedPotential<'a> {
    pub(crate) fn new(energy: Option<Box<dyn PotentialEnergy + 'a>>) -> Self {
        Self { energy, spent: Duration::ZERO }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.energy.is_some()
    }

    /// Time spent so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// Runs `f` on the energy.
    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut dyn PotentialEnergy) -> Result<T>) -> Result<T> {
        let Some(energy) = &mut self.energy else {
            return Err(Error::Input("there is no energy model; give one".into()));
        };
        let start = Instant::now();
        let result = f(&mut **energy);
        self.spent += start.elapsed();
        result
    }

    /// Runs `f` on the energy for a potential energy, which must be a finite number.
    pub(crate) fn potential(&mut self, f: impl FnOnce(&mut dyn PotentialEnergy) -> Result<f64>) -> Result<f64> {
        self.with(f).and_then(finite)
    }
}

/// The potential energy again, if it is a finite number.
pub(crate) fn finite(potential: f64) -> Result<f64> {
    if potential.is_finite() {
        return Ok(potential);
    }
    let message = format!("the potential energy is {potential}; start from a relaxed structure");
    Err(Error::unstable("potential energy", Vec::new(), message))
}
