//! Runs: systems, the loop that moves them, and who is told about it.

mod observer;
mod simulation;
pub mod system;
mod timed_potential;

pub use observer::{Frame, Observer};
pub use simulation::{Report, Schedule, Simulation, common_step};
pub use system::System;
