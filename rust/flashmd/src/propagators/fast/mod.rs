//! Fast forces of a `hybrid` stride: bonds, angles and pair tables between its kicks.

mod bonded_forces;
mod bonds;
mod mollified_impulse;
mod pair_forces;
mod pair_list;

pub use bonded_forces::BondedForces;
pub use mollified_impulse::Mollifier;
