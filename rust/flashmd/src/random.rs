//! Counter-based random numbers: a ChaCha stream addressed by (seed, replica, purpose, step).
//!
//! Nothing is carried from stride to stride, so a restart needs only the key and the step.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{ChiSquared, Distribution, StandardNormal};

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
    StochasticNoise = 4,
    /// The random structure a model is checked on when it is loaded.
    Check = 5,
    /// The barostat's move after a stride.
    Barostat = 6,
    /// Whether a stride is accepted.
    Metropolis = 7,
}

/// Whose numbers they are: replicas of one run share its seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Key {
    /// Seed of the run.
    pub seed: u64,
    /// Replica, 0 for a run of one system.
    pub replica: u64,
}

impl From<u64> for Key {
    fn from(seed: u64) -> Self {
        Self { seed, replica: 0 }
    }
}

/// One stream.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha12Rng);

impl Stream {
    /// The stream at an address: ChaCha's key = (seed, purpose, replica), its nonce = step.
    pub fn new(key: impl Into<Key>, purpose: Purpose, step: u64) -> Self {
        let Key { seed, replica } = key.into();
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip([seed, purpose as u64, replica]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha12Rng::from_seed(bytes);
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

    /// The sum of the squares of `count` standard normal numbers: χ² with `count` degrees of freedom.
    pub fn chi_squared(&mut self, count: usize) -> f64 {
        // Fails for no degrees of freedom only, where the sum is empty.
        ChiSquared::new(count as f64).map_or(0.0, |distribution| distribution.sample(&mut self.0))
    }

    /// A number uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
