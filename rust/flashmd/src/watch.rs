//! The look at every stride for what is out of a model's domain, the same for every kind of stride.

use crate::error::Result;
use crate::model::Output;
use crate::network::Network;
use crate::propagators::Outcome;
use crate::state::State;
use crate::violation::Violation;

/// Checks states against a model's domain, or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DomainMonitor {
    is_on: bool,
}

impl DomainMonitor {
    /// A monitor that checks if `is_on`.
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// True if it checks.
    pub(crate) fn is_on(self) -> bool {
        self.is_on
    }

    /// Violations of the states that `network` has just seen, by place in the batch, with its own `uncertainty` where that
    /// was among the outputs.
    pub(crate) fn check<'s>(
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
                metadata.domain.judge(&metadata.species, state, network.surroundings(index, uncertainty))
            }
            _ => Vec::new(),
        };
        states.zip(results).enumerate().map(check).collect()
    }
}

/// Results and violations of a batch, put together by place.
pub(crate) fn outcomes(results: Vec<Result<()>>, violations: Vec<Vec<Violation>>) -> Vec<Outcome> {
    results.into_iter().zip(violations).map(|(result, violations)| Outcome { result, violations }).collect()
}
