//! From Python into the core without the GIL, and from there into Python, but not while Python ends.
//!
//! A daemon thread that gives up the GIL while Python finalizes never gets it back: before 3.14, CPython unwinds such a thread, and
//! unwinding through a callback's Rust frames aborts the process (python/cpython#87135). So Python waits at exit for callbacks that are
//! under way, and the next callback of another thread ends its run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use flashmd::error::Result;
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use crate::errors::{from_panic, from_python, to_python};

/// The thread that ends Python, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();
/// What is under way in Python and must not be unwound.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
/// A callback may take as long as it likes: Python does not wait for it any longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// While it lives, Python that ends waits.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::SeqCst);
        // Either the thread that ends Python sees the count, or this one sees that it does.
        fence(Ordering::SeqCst);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `callback` with the GIL.
///
/// # Errors
/// Those of the callback; `SystemExit`, which ends a thread without a word, where another thread ends Python.
pub(crate) fn attached<T>(callback: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    let _under_way = UnderWay::begin();
    if ENDING.get().is_some_and(|&ends| ends != thread::current().id()) {
        return Err(from_python(PySystemExit::new_err("Python ends")));
    }
    Python::attach(callback).map_err(from_python)
}

/// Runs `work` of the core without the GIL; its errors and its panics become exceptions of `flashmd_rs.errors`.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    // Whatever a panic has left half done is behind a lock that is poisoned now, or gone with the closure.
    let (outcome, _under_way) = py.detach(|| (catch_unwind(AssertUnwindSafe(work)), UnderWay::begin()));
    match outcome {
        Ok(result) => result.map_err(|e| to_python(py, e)),
        Err(panic) => Err(from_panic(py, panic.as_ref())),
    }
}

/// Has Python wait for other threads before it ends.
pub(crate) fn wait_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let wait = wrap_pyfunction!(end_callbacks, module)?;
    module.py().import("atexit")?.call_method1("register", (wait,)).map(drop)
}

#[pyfunction]
fn end_callbacks(py: Python<'_>) {
    ENDING.get_or_init(|| thread::current().id());
    fence(Ordering::SeqCst);
    py.detach(|| {
        let start = Instant::now();
        while UNDER_WAY.load(Ordering::SeqCst) > 0 && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
    });
}
