//! One ONNX Runtime session: fed by name from borrowed buffers, outputs checked before anyone sees them.

mod batch;
pub mod library;
mod load_check;
pub mod process;
pub(super) mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::ep;
use ort::memory::MemoryInfo;
use ort::session::{IoBinding, RunOptions, Session as OrtSession, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, TensorRef};

pub use batch::{Batch, Outputs};

use super::contract::Contract;
use super::contract::kinds::Kind;
use super::contract::tensors::{Dim, Element, Input, Output, Sizes};
use crate::error::{Error, ModelFault, Result, list_atoms, one_line};
use crate::kernels::{self, Axis, GraphInput, StagedGraph, Summary};
use batch::Values;

/// How long a thread without work spins before it sleeps, µs: from one operator to the next. ONNX Runtime's default is
/// from one stride to the next, on a core that another program may want. Versions from before spring 2026 do not know it.
const SPIN_US: &str = "50";

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// ONNX Runtime's CPU provider.
    Cpu,
    /// The CUDA provider, on the first GPU.
    Cuda,
}

impl Device {
    /// "cpu" or "cuda".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Whether a network on the CPU is run by the kernels of this crate, as far as they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Wherever they can.
    Auto,
    /// By ONNX Runtime alone.
    Off,
}

/// Where and how a network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Device.
    pub device: Device,
    /// Threads that work on one operator, on the CPU.
    pub threads: usize,
    /// Kernels of this crate, on the CPU.
    pub kernels: Kernels,
}

/// Ends the run in progress from another thread, and every later one.
#[derive(Clone)]
pub struct Terminator {
    options: Arc<RunOptions>,
    asked: Arc<AtomicBool>,
}

impl Terminator {
    /// Ends the run in progress as soon as ONNX Runtime can.
    pub fn terminate(&self) {
        self.asked.store(true, Ordering::SeqCst);
        // Cannot fail: it sets a flag.
        let _ = self.options.terminate();
    }
}

impl std::fmt::Debug for Terminator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminator").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// What ONNX Runtime holds.
#[derive(Debug)]
struct Handles {
    session: OrtSession,
    binding: IoBinding,
}

/// A session with its bindings.
#[derive(Debug)]
pub struct NetworkSession {
    /// There until it is dropped.
    handles: Option<Handles>,
    terminator: Terminator,
    inputs: Vec<Input>,
    on_gpu: bool,
    ones: Vec<f32>,
    kernels: Option<Summary>,
}

impl NetworkSession {
    /// Opens a session on the bytes of a checked model.
    ///
    /// # Errors
    /// `RuntimeLibrary` if no library is open, CUDA is asked for and not usable, or this process was forked from one
    /// with a session; `Model` if the graph is broken.
    pub fn open(bytes: &[u8], contract: &Contract, placement: Placement) -> Result<Self> {
        let device = placement.device;
        process::claim()?;
        let Some(library) = library::current() else {
            return Err(Error::RuntimeLibrary(
                "ONNX Runtime is not open yet; call load_runtime with the path of libonnxruntime first".into(),
            ));
        };
        if device == Device::Cuda && !library.providers.iter().any(|p| p == "CUDAExecutionProvider") {
            return Err(Error::RuntimeLibrary(format!(
                "device 'cuda' was asked for, but the ONNX Runtime {} at {} is built without CUDA; install \
                 'onnxruntime-gpu[cuda,cudnn]', then run `pip install --force-reinstall --no-deps onnxruntime-gpu`, or use device='cpu'",
                library.version,
                library.path.display()
            )));
        }
        let staged = match placement {
            Placement { device: Device::Cpu, kernels: Kernels::Auto, .. } => {
                StagedGraph::new(bytes, &graph_inputs(contract), Input::Mask.name())
            }
            _ => None,
        };
        let session = build(bytes, staged.as_ref(), contract.metadata.kind, placement)?;
        let broken = |e: ort::Error| ModelFault::NotRunnable { problem: runtime_message(&e) };
        let options = Arc::new(RunOptions::new().map_err(broken)?);
        Ok(Self {
            handles: Some(Handles { binding: session.create_binding().map_err(broken)?, session }),
            terminator: Terminator { options, asked: Arc::default() },
            inputs: contract.inputs.clone(),
            on_gpu: device == Device::Cuda,
            ones: Vec::new(),
            kernels: staged.map(|staged| staged.summary),
        })
    }

    /// What kernels run of the network; `None` if ONNX Runtime runs all of it.
    pub fn kernels(&self) -> Option<&Summary> {
        self.kernels.as_ref()
    }

    /// A handle that can end a run from another thread.
    pub fn terminator(&self) -> Terminator {
        self.terminator.clone()
    }

    /// Runs the network on `batch` for the outputs `wanted`, into `outputs`; no other is computed. Numbers may not be finite: see
    /// [`check_finite`].
    ///
    /// # Errors
    /// `Model` if an output has another shape or type than the contract says or the run fails, `Interrupted` after
    /// [`Terminator::terminate`], `RuntimeLibrary` in a process forked since the session was opened.
    pub fn run(&mut self, batch: Batch<'_>, wanted: &[Output], outputs: &mut Outputs) -> Result<()> {
        process::check()?;
        let Some(mut handles) = self.handles.take() else {
            return Err(Error::RuntimeLibrary("the session is closed; load the model again".into()));
        };
        let result = self.run_bound(&mut handles, batch, wanted, outputs);
        // The binding holds pointers into the caller's buffers: it must not keep them past this call.
        handles.binding.clear();
        self.handles = Some(handles);
        result
    }

    fn run_bound(
        &mut self,
        handles: &mut Handles,
        batch: Batch<'_>,
        wanted: &[Output],
        outputs: &mut Outputs,
    ) -> Result<()> {
        let Handles { session, binding } = handles;
        let Self { terminator, inputs, on_gpu, ones, .. } = self;
        ones.resize(batch.edges.atoms, 1.0);
        let failed = |e: ort::Error| match terminator.asked.load(Ordering::SeqCst) {
            true => Error::Interrupted { step: 0 },
            false => ModelFault::RunFailed { problem: runtime_message(&e) }.into(),
        };
        for &input in inputs.iter() {
            bind(binding, input, batch, ones).map_err(failed)?;
        }
        // Bound anew each run: ONNX Runtime would otherwise want outputs of the shape of the last one.
        let host = MemoryInfo::default();
        for output in wanted {
            binding.bind_output_to_device(output.name(), &host).map_err(failed)?;
        }
        if *on_gpu {
            binding.synchronize_inputs().map_err(failed)?;
        }
        let values = session.run_binding_with_options(binding, &terminator.options).map_err(failed)?;
        if *on_gpu {
            binding.synchronize_outputs().map_err(failed)?;
        }
        for &output in wanted {
            take(&values, output, batch.sizes(), outputs.buffer(output))?;
        }
        Ok(())
    }
}

impl Drop for NetworkSession {
    fn drop(&mut self) {
        if process::is_forked() {
            // Closing it would wait for threads that stayed in the parent.
            std::mem::forget(self.handles.take());
        }
    }
}

/// The inputs of a model as the kernels want them described.
fn graph_inputs(contract: &Contract) -> Vec<GraphInput> {
    let axis = |dim: &Dim| match dim {
        Dim::N => Axis::Atoms,
        Dim::K => Axis::Slots,
        Dim::H => Axis::Fixed(contract.metadata.scheme.scalars()),
        Dim::P => Axis::Fixed(contract.metadata.legendre_orders),
        Dim::Two => Axis::Fixed(2),
        Dim::Three => Axis::Fixed(3),
    };
    let element = |element| match element {
        Element::Float32 => kernels::Element::Float,
        Element::Int32 => kernels::Element::Int32,
        Element::Bool => kernels::Element::Bool,
    };
    let describe = |input: &Input| {
        let spec = input.spec();
        GraphInput { name: spec.name, element: element(spec.element), axes: spec.shape.iter().map(axis).collect() }
    };
    contract.inputs.iter().map(describe).collect()
}

fn build(bytes: &[u8], staged: Option<&StagedGraph>, kind: Kind, placement: Placement) -> Result<OrtSession> {
    let Placement { device, threads, .. } = placement;
    let setup =
        |e: &dyn std::fmt::Display| Error::RuntimeLibrary(format!("ONNX Runtime refused the session options: {e}"));
    // With a number of its own choice, ONNX Runtime would pin each thread to a core, whatever this process may use.
    let mut builder = OrtSession::builder()
        .map_err(|e| setup(&e))?
        .with_intra_threads(threads)
        .map_err(|e| setup(&e))?
        .with_inter_threads(1)
        .map_err(|e| setup(&e))?
        .with_parallel_execution(false)
        .map_err(|e| setup(&e))?
        // An energy model works beside the model that moves the atoms: its idle threads must not spin on those cores.
        .with_intra_op_spinning(kind.spec().moves_atoms)
        .map_err(|e| setup(&e))?
        .with_config_entry("session.intra_op.spin_duration_us", SPIN_US)
        .map_err(|e| setup(&e))?
        .with_deterministic_compute(true)
        .map_err(|e| setup(&e))?;
    if device == Device::Cuda {
        // TF32 is ONNX Runtime's default on recent GPUs and keeps 10 bits of the mantissa: not for dynamics.
        let cuda = ep::CUDA::default().with_device_id(0).with_tf32(false).build().error_on_failure();
        builder = builder.with_execution_providers([cuda]).map_err(|e| {
            Error::RuntimeLibrary(format!(
                "device 'cuda' was asked for, but CUDA cannot be used here: {}; check the driver and that \
                 'onnxruntime-gpu[cuda,cudnn]' is installed, or use device='cpu'",
                runtime_message(&e)
            ))
        })?;
    }
    let bytes = match staged {
        Some(staged) => {
            let operators = staged.operators().map_err(|e| setup(&e))?;
            #[allow(clippy::arc_with_non_send_sync, reason = "what ort wants; the session alone uses it")]
            let operators = Arc::new(operators);
            builder = builder.with_operators(operators).map_err(|e| setup(&e))?;
            staged.bytes.as_slice()
        }
        None => bytes,
    };
    builder.commit_from_memory(bytes).map_err(|e| match device {
        Device::Cpu => ModelFault::NotLoadable { problem: runtime_message(&e) }.into(),
        Device::Cuda => Error::RuntimeLibrary(format!(
            "the session could not be opened with CUDA: {}; try device='cpu'",
            runtime_message(&e)
        )),
    })
}

/// ONNX Runtime's messages without the place in its source; names in them are the file's.
fn runtime_message(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let message = text.rsplit("[ONNXRuntimeError]").next().unwrap_or(&text);
    one_line(message.trim_start_matches([' ', ':']))
}

fn bind(binding: &mut IoBinding, input: Input, batch: Batch<'_>, ones: &[f32]) -> std::result::Result<(), ort::Error> {
    let spec = input.spec();
    let shape = spec.shape_of(batch.sizes());
    match batch.values(input, ones) {
        Values::Float32(values) => feed(binding, spec.name, &shape, values),
        Values::Int32(values) => feed(binding, spec.name, &shape, values),
        Values::Bool(values) => feed(binding, spec.name, &shape, values),
    }
}

fn feed<T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
    binding: &mut IoBinding,
    name: &str,
    shape: &[usize],
    data: &[T],
) -> std::result::Result<(), ort::Error> {
    let tensor = TensorRef::from_array_view((shape, data))?;
    binding.bind_input(name, &*tensor)
}

/// Copies one output into its buffer after checking its type and shape.
fn take(values: &SessionOutputs<'_>, output: Output, sizes: Sizes, buffer: &mut Vec<f32>) -> Result<()> {
    let spec = output.spec();
    let value = values.get(spec.name).ok_or(ModelFault::NoValue { output: spec.name })?;
    let (shape, data) = value
        .try_extract_tensor::<f32>()
        .map_err(|e| ModelFault::WrongValueType { output: spec.name, problem: runtime_message(&e) })?;
    let wanted: Vec<i64> = spec.shape_of(sizes).into_iter().map(|size| size as i64).collect();
    if shape[..] != wanted[..] {
        return Err(ModelFault::WrongValueShape { output: spec.name, got: shape.to_vec(), wanted }.into());
    }
    buffer.clear();
    buffer.extend_from_slice(data);
    Ok(())
}

/// Checks the `values` of `output` for `atoms` atoms.
///
/// # Errors
/// `Stability` naming the atoms with numbers that are not finite.
pub fn check_finite(output: Output, values: &[f32], atoms: usize) -> Result<()> {
    if values.iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    let per_atom = values.len() / atoms;
    let rows = values.chunks(per_atom.max(1)).enumerate();
    let bad: Vec<usize> = rows.filter(|(_, row)| row.iter().any(|x| !x.is_finite())).map(|(i, _)| i).collect();
    let name = output.name();
    let message = format!(
        "the network's {name} of {} is not finite; the structure is outside what the model was trained on",
        list_atoms(&bad)
    );
    Err(Error::unstable(name, bad, message))
}
