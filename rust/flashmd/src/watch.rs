//! The look at every stride for what is out of a model's domain, the same for every kind of stride.

use crate::error::Result;
use crate::guard::Finding;
use crate::model::Output;
use crate::network::Network;
use crate::state::State;

/// Findings of the last stride by place in the batch; `None` looks for nothing.
#[derive(Debug)]
pub(crate) struct Watch(Option<Vec<Vec<Finding>>>);

impl Watch {
    /// Looks if `watch`.
    pub(crate) fn new(watch: bool) -> Self {
        Self(watch.then(Vec::new))
    }

    /// True if it looks.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Judges the states that `network` has just seen, with its own `uncertainty` where that was among the outputs.
    pub(crate) fn judge<'s>(
        &mut self,
        network: &Network<'_>,
        states: impl Iterator<Item = &'s State>,
        results: &[Result<()>],
        outputs: &[Output],
    ) {
        let Some(findings) = &mut self.0 else { return };
        let metadata = network.model().metadata();
        let uncertainty = outputs.contains(&Output::Uncertainty);
        let judged = states.zip(results).enumerate().map(|(at, (state, result))| match result {
            Ok(()) => metadata.domain.judge(&metadata.species, state, network.surroundings(at, uncertainty)),
            Err(_) => Vec::new(),
        });
        findings.clear();
        findings.extend(judged);
    }

    /// What was found about the system `at` that place, once.
    pub(crate) fn take(&mut self, at: usize) -> Vec<Finding> {
        self.0.as_mut().and_then(|f| f.get_mut(at)).map(std::mem::take).unwrap_or_default()
    }
}
