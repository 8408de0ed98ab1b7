//! Fast forces that act within a stride: bonds and angles, and pair tables between the kicks of a `hybrid` model.

mod bonded_forces;
mod bonds;
mod mollified_impulse;
mod pair_forces;
mod pair_list;
mod slow_forces;
mod systems;

pub use bonded_forces::BondedForces;
pub use mollified_impulse::Mollifier;
pub use slow_forces::SlowForces;
pub use systems::BondedSystems;
