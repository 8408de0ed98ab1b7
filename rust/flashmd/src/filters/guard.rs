//! The guard: the check of every state for numbers that are not finite and for explosion, and the policy for violations.
//!
//! Violations of a model's domain come with the outcome of a stride ([`crate::model::domain`]); what can be told from the state
//! alone is found here.

use crate::error::{Error, Result, list_atoms};
use crate::linalg::{dot, scale, sub};
use crate::state::{State, not_finite};
use crate::units::KB;
use crate::violation::{Quantity, Violation};

/// Kinetic temperature over that of the thermostat and of the start beyond which a system has exploded, and below which it has
/// frozen.
const EXPLODED: f64 = 10.0;
const FROZEN: f64 = 0.1;
/// Kinetic temperature, K, that no structure with bonds survives, and its multiple of that of the thermostat and of the start
/// that no fluctuation reaches: a state beyond both is absurd.
const ABSURD_KELVIN: f64 = 1e5;
const ABSURD: f64 = 50.0;
/// A single atom may go beyond by this factor.
const ABSURD_ATOM: f64 = 10.0;
/// Most steps of velocity Verlet in a stride: nothing can end a run between them.
const MOST_STEPS: f64 = 10_000.0;
/// Fewer degrees of freedom than this reach both by chance.
const MIN_FREEDOM: usize = 60;

/// What becomes of a violation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GuardPolicy {
    /// It is reported, and the run goes on.
    Report,
    /// It ends the system with a `Stability` error.
    Stop,
    /// The stride is taken back and done by velocity Verlet with the run's energy, and so are the next ones.
    Fallback {
        /// Strides done so, this one included.
        strides: u64,
        /// Time step of velocity Verlet, fs.
        timestep_fs: f64,
    },
}

impl GuardPolicy {
    /// A checked fallback for strides of `stride_fs`.
    ///
    /// # Errors
    /// `Input` if a number is out of its range.
    pub fn fallback(strides: u64, timestep_fs: f64, stride_fs: f64) -> Result<Self> {
        let least = stride_fs / MOST_STEPS;
        if strides == 0 || !(timestep_fs.is_finite() && timestep_fs >= least) {
            return Err(Error::Input(format!(
                "the guard is to fall back for {strides} strides of Verlet steps of {timestep_fs} fs; wanted at least 1 \
                 stride, and steps of at least {least} fs"
            )));
        }
        Ok(Self::Fallback { strides, timestep_fs })
    }
}

/// What the guard of a system did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuardStatistics {
    /// Strides that began out of bounds, by [`Quantity::ALL`].
    pub counts: [u64; Quantity::ALL.len()],
    /// Strides done by velocity Verlet.
    pub fallbacks: u64,
    /// Strides still to be done by it.
    pub fallback_left: u64,
    /// Quantities out of bounds when the last stride began, one bit each.
    pub active: u64,
}

impl GuardStatistics {
    /// Counts the violations of a stride; returns the quantities that were within bounds before it.
    pub fn count(&mut self, violations: &[Violation]) -> Vec<Quantity> {
        let before = std::mem::take(&mut self.active);
        let mut fresh = Vec::new();
        for index in violations.iter().map(|violation| violation.quantity as usize) {
            if self.active & (1 << index) == 0 {
                self.counts[index] += 1;
                self.active |= 1 << index;
                if before & (1 << index) == 0 {
                    fresh.push(Quantity::ALL[index]);
                }
            }
        }
        fresh
    }
}

/// Explosion and freezing, against the temperatures (K) of the thermostat, if there is one, and of the start of the run.
pub fn check_temperature(state: &State, target: Option<f64>, start: f64) -> Option<Violation> {
    let kelvin = state.temperature();
    let (low, high) = target.map_or((start, start), |target| (start.min(target), start.max(target)));
    if high <= 0.0 || state.degrees_of_freedom() < MIN_FREEDOM {
        return None;
    }
    let violation = |quantity, what: &str| Violation {
        quantity,
        atoms: Vec::new(),
        message: format!("the system has {what}: its temperature is {kelvin:.1} K, far from {low:.1} to {high:.1} K"),
    };
    if kelvin > EXPLODED * high {
        return Some(violation(Quantity::Explosion, "exploded"));
    }
    (kelvin < FROZEN * low).then(|| violation(Quantity::Freezing, "frozen"))
}

/// Checks that a stride of `time` (Å·√(u/eV)) from `before` to `state` has not led where no structure holds together, against
/// the temperatures (K) of the thermostat, if there is one, and of the start of the run.
///
/// # Errors
/// `Stability` that names the temperature, or the atoms that are too fast or moved too far.
pub fn check_absurd(before: &State, state: &State, time: f64, target: Option<f64>, start: f64) -> Result<()> {
    let usual = target.map_or(start, |target| start.max(target));
    let bound = ABSURD_KELVIN.max(ABSURD * usual);
    let kelvin = state.temperature();
    let advice = "start from a relaxed structure of the kind the model was trained on, or use another model";
    if kelvin > bound {
        let message = format!(
            "the system has exploded: its temperature is {kelvin:.3e} K, where {usual:.1} K was the highest of its bath and \
             its start; {advice}"
        );
        return Err(Error::unstable(Quantity::Explosion.name(), Vec::new(), message));
    }
    let most = 3.0 * KB * ABSURD_ATOM * bound;
    let velocity = before.frame_velocity();
    let thrown = |i: usize| {
        let moved = sub(scale(1.0 / time, sub(state.positions[i], before.positions[i])), velocity);
        state.masses[i] * dot(moved, moved) > most
    };
    let momenta = state.internal_momenta().zip(&state.masses).enumerate();
    let fast = momenta.filter(|(i, (p, m))| dot(*p, *p) / *m > most || thrown(*i));
    let atoms: Vec<usize> = fast.map(|(i, _)| i).collect();
    if atoms.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the system has exploded: {} moved faster in this stride than any atom at {bound:.3e} K; {advice}",
        list_atoms(&atoms)
    );
    Err(Error::unstable(Quantity::Explosion.name(), atoms, message))
}

/// The error that the policy to stop makes of violations.
pub fn stop(violations: &[Violation]) -> Error {
    let messages: Vec<&str> = violations.iter().map(|v| v.message.as_str()).collect();
    let first = violations.first();
    let message = format!("{}; start from another structure, or use a model trained for this", messages.join("; "));
    Error::unstable(
        first.map_or("guard", |v| v.quantity.name()),
        first.map_or(Vec::new(), |v| v.atoms.clone()),
        message,
    )
}

/// Checks that every position and momentum is finite.
///
/// # Errors
/// `Stability` naming the quantity and the atoms.
pub fn check_finite(state: &State) -> Result<()> {
    for (what, vectors) in [("position", &state.positions), ("momentum", &state.momenta)] {
        let atoms = not_finite(vectors);
        if !atoms.is_empty() {
            let message = format!(
                "the {what} of {} is not finite; start from a relaxed structure or use a model trained for it",
                list_atoms(&atoms)
            );
            return Err(Error::unstable(what, atoms, message));
        }
    }
    Ok(())
}
