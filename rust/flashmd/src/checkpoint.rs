//! Checkpoints: all that a run needs to go on as if it had not stopped, to the last bit, in one safetensors file.
//!
//! A file is written beside its place, brought to disk, and renamed into it; the one before is kept as `NAME.previous`.
//! At every instant one of the two is whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::barostat::Moves;
use crate::cell::Cell;
use crate::error::{Error, Instability, Result};
use crate::guard;
use crate::linalg::Vec3;
use crate::molecules::Molecules;
use crate::random::Key;
use crate::rescale::Tally;
use crate::run::system::Ledger;
use crate::run::{System, common_step};
use crate::state::State;

/// Version of what is in the file.
pub const SCHEMA: u32 = 2;

/// Keys among the metadata of safetensors: the header, and the SHA-256 of it and of the tensors by name.
const HEADER: &str = "flashmd";
const CHECKSUM: &str = "sha256";

/// What the name of the checkpoint before the newest ends in.
const PREVIOUS: &str = ".previous";

/// What is said once for all systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the file.
    pub schema: u32,
    /// Strides done.
    pub step: u64,
    /// Model that moves the atoms, lower-case hexadecimal.
    pub model_sha256: String,
    /// What the caller wants to find again: settings, where its files ended. JSON.
    pub run: String,
    failures: Vec<Option<Failure>>,
}

/// Why a replica ended early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Failure {
    message: String,
    step: u64,
    time_ps: f64,
    atoms: Vec<usize>,
    quantity: String,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Checkpoint {
    /// Header.
    pub header: Header,
    /// The systems; states, accounts, molecules and failures, but no filters.
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
    let failed = |source| Error::File { doing: "write the checkpoint", path: path.to_owned(), source };
    let bytes = encode(systems, model_sha256, run).map_err(failed)?;
    let fresh = beside(path, ".new");
    let written = write_to_disk(&fresh, &bytes).and_then(|()| put_in_place(&fresh, path));
    written.map_err(|e| {
        // Half a file must not stay; that it cannot be removed either is no news.
        let _ = fs::remove_file(&fresh);
        failed(e)
    })
}

fn write_to_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames twice. Between the two the checkpoint is the previous one, which [`load`] knows.
fn put_in_place(fresh: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(path, beside(path, PREVIOUS)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(fresh, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder) {
        // A folder can be brought to disk on Unix only; elsewhere a rename is as safe as it gets.
        Ok(folder) if cfg!(unix) => folder.sync_all(),
        _ => Ok(()),
    }
}

/// `NAME` + `suffix` in the same folder.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Reads the checkpoint at `path`, or the one before it if that is missing or damaged.
///
/// # Errors
/// `File` if there is none; `Checkpoint` if neither can be used.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_one(path).or_else(|newest| match load_one(&beside(path, PREVIOUS)) {
        Ok(previous) => Ok(Checkpoint { passed_over: Some(newest.to_string()), ..previous }),
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

// ------------------------------------------------------------------------------------------------- the file

/// A tensor of little-endian numbers.
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Tensor {
    fn f64(shape: &[usize], values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            dtype: Dtype::F64,
            shape: shape.to_vec(),
            bytes: values.into_iter().flat_map(f64::to_le_bytes).collect(),
        }
    }

    fn i64(shape: &[usize], values: impl IntoIterator<Item = i64>) -> Self {
        Self {
            dtype: Dtype::I64,
            shape: shape.to_vec(),
            bytes: values.into_iter().flat_map(i64::to_le_bytes).collect(),
        }
    }

    fn u64(values: impl IntoIterator<Item = u64>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(u64::to_le_bytes).collect();
        Self { dtype: Dtype::U64, shape: vec![bytes.len() / 8], bytes }
    }

    fn u8(bytes: Vec<u8>) -> Self {
        Self { dtype: Dtype::U8, shape: vec![bytes.len()], bytes }
    }
}

fn encode(systems: &[System], model_sha256: &str, run: String) -> io::Result<Vec<u8>> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (at, system) in systems.iter().enumerate() {
        tensors.extend(tensors_of(system).into_iter().map(|(name, tensor)| (format!("{at}.{name}"), tensor)));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let header = Header {
        schema: SCHEMA,
        step: common_step(systems),
        model_sha256: model_sha256.to_owned(),
        run,
        failures: systems.iter().map(|s| s.failure.as_ref().map(failure_of)).collect(),
    };
    let header = serde_json::to_string(&header)?;
    let checksum = digest(&header, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.bytes.as_slice())));
    let metadata = HashMap::from([(HEADER.to_owned(), header), (CHECKSUM.to_owned(), checksum)]);
    safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(metadata))
        .map_err(io::Error::other)
}

fn tensors_of(system: &System) -> Vec<(&'static str, Tensor)> {
    let System { state, ledger, molecules, .. } = system;
    let n = state.len();
    let Ledger { heat, work, start_energy, start_volume, start_temperature, metropolis, rescale, moves, guard } =
        *ledger;
    let account = [
        heat,
        work,
        start_energy.unwrap_or(f64::NAN),
        start_volume,
        start_temperature,
        rescale.alpha_min,
        rescale.alpha_max,
        state.time,
    ];
    let counts = [
        state.step,
        state.key.seed,
        state.key.replica,
        rescale.count,
        rescale.skipped,
        rescale.clamped,
        moves.tried,
        moves.accepted,
        metropolis.tried,
        metropolis.accepted,
        guard.fallbacks,
        guard.fallback_left,
        guard.active,
    ];
    vec![
        ("positions", Tensor::f64(&[n, 3], state.positions.iter().flatten().copied())),
        ("momenta", Tensor::f64(&[n, 3], state.momenta.iter().flatten().copied())),
        ("masses", Tensor::f64(&[n], state.masses.iter().copied())),
        ("numbers", Tensor::u8(state.numbers.clone())),
        ("fixed", Tensor::u8(state.fixed.iter().map(|&f| f.into()).collect())),
        ("cell", Tensor::f64(&[3, 3], state.cell.matrix().iter().flatten().copied())),
        ("pbc", Tensor::u8(state.cell.pbc().map(u8::from).to_vec())),
        ("molecules", Tensor::u64(molecules.of.iter().map(|&m| m.into()))),
        ("shifts", Tensor::i64(&[n, 3], molecules.shifts.iter().flatten().copied())),
        ("account", Tensor::f64(&[account.len()], account)),
        ("counts", Tensor::u64(counts)),
        ("flags", Tensor::u64(guard.counts)),
    ]
}

fn failure_of(instability: &Instability) -> Failure {
    let Instability { message, step, time_ps, atoms, quantity, .. } = instability.clone();
    Failure { message, step, time_ps, atoms, quantity }
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
    let said = |key| metadata.metadata().as_ref().and_then(|m| m.get(key));
    let text = said(HEADER).ok_or_else(|| damaged("it has no header"))?;
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
    if said(CHECKSUM) != Some(&checksum) {
        return Err(damaged("its checksum is another"));
    }
    let header: Header = serde_json::from_str(text).map_err(damaged)?;
    let read = |(at, failure): (usize, &Option<Failure>)| Reader { file: &file, at }.system(failure.as_ref());
    let systems = header.failures.iter().enumerate().map(read).collect::<Result<_>>()?;
    Ok((header, systems))
}

/// Tensors of one system.
struct Reader<'a> {
    file: &'a SafeTensors<'a>,
    at: usize,
}

impl Reader<'_> {
    fn words<const W: usize>(&self, name: &str, dtype: Dtype) -> Result<Vec<[u8; W]>> {
        let view = self.file.tensor(&format!("{}.{name}", self.at)).map_err(damaged)?;
        if view.dtype() != dtype {
            return Err(damaged(format!("{name} is of type {:?}", view.dtype())));
        }
        Ok(view.data().as_chunks::<W>().0.to_vec())
    }

    fn f64(&self, name: &str) -> Result<Vec<f64>> {
        Ok(self.words(name, Dtype::F64)?.into_iter().map(f64::from_le_bytes).collect())
    }

    fn vectors(&self, name: &str) -> Result<Vec<Vec3>> {
        Ok(self.f64(name)?.as_chunks::<3>().0.to_vec())
    }

    fn u64(&self, name: &str) -> Result<Vec<u64>> {
        Ok(self.words(name, Dtype::U64)?.into_iter().map(u64::from_le_bytes).collect())
    }

    fn u8(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.words::<1>(name, Dtype::U8)?.into_iter().flatten().collect())
    }

    fn flags(&self, name: &str) -> Result<Vec<bool>> {
        Ok(self.u8(name)?.into_iter().map(|b| b != 0).collect())
    }

    fn system(&self, failure: Option<&Failure>) -> Result<System> {
        let short = |name: &str| damaged(format!("{name} has another length"));
        let matrix = self.vectors("cell")?.try_into().map_err(|_| short("cell"))?;
        let pbc = self.flags("pbc")?.try_into().map_err(|_| short("pbc"))?;
        let cell = Cell::new(matrix, pbc)?;
        let mut state = State::new(
            self.vectors("positions")?,
            self.vectors("momenta")?,
            self.f64("masses")?,
            self.u8("numbers")?,
            cell,
        )?;
        state.fixed = self.flags("fixed")?;
        let [heat, work, start_energy, start_volume, start_temperature, alpha_min, alpha_max, time] =
            self.f64("account")?.try_into().map_err(|_| short("account"))?;
        let [head @ .., fallbacks, fallback_left, active]: [u64; 13] =
            self.u64("counts")?.try_into().map_err(|_| short("counts"))?;
        let [step, seed, replica, count, skipped, clamped, tried, accepted, tested, stood] = head;
        let flags = self.u64("flags")?.try_into().map_err(|_| short("flags"))?;
        (state.step, state.time, state.key) = (step, time, Key { seed, replica });
        let mut system = System::new(state);
        system.molecules = self.molecules(system.state.len())?;
        system.ledger = Ledger {
            heat,
            work,
            start_energy: Some(start_energy).filter(|e| e.is_finite()),
            start_volume,
            start_temperature,
            metropolis: Moves { tried: tested, accepted: stood },
            rescale: Tally { count, skipped, clamped, alpha_min, alpha_max },
            moves: Moves { tried, accepted },
            guard: guard::Tally { counts: flags, fallbacks, fallback_left, active },
        };
        system.failure = failure.cloned().map(|Failure { message, step, time_ps, atoms, quantity }| Instability {
            message,
            step,
            time_ps,
            atoms,
            quantity,
            last_good: None,
        });
        Ok(system)
    }

    fn molecules(&self, atoms: usize) -> Result<Molecules> {
        let of: Vec<u32> = self.u64("molecules")?.into_iter().map(|m| m as u32).collect();
        let shifts: Vec<i64> = self.words("shifts", Dtype::I64)?.into_iter().map(i64::from_le_bytes).collect();
        let shifts = shifts.as_chunks::<3>().0.to_vec();
        let count = of.iter().max().map_or(0, |&m| m as usize + 1);
        if of.len() != atoms || shifts.len() != atoms || count > atoms {
            return Err(damaged("molecules do not fit the atoms"));
        }
        Ok(Molecules { of, shifts, count })
    }
}
