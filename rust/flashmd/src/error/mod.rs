//! The errors of the core. A message says what was got, what was wanted, what to do.

mod model_fault;
mod text;

pub use model_fault::{Deviation, ModelFault};
pub(crate) use text::{list_atoms, one_line, plain};

use std::error::Error as StdError;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::linalg::{Mat3, Vec3};

/// Result of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, by who has to act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a model, breaks the contract, or does not fit the atoms.
    #[error("{}", model_message(.model.as_deref(), .fault))]
    Model {
        /// Name of the model, usually its file's, once it is known.
        model: Option<String>,
        /// What is wrong with it.
        fault: ModelFault,
    },
    /// An argument or a structure is not usable.
    #[error("{0}")]
    Input(String),
    /// ONNX Runtime is missing, too old, or lacks what was asked of it.
    #[error("{0}")]
    RuntimeLibrary(String),
    /// The trajectory left the numbers a simulation can go on from.
    #[error("{}", .0.message)]
    Stability(Box<Instability>),
    /// The run was asked to end from outside.
    #[error("the run was interrupted at step {step}")]
    Interrupted {
        /// Strides completed.
        step: u64,
    },
    /// A checkpoint cannot be written, read, or continued from.
    #[error("{0}")]
    Checkpoint(String),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", .path.display())]
    File {
        /// What was tried: "write the checkpoint".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The program, or a part that was given to it, breaks its own rules.
    #[error("{0}")]
    Defect(String),
    /// An observer or an energy callback failed; the error passes through unchanged.
    #[error(transparent)]
    Callback(Box<dyn StdError + Send + Sync>),
}

/// Where and how a trajectory failed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Instability {
    /// The whole sentence.
    pub message: String,
    /// Stride at which it was found; 0 is the start.
    pub step: u64,
    /// Simulated time of that stride, ps.
    pub time_ps: f64,
    /// Offending atoms; empty for global quantities.
    pub atoms: Vec<usize>,
    /// What was out of bounds, in words.
    pub quantity: String,
    /// The last frame that passed every check.
    #[serde(skip)]
    pub last_good: Option<GoodFrame>,
}

/// Phase-space point kept for the report of a failure.
#[derive(Debug, Clone, Default)]
pub struct GoodFrame {
    /// Positions, unwrapped, `[N]` Å.
    pub positions: Vec<Vec3>,
    /// Momenta, `[N]` √(eV·u).
    pub momenta: Vec<Vec3>,
    /// Lattice vectors, rows, Å.
    pub cell: Mat3,
}

impl Instability {
    /// The same with when it happened.
    #[must_use]
    fn at_step(mut self, step: u64, time_ps: f64) -> Self {
        self.message = format!("unstable at step {step} ({time_ps:.6} ps): {}", self.message);
        (self.step, self.time_ps) = (step, time_ps);
        self
    }

    /// The same with when it happened and the last frame that passed every check.
    #[must_use]
    pub fn at(self, step: u64, time_ps: f64, last_good: GoodFrame) -> Self {
        Self { last_good: Some(last_good), ..self.at_step(step, time_ps) }
    }
}

impl Error {
    /// A stability error that does not yet know the stride it happened in.
    pub fn unstable(quantity: impl Into<String>, atoms: Vec<usize>, message: impl Into<String>) -> Self {
        Self::Stability(Box::new(Instability {
            message: message.into(),
            quantity: quantity.into(),
            atoms,
            ..Instability::default()
        }))
    }

    /// Adds when it happened to a stability error; others pass unchanged.
    #[must_use]
    pub fn at(self, step: u64, time_ps: f64) -> Self {
        match self {
            Self::Stability(e) => Self::Stability(Box::new(e.at_step(step, time_ps))),
            other => other,
        }
    }

    /// Names the model in a model error that does not yet know it; others pass unchanged.
    #[must_use]
    pub fn in_model(self, name: &str) -> Self {
        match self {
            Self::Model { model: None, fault } => Self::Model { model: Some(name.to_owned()), fault },
            other => other,
        }
    }
}

impl From<ModelFault> for Error {
    fn from(fault: ModelFault) -> Self {
        Self::Model { model: None, fault }
    }
}

fn model_message(model: Option<&str>, fault: &ModelFault) -> String {
    let message = one_line(&fault.to_string());
    model.map_or(message.clone(), |name| format!("{name}: {message}"))
}
