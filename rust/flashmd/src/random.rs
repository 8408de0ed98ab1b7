//! Counter-based random numbers: a ChaCha stream addressed by (seed, purpose, step).
//!
//! Nothing is carried from stride to stride, so a restart needs only the seed and the step.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use crate::linalg::Vec3;

/// What the numbers are for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The random frame of a stride.
    Rotation = 1,
    /// The thermostat's half step before a stride.
    ThermostatBefore = 2,
    /// The thermostat's half step after a stride.
    ThermostatAfter = 3,
    /// Noise for what the network could not resolve.
    Residual = 4,
    /// The random structure a model is checked on when it is loaded.
    Check = 5,
}

/// One stream.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha12Rng);

impl Stream {
    /// The stream at an address: key = (seed, purpose), nonce = step.
    pub fn new(seed: u64, purpose: Purpose, step: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(key);
        rng.set_stream(step);
        Self(rng)
    }

    /// A standard normal number.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Three standard normal numbers.
    pub fn normal3(&mut self) -> Vec3 {
        std::array::from_fn(|_| self.normal())
    }

    /// A number uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
