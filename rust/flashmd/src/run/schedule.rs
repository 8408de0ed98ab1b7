//! Schedule of a simulation: when frames are kept and checkpoints saved.

/// When frames are kept and checkpoints saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Strides between kept frames, counted from step 0; with 0 none is kept between the first and the last.
    pub interval: u64,
    /// Strides between checkpoints, counted from step 0; `None` saves none at all.
    pub checkpoint_interval: Option<u64>,
    /// The systems come from a checkpoint: what was due at their step is kept already.
    pub resumed: bool,
}

impl Schedule {
    /// True if the frames of `step` are to be kept.
    pub(super) fn keeps_frame(&self, step: u64) -> bool {
        is_due(step, self.interval)
    }

    /// True if a checkpoint is to be saved at `step`.
    pub(super) fn saves_checkpoint(&self, step: u64) -> bool {
        self.checkpoint_interval.is_some_and(|interval| is_due(step, interval))
    }
}

fn is_due(step: u64, interval: u64) -> bool {
    interval > 0 && step.is_multiple_of(interval)
}
