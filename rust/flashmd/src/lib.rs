//! flashmd: molecular dynamics in strides of a learned propagator.
//!
//! The crate knows a *model contract* ([`model`]), never a backbone. Three traits carry the loop, so that it can be
//! tested without a network: [`propagators::Propagator`], [`energy::PotentialEnergy`], [`run::Observer`].
//! Units are ASE's, stated once in [`units`].

pub mod action;
pub mod barostat;
mod bonds;
pub mod cell;
pub mod checkpoint;
pub mod constraints;
pub mod elements;
pub mod energy;
pub mod error;
mod gradient;
pub mod guard;
pub mod linalg;
pub mod metropolis;
pub mod model;
pub mod molecules;
pub mod mollify;
pub mod nef;
pub mod neighbors;
pub mod network;
pub mod pairs;
pub mod propagators;
pub mod random;
pub mod rescale;
pub mod rotation;
pub mod run;
pub mod splitting;
pub mod state;
pub mod stride;
pub mod swing;
pub mod thermostat;
mod threads;
pub mod units;
pub mod verlet;
pub mod violation;
mod watch;

pub use cell::Cell;
pub use error::{Error, Result};
pub use state::State;
