//! The check of states against a model's domain, the same for every kind of stride.

use super::Network;
use crate::error::Result;
use crate::model::Output;
use crate::state::State;
use crate::violation::Violation;

/// Checks states against a model's domain, or nothing.
#[derive(Debug, Clone, Copy)]
pub struct DomainMonitor {
    is_on: bool,
}

impl DomainMonitor {
    /// A monitor that checks if `is_on`.
    pub fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// True if it checks.
    pub fn is_on(self) -> bool {
        self.is_on
    }

    /// Violations of the states that `network` has just seen, by place in the batch, with its own `uncertainty` where that
    /// was among the outputs.
    pub fn check<'s>(
        self,
        network: &Network,
        states: impl Iterator<Item = &'s State>,
        results: &[Result<()>],
        outputs: &[Output],
    ) -> Vec<Vec<Violation>> {
        let metadata = network.model().metadata();
        let uncertainty = outputs.contains(&Output::Uncertainty);
        let check = |(index, (state, result)): (usize, (&State, &Result<()>))| match result {
            Ok(()) if self.is_on => {
                metadata.domain.check(&metadata.species, state, network.neighborhoods(index, uncertainty))
            }
            _ => Vec::new(),
        };
        states.zip(results).enumerate().map(check).collect()
    }
}
