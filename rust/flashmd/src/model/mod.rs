//! Models: a contract-checked ONNX file with an open session.

pub mod contract;
pub mod session;
mod start;

pub use contract::bonds::BondCounts;
pub use contract::kinds::{Kind, KindSpec};
pub use contract::metadata::Metadata;
pub use contract::tensors::{Dim, Element, Input, Output, Sizes, TensorSpec};
pub use contract::{Contract, domain, fast_forces, mean_field, metadata};
pub use session::{Batch, Device, Kernels, NetworkSession, Outputs, Placement, Terminator, library, process};

use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::error::{Error, ModelFault, Result};
use crate::kernels::Summary;

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    name: String,
    contract: Contract,
    sha256: String,
    placement: Placement,
    kernels: Option<Summary>,
    /// Locked for one run of the network at a time: several simulations may share a model.
    session: Mutex<NetworkSession>,
}

impl Model {
    /// Checks the contract of a whole file in memory, opens a session and checks the network on a small structure.
    ///
    /// What surrounds the network uses as many threads as the network on the CPU.
    ///
    /// # Errors
    /// `Model` if the contract is broken or ONNX Runtime does not come back in time, `RuntimeLibrary` if the session
    /// cannot be opened on `device`.
    pub fn load(bytes: &[u8], name: &str, placement: Placement) -> Result<Self> {
        let load = || {
            let contract = Contract::read(bytes)?;
            let session = session::watchdog::open_and_check(bytes, &contract, placement)?;
            let (name, sha256) = (name.to_owned(), hex(&Sha256::digest(bytes)));
            let kernels = session.kernels().cloned();
            Ok(Self { name, contract, sha256, placement, kernels, session: Mutex::new(session) })
        };
        load().map_err(|e: Error| e.in_model(name))
    }

    /// Name for messages, usually the file's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file promises.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The checked metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.contract.metadata
    }

    /// SHA-256 of the file, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where the network runs.
    pub fn device(&self) -> Device {
        self.placement.device
    }

    /// What kernels run of the network; `None` if ONNX Runtime runs all of it.
    pub fn kernels(&self) -> Option<&Summary> {
        self.kernels.as_ref()
    }

    /// Runs the network on `batch` for the outputs `wanted`, into `outputs`; waits while another run of it is in progress.
    ///
    /// # Errors
    /// As [`NetworkSession::run`]; `Model` if an earlier run panicked.
    pub fn run(&self, batch: Batch<'_>, wanted: &[Output], outputs: &mut Outputs) -> Result<()> {
        // Before the lock, which may never open in a forked process.
        process::check()?;
        let mut run = || {
            let lock = self.session.lock();
            let mut session = lock.map_err(|_| ModelFault::RunPanicked)?;
            session.run(batch, wanted, outputs)
        };
        run().map_err(|e| e.in_model(&self.name))
    }

    /// Threads that whatever surrounds the network may use.
    pub fn threads(&self) -> usize {
        self.placement.threads
    }

    /// Checks that the model is of the kind asked for.
    ///
    /// # Errors
    /// `Model` naming both kinds.
    pub fn expect_kind(&self, kind: Kind) -> Result<()> {
        let got = self.metadata().kind;
        if got == kind {
            return Ok(());
        }
        Err(self.fault(ModelFault::WrongKind { got: got.name(), wanted: kind.name() }))
    }

    /// The error of something that is wrong with this model.
    pub fn fault(&self, fault: ModelFault) -> Error {
        Error::from(fault).in_model(&self.name)
    }

    /// Species index of each atom.
    ///
    /// # Errors
    /// `Model` for an unknown element or a wrong mass.
    pub fn assign(&self, numbers: &[u8], masses: &[f64]) -> Result<Vec<i32>> {
        self.metadata().assign(numbers, masses).map_err(|e| e.in_model(&self.name))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
