//! Checkpoints: all that a run needs to go on as if it had not stopped, to the last bit, in one safetensors file.

mod atomic_write;
mod fields;
mod tensor;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::simulation::common_step;
use super::system::System;
use crate::error::{Error, Instability, Result};
use crate::state::State;
use atomic_write::{atomic_write, previous};

/// Version of what is in the file.
pub const SCHEMA: u32 = 4;

/// Keys among the metadata of safetensors: the header, and the SHA-256 of it and of the tensors by name.
const HEADER: &str = "flashmd";
const CHECKSUM: &str = "sha256";

/// What is said once for all systems.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// Version of the file.
    pub schema: u32,
    /// Strides done.
    pub step: u64,
    /// Model that moves the atoms, lower-case hexadecimal.
    pub model_sha256: String,
    /// What the caller wants to find again: settings, where its files ended. JSON.
    pub run: String,
    /// By system, why it ended early.
    failures: Vec<Option<Instability>>,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Checkpoint {
    /// Header.
    pub header: Header,
    /// The systems; states, statistics, molecules and failures, but no filters.
    pub systems: Vec<System>,
    /// The file it was read from: the one asked for, or the one before it.
    pub path: PathBuf,
    /// Why the file asked for was not used, if it was not.
    pub passed_over: Option<String>,
}

/// Writes a checkpoint; the one that was there becomes the previous one.
///
/// # Errors
/// `File`; what was at `path` is then still there, or is the previous one.
pub fn save(path: &Path, systems: &[System], model_sha256: &str, run: String) -> Result<()> {
    let written = encode(systems, model_sha256, run).and_then(|bytes| atomic_write(path, &bytes));
    written.map_err(|source| Error::File { doing: "write the checkpoint", path: path.to_owned(), source })
}

/// Reads the checkpoint at `path`, or the one before it if that is missing or damaged.
///
/// # Errors
/// `File` if there is none; `Checkpoint` if neither can be used.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_one(path).or_else(|newest| match load_one(&previous(path)) {
        Ok(found) => Ok(Checkpoint { passed_over: Some(newest.to_string()), ..found }),
        Err(_) => Err(newest),
    })
}

fn load_one(path: &Path) -> Result<Checkpoint> {
    let bytes =
        fs::read(path).map_err(|source| Error::File { doing: "read the checkpoint", path: path.to_owned(), source })?;
    let (header, systems) = decode(&bytes).map_err(|e| match e {
        Error::Checkpoint(m) | Error::Input(m) => Error::Checkpoint(format!("{}: {m}", path.display())),
        other => other,
    })?;
    Ok(Checkpoint { header, systems, path: path.to_owned(), passed_over: None })
}

impl Checkpoint {
    /// The systems as they were saved, for a run that starts from the structures in `starts`.
    ///
    /// # Errors
    /// `Checkpoint` if they are other systems.
    pub fn resume(self, starts: &[State]) -> Result<Vec<System>> {
        let name = self.path.display();
        if starts.len() != self.systems.len() {
            return Err(Error::Checkpoint(format!(
                "{name} holds {} systems, the run has {}; give the structures it was started with",
                self.systems.len(),
                starts.len()
            )));
        }
        let mut systems = self.systems;
        for (System { state: saved, .. }, start) in systems.iter_mut().zip(starts) {
            if !same_atoms(saved, start) {
                return Err(Error::Checkpoint(format!(
                    "{name} was made with other atoms, masses, fixed atoms or periodic axes than this structure has; \
                     give the structure it was started with"
                )));
            }
            // A new seed is allowed: the streams are addressed by step, so nothing is drawn twice.
            saved.key = start.key;
        }
        Ok(systems)
    }
}

fn same_atoms(a: &State, b: &State) -> bool {
    a.numbers == b.numbers && a.masses == b.masses && a.fixed == b.fixed && a.cell.pbc() == b.cell.pbc()
}

fn encode(systems: &[System], model_sha256: &str, run: String) -> io::Result<Vec<u8>> {
    let mut tensors: Vec<_> =
        systems.iter().enumerate().flat_map(|(number, system)| fields::store(number, system)).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let header = Header {
        schema: SCHEMA,
        step: common_step(systems),
        model_sha256: model_sha256.to_owned(),
        run,
        failures: systems.iter().map(|system| system.failure.clone()).collect(),
    };
    let header = serde_json::to_string(&header)?;
    let checksum = digest(&header, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.bytes.as_slice())));
    let metadata = HashMap::from([(HEADER.to_owned(), header), (CHECKSUM.to_owned(), checksum)]);
    safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(metadata))
        .map_err(io::Error::other)
}

fn digest<'a>(header: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    hash.update(header.as_bytes());
    for (name, bytes) in tensors {
        hash.update(name.as_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Checkpoint(format!("not a whole checkpoint of flashmd-rs: {what}"))
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

fn decode(bytes: &[u8]) -> Result<(Header, Vec<System>)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let entry = |key| metadata.metadata().as_ref().and_then(|m| m.get(key));
    let text = entry(HEADER).ok_or_else(|| damaged("it has no header"))?;
    let Version { schema } = serde_json::from_str(text).map_err(damaged)?;
    if schema != SCHEMA {
        return Err(Error::Checkpoint(format!(
            "it follows schema {schema}, this version reads schema {SCHEMA}; use the flashmd-rs that wrote it"
        )));
    }
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut tensors: Vec<(String, &[u8])> = file.iter().map(|(name, view)| (name.to_owned(), view.data())).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let checksum = digest(text, tensors.iter().map(|(name, data)| (name.as_str(), *data)));
    if entry(CHECKSUM) != Some(&checksum) {
        return Err(damaged("its checksum is another"));
    }
    let header: Header = serde_json::from_str(text).map_err(damaged)?;
    let system = |(number, failure): (usize, &Option<Instability>)| {
        let mut system = fields::load(number, &file)?;
        system.failure.clone_from(failure);
        Ok(system)
    };
    let systems = header.failures.iter().enumerate().map(system).collect::<Result<_>>()?;
    Ok((header, systems))
}
