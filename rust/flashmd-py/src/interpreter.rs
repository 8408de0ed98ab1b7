//! From the core into Python, but not while Python ends.
//!
//! A daemon thread that gives up the GIL while Python finalizes never gets it back: before 3.14, CPython unwinds such a thread, and
//! unwinding through a callback's Rust frames aborts the process (python/cpython#87135). So no callback is under way then.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// The thread that ends Python, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();
/// Callbacks under way.
static CALLBACKS: AtomicUsize = AtomicUsize::new(0);
/// A callback may take as long as it likes: Python does not wait for it any longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `callback` with the GIL; while Python ends, the thread stays here for ever.
pub(crate) fn attached<T>(callback: impl FnOnce(Python<'_>) -> T) -> T {
    let under_way = UnderWay::begin();
    if ENDING.get().is_some_and(|&ends| ends != thread::current().id()) {
        drop(under_way);
        loop {
            thread::park();
        }
    }
    Python::attach(callback)
}

struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        CALLBACKS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        CALLBACKS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has Python wait for callbacks of other threads before it ends.
pub(crate) fn wait_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let wait = wrap_pyfunction!(end_callbacks, module)?;
    module.py().import("atexit")?.call_method1("register", (wait,)).map(drop)
}

#[pyfunction]
fn end_callbacks(py: Python<'_>) {
    ENDING.get_or_init(|| thread::current().id());
    py.detach(|| {
        let start = Instant::now();
        while CALLBACKS.load(Ordering::SeqCst) > 0 && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
    });
}
