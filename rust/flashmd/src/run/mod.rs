//! Runs: systems, the loop that moves them, and who is told about it.

pub mod checkpoint;
mod observer;
mod report;
mod schedule;
mod simulation;
mod system;
mod timed_potential;
mod validation;

pub use observer::{Frame, Observer};
pub use report::Report;
pub use schedule::Schedule;
pub use simulation::{Simulation, common_step};
pub use system::{RunStatistics, System};
