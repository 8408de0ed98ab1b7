//! Where the time of the kernels goes, for benches. Nothing is measured before [`start`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Kinds of operators, which differ in what bounds them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Product,
    Elementwise,
    Sum,
    Movement,
}

const NAMES: [&str; 4] = ["products", "elementwise", "sums and softmax", "movement"];

static IS_ON: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// What was measured, of all threads together.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Seconds by kind of operator.
    pub seconds: [(&'static str, f64); NAMES.len()],
    /// Multiplications with an addition in products.
    pub multiply_adds: u64,
}

/// Begins to measure, from zero.
pub fn start() {
    NANOSECONDS.iter().chain([&MULTIPLY_ADDS]).for_each(|counter| counter.store(0, Relaxed));
    IS_ON.store(true, Relaxed);
}

/// Ends it.
pub fn stop() -> Profile {
    IS_ON.store(false, Relaxed);
    let seconds = |kind: usize| (NAMES[kind], NANOSECONDS[kind].load(Relaxed) as f64 * 1e-9);
    Profile { seconds: [0, 1, 2, 3].map(seconds), multiply_adds: MULTIPLY_ADDS.load(Relaxed) }
}

/// The time, if it is wanted.
pub(super) fn clock() -> Option<Instant> {
    IS_ON.load(Relaxed).then(Instant::now)
}

/// An operator that began at `start` has ended.
pub(super) fn note(start: Option<Instant>, kind: Kind) {
    if let Some(start) = start {
        let spent = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        NANOSECONDS[kind as usize].fetch_add(spent, Relaxed);
    }
}

/// A product of these sizes was computed.
pub(super) fn note_product(sizes: [usize; 3]) {
    if IS_ON.load(Relaxed) {
        MULTIPLY_ADDS.fetch_add(sizes.iter().product::<usize>() as u64, Relaxed);
    }
}
