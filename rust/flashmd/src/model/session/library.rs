//! The ONNX Runtime library: opened once per process, from an absolute path.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};

/// The open library.
#[derive(Debug, Clone)]
pub struct Library {
    /// Where it was found.
    pub path: PathBuf,
    /// Its version, e.g. "1.32.0".
    pub version: String,
    /// Execution providers it was built with, by ONNX Runtime's names.
    pub providers: Vec<String>,
}

static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// The open library, if there is one.
pub fn current() -> Option<Library> {
    LIBRARY.lock().ok()?.clone()
}

/// Opens the library at an absolute path with telemetry off; a second call with the same path does nothing.
///
/// # Errors
/// `RuntimeLibrary` if the file is missing or no usable ONNX Runtime, or another one is open already.
pub fn load(path: &Path) -> Result<Library> {
    let mut open = LIBRARY.lock().map_err(|_| library("opening ONNX Runtime failed before; restart the process"))?;
    if let Some(known) = open.as_ref() {
        if known.path == path {
            return Ok(known.clone());
        }
        return Err(library(format!(
            "ONNX Runtime is already open from {}; {} would be a second one: restart the process to change it",
            known.path.display(),
            path.display()
        )));
    }
    if !path.is_absolute() {
        return Err(library(format!(
            "{} is not an absolute path; give the full path of libonnxruntime",
            path.display()
        )));
    }
    if !path.is_file() {
        return Err(library(format!(
            "there is no file {}; install ONNX Runtime with `pip install onnxruntime`",
            path.display()
        )));
    }
    silence_telemetry();
    let version = version_of(path)?;
    let unusable = |e: &dyn std::fmt::Display| {
        library(format!(
            "ONNX Runtime {version} at {} cannot be used ({e}); install a newer one with `pip install -U onnxruntime`",
            path.display()
        ))
    };
    let environment = ort::init_from(path).map_err(|e| unusable(&e))?;
    environment.with_name("flashmd").with_telemetry(false).commit();
    ort::environment::Environment::current().map_err(|e| unusable(&e))?;
    let library = Library { path: path.to_owned(), version, providers: providers() };
    *open = Some(library.clone());
    Ok(library)
}

fn library(message: impl Into<String>) -> Error {
    Error::RuntimeLibrary(message.into())
}

/// ONNX Runtime reads this when its environment is created and sends nothing home.
#[allow(unsafe_code)]
fn silence_telemetry() {
    if std::env::var_os("ORT_DISABLE_TELEMETRY").is_none_or(|value| value != "1") {
        // SAFETY: called under the lock of `load`, once per process, before any thread of ours or of ONNX Runtime
        // exists. Python sets the variable before importing the core, so that this branch is not taken there; the C header
        // asks callers with other threads to do so.
        unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    }
}

/// Asks the library for its version before anything of it is initialised.
#[allow(unsafe_code)]
fn version_of(path: &Path) -> Result<String> {
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: loading runs the library's initialisers; the user named this file as ONNX Runtime, and ort opens it
    // next in any case. The symbol has this signature in every version of ONNX Runtime; the handle outlives the
    // pointers taken from it.
    unsafe {
        let handle = libloading::Library::new(path).map_err(|e| {
            library(format!("{} cannot be opened as a library ({e}); reinstall onnxruntime", path.display()))
        })?;
        let get_base: libloading::Symbol<'_, GetApiBase> = handle.get(b"OrtGetApiBase").map_err(|_| {
            library(format!("{} is a library, but not ONNX Runtime; give libonnxruntime", path.display()))
        })?;
        let base = get_base();
        if base.is_null() {
            return Err(library(format!("{} has no ONNX Runtime interface; reinstall onnxruntime", path.display())));
        }
        let version = CStr::from_ptr(((*base).GetVersionString)()).to_string_lossy().into_owned();
        // Kept open: closing and opening again would run the initialisers twice.
        std::mem::forget(handle);
        Ok(version)
    }
}

/// Providers the library was built with; whether they work here is known only when a session asks for them.
#[allow(unsafe_code)]
fn providers() -> Vec<String> {
    let api = ort::api();
    let mut names = std::ptr::null_mut();
    let mut count = 0;
    let mut list = Vec::new();
    // SAFETY: the two calls of ONNX Runtime's C API that hand out and take back an array of `count` C strings.
    unsafe {
        let status = (api.GetAvailableProviders)(&raw mut names, &raw mut count);
        if !status.0.is_null() {
            (api.ReleaseStatus)(status.0);
            return list;
        }
        for index in 0..usize::try_from(count).unwrap_or(0) {
            list.push(CStr::from_ptr(*names.add(index)).to_string_lossy().into_owned());
        }
        let _ = (api.ReleaseAvailableProviders)(names, count);
    }
    list
}
