//! Core errors as the exceptions of `flashmd_rs.errors`; file errors stay `OSError`.

use std::any::Any;
use std::io;
use std::path::Path;

use flashmd::Error;
use flashmd::error::{GoodFrame, Instability, ModelFault};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::to_array;

/// The Python exception of a panic in the core.
pub(crate) fn from_panic(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let words = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let what = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    raise(py, "FlashMDError", &format!("a defect of flashmd-rs, please report it: {what}"), None)
}

/// The Python exception of a core error; the exception of a callback passes through unchanged.
pub(crate) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::Model { ref fault, .. } => model_error(py, &error, fault),
        Error::Input(message) => raise(py, "InputError", &message, None),
        Error::RuntimeLibrary(message) => raise(py, "RuntimeLibraryError", &message, None),
        Error::Checkpoint(message) => raise(py, "CheckpointError", &message, None),
        Error::File { doing, path, source } => file_error(doing, &path, &source),
        Error::Stability(details) => stability(py, &details),
        Error::Defect(message) => raise(py, "FlashMDError", &message, None),
        Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(()),
        Error::Callback(inner) => match inner.downcast::<PyErr>() {
            Ok(original) => *original,
            Err(other) => raise(py, "FlashMDError", &other.to_string(), None),
        },
    }
}

/// An `OSError` of the kind that belongs to the error number, with the file's name.
fn file_error(doing: &str, path: &Path, source: &io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(number) => {
            let text = io::Error::from_raw_os_error(number).to_string();
            let reason = text.split(" (os error").next().unwrap_or(&text);
            PyOSError::new_err((number, format!("cannot {doing}: {reason}"), path.to_owned()))
        }
        None => PyOSError::new_err(format!("cannot {doing} {}: {source}", path.display())),
    }
}

/// A Python exception on its way through the core.
pub(crate) fn from_python(error: PyErr) -> Error {
    Error::Callback(Box::new(error))
}

/// `InputError` with a message.
pub(crate) fn input_error(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "InputError", message, None)
}

/// A `ModelError` that knows the name of its fault.
fn model_error(py: Python<'_>, error: &Error, fault: &ModelFault) -> PyErr {
    let details = PyDict::new(py);
    match details.set_item("fault", fault.name()) {
        Ok(()) => raise(py, "ModelError", &error.to_string(), Some(&details)),
        Err(failure) => failure,
    }
}

fn raise(py: Python<'_>, class: &str, message: &str, details: Option<&Bound<'_, PyDict>>) -> PyErr {
    let build = || {
        let class = py.import("flashmd_rs.errors")?.getattr(class)?;
        class.call((message,), details)
    };
    build().map_or_else(|failure| failure, PyErr::from_value)
}

/// A `StabilityError`.
pub(crate) fn stability(py: Python<'_>, details: &Instability) -> PyErr {
    let keywords = || {
        let dict = PyDict::new(py);
        dict.set_item("step", details.step)?;
        dict.set_item("time_ps", details.time_ps)?;
        dict.set_item("atoms", &details.atoms)?;
        dict.set_item("quantity", &details.quantity)?;
        dict.set_item("last_good", details.last_good.as_ref().map(|frame| last_good(py, frame)).transpose()?)?;
        PyResult::Ok(dict)
    };
    match keywords() {
        Ok(dict) => raise(py, "StabilityError", &details.message, Some(&dict)),
        Err(failure) => failure,
    }
}

fn last_good<'py>(py: Python<'py>, frame: &GoodFrame) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("positions", to_array(py, &frame.positions))?;
    dict.set_item("momenta", to_array(py, &frame.momenta))?;
    dict.set_item("cell", to_array(py, &frame.cell))?;
    Ok(dict)
}
