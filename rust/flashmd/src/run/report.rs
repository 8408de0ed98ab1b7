//! Report of a simulation: strides, times and counts so far.

use std::time::Duration;

use crate::network::Timing;
use crate::propagators::SolverStatistics;

/// Strides, and the time they took; what was counted in each system are its [`RunStatistics`](super::RunStatistics).
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Strides done.
    pub steps: u64,
    /// Wall time.
    pub total: Duration,
    /// Time of the propagator by phase.
    pub propagator: Timing,
    /// Time in the energy model.
    pub energy: Duration,
    /// Time in the observer.
    pub observer: Duration,
    /// What solving strides took.
    pub solver: Option<SolverStatistics>,
}
