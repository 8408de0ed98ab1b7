//! Runs: the loop, what it keeps, and checkpoints.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod dynamics;
mod placement;
mod simulation;
