//! Filters: thermostats, barostats, the Metropolis test, rescaling, the guard.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod barostats;
mod guard;
mod metropolis;
mod molecules;
mod pressure;
mod rescaling;
mod sampling;
mod thermostats;
