//! Runs: systems, the loop that moves them, and who is told about it.

pub mod checkpoint;
mod observer;
mod simulation;
mod system;
mod timed_potential;
mod validation;

pub use observer::{Frame, Observer};
pub use simulation::{Report, Schedule, Simulation, common_step};
pub use system::{RunStatistics, System};
