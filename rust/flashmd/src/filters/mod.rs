//! Filters: what acts on a state before and after its stride.

pub mod barostat;
pub mod guard;
pub mod metropolis;
pub mod molecules;
pub mod rescaling;
pub mod thermostat;

/// Moves tried and accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveCounts {
    /// Moves tried.
    pub tried: u64,
    /// Moves made; all of them for stochastic cell rescaling.
    pub accepted: u64,
}
