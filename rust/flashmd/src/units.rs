//! The unit system, stated once: ASE's. Å, eV, u; time Å·√(u/eV); momenta √(eV·u).
//!
//! Constants are those of `ase.units` (CODATA 2014), so that both sides of the binding agree to the last bit.

/// One femtosecond in ASE time units, Å·√(u/eV).
pub const FS: f64 = 0.098_226_947_884_640_63;

/// Boltzmann's constant, eV/K.
pub const KB: f64 = 8.617_330_337_217_213e-5;

/// Femtoseconds in a picosecond.
pub const FS_PER_PS: f64 = 1000.0;
/// One bar, eV/Å³.
pub const BAR: f64 = 6.241509125883258e-7;
