//! flashmd: molecular dynamics in strides of a learned propagator.
//!
//! The crate knows a *model contract* ([`model`]), never a backbone. Three traits carry the loop, so that it can be
//! tested without a network: [`propagators::Propagator`], [`potential_energy::PotentialEnergy`], [`run::Observer`].
//! Units are ASE's, stated once in [`units`].
//!
//! Rooms, each of which uses those before it: [`state`], [`neighbors`], [`topology`], [`kernels`], [`model`], [`network`],
//! [`propagators`] and [`filters`], [`run`].

pub mod elements;
pub mod error;
pub mod filters;
pub mod kernels;
pub mod linalg;
pub mod model;
pub mod neighbors;
pub mod network;
pub mod potential_energy;
pub mod propagators;
pub mod random;
pub mod rotation;
pub mod run;
pub mod state;
pub mod topology;
pub mod units;
pub mod violation;

pub use error::{Error, Result};
pub use state::{Cell, Placement, State};
