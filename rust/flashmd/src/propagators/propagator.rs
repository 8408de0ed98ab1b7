//! The trait of everything that makes strides, and the outcome of one.

use crate::error::Result;
use crate::network::Timing;
use crate::state::State;
use crate::violation::Violation;

/// Moves states by strides of one length.
pub trait Propagator: Send {
    /// Length of a stride, fs.
    fn stride_fs(&self) -> f64;

    /// Moves positions and momenta of every state by one stride; step and time are the loop's. Returns one outcome per
    /// state, in their order.
    ///
    /// # Errors
    /// What ends the whole batch.
    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>>;

    /// True if a stride is undone by itself with momenta reversed, and keeps the volume of phase space.
    fn is_reversible(&self) -> bool {
        false
    }

    /// Time spent so far, if it is counted.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// What solving the equations of all strides so far took, if they have one.
    fn solver(&self) -> Option<SolverStatistics> {
        None
    }
}

impl<P: Propagator + ?Sized> Propagator for &mut P {
    fn stride_fs(&self) -> f64 {
        (**self).stride_fs()
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        (**self).advance(states)
    }

    fn is_reversible(&self) -> bool {
        (**self).is_reversible()
    }

    fn timing(&self) -> Timing {
        (**self).timing()
    }

    fn solver(&self) -> Option<SolverStatistics> {
        (**self).solver()
    }
}

/// What came of one state's stride.
#[derive(Debug)]
pub struct Outcome {
    /// `Stability` if the result cannot be used.
    pub result: Result<()>,
    /// What was out of the model's domain about the state before it was moved.
    pub violations: Vec<Violation>,
}

impl Outcome {
    /// Results and violations of a batch, put together by place.
    pub(crate) fn zip(results: Vec<Result<()>>, violations: Vec<Vec<Violation>>) -> Vec<Self> {
        results.into_iter().zip(violations).map(|(result, violations)| Self { result, violations }).collect()
    }

    /// Outcomes of strides whose states were not looked at.
    pub fn without_violations(results: impl IntoIterator<Item = Result<()>>) -> Vec<Self> {
        results.into_iter().map(|result| Self { result, violations: Vec::new() }).collect()
    }
}

/// Strides whose equation was solved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SolverStatistics {
    /// Strides, of all systems.
    pub strides: u64,
    /// Fixed-point iterations in all of them.
    pub iterations: u64,
    /// Most iterations of one.
    pub most_iterations: u64,
    /// Largest residual that was accepted, as a share of the rms momentum.
    pub largest_residual: f64,
}

impl SolverStatistics {
    /// Counts one stride.
    pub fn count(&mut self, iterations: u64, residual: f64) {
        self.strides += 1;
        self.iterations += iterations;
        self.most_iterations = self.most_iterations.max(iterations);
        self.largest_residual = self.largest_residual.max(residual);
    }
}
