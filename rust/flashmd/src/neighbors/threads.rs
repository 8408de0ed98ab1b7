//! Work shared among threads.

use std::sync::Mutex;
use std::thread::{Builder, scope};

/// Calls `f` on every task, on up to `threads` threads, each of which takes the next task when it is free.
///
/// The threads live as long as the call: starting them costs tens of µs, and between calls none spins or waits.
pub(crate) fn share<T: Send>(threads: usize, tasks: impl Iterator<Item = T> + Send, f: impl Fn(T) + Sync) {
    if threads <= 1 {
        return tasks.for_each(f);
    }
    let queue = Mutex::new(tasks);
    let next = || queue.lock().ok().and_then(|mut tasks| tasks.next());
    let work = || {
        while let Some(task) = next() {
            f(task)
        }
    };
    scope(|scope| {
        for _ in 1..threads {
            // Without another thread the work takes longer, that is all.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
