//! Which process may use sessions: ONNX Runtime's threads do not survive a fork.
//!
//! A child that is forked before the first session is free to open its own. After it, a session of the parent would
//! wait for threads that are not there, at the latest when it is closed.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// Number of the process that opened the first session; 0 before that.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Makes this process the one that opens sessions.
///
/// # Errors
/// `RuntimeLibrary` if it was forked from one that has opened a session.
pub fn claim() -> Result<()> {
    let _ = OWNER.compare_exchange(0, process::id(), Ordering::SeqCst, Ordering::SeqCst);
    check()
}

/// Checks that this process may use the sessions it sees; takes no lock, which a fork could have left locked.
///
/// # Errors
/// `RuntimeLibrary` if it was forked from one that has opened a session.
pub fn check() -> Result<()> {
    if !is_forked() {
        return Ok(());
    }
    Err(Error::RuntimeLibrary(format!(
        "this process was forked from process {}, which had a model open, and ONNX Runtime's threads do not survive a \
         fork; start processes with multiprocessing's 'spawn' method, or fork before the first model is opened",
        OWNER.load(Ordering::SeqCst)
    )))
}

/// True in a child that was forked after the first session was opened.
pub fn is_forked() -> bool {
    let owner = OWNER.load(Ordering::SeqCst);
    owner != 0 && owner != process::id()
}
