//! What failed last on a thread, as C is told it.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use flashmd::error::Result;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// What failed last on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn flashmd_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// What `work` gives; where it fails or panics, `failed`, and the reason is kept.
pub(crate) fn guarded<T>(failed: T, work: impl FnOnce() -> Result<T>) -> T {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "flashmd has a defect: please report it with what you did".to_owned(),
    };
    // A NUL within would end it.
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    LAST.with_borrow_mut(|last| *last = message);
    failed
}
