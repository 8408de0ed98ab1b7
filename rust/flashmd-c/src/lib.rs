//! C interface of flashmd; `include/flashmd.h` describes it.
#![allow(unsafe_code, reason = "pointers of a C caller")]
#![allow(non_snake_case, reason = "names carry their units")]

mod failure;

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::sync::Arc;

use flashmd::error::Result;
use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::thermostat::{Bussi, Langevin, Thermostat};
use flashmd::linalg::{Mat3, Vec3};
use flashmd::model::{Device, Kernels, Kind, Model, library};
use flashmd::propagators::{Randomness, prepare};
use flashmd::run::{Schedule, Simulation as Core, System};
use flashmd::{Cell, Error, Placement, State};

pub use failure::flashmd_error;
use failure::guarded;

/// More do not fit into memory.
const MOST_ATOMS: usize = isize::MAX as usize / size_of::<Vec3>();

/// `flashmd_options`.
#[repr(C)]
pub struct Options {
    onnxruntime: *const c_char,
    model: *const c_char,
    threads: u32,
    seed: u64,
    thermostat: i32,
    temperature_K: f64,
    time_constant_fs: f64,
    ignore_domain: bool,
}

/// `flashmd_atoms`.
#[repr(C)]
pub struct Atoms {
    count: usize,
    numbers: *const u8,
    masses: *const f64,
    positions: *const f64,
    momenta: *const f64,
    cell: *const f64,
    periodic: [bool; 3],
}

/// `flashmd_simulation`.
pub struct Simulation {
    core: Core<'static>,
    stride_fs: f64,
    /// A call is under way, or a panic has ended one.
    at_work: bool,
}

impl Simulation {
    /// Does `work`, which after a panic is refused for good.
    fn work<T>(&mut self, work: impl FnOnce(&mut Core<'static>) -> Result<T>) -> Result<T> {
        if self.at_work {
            return Err(Error::Defect("this simulation ended with a defect and cannot go on; make a new one".into()));
        }
        self.at_work = true;
        let done = work(&mut self.core);
        self.at_work = false;
        done
    }
}

/// Makes a simulation.
///
/// # Safety
/// Pointers are as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_create(options: *const Options, atoms: *const Atoms) -> *mut Simulation {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let (options, atoms) = unsafe { (given("options", options)?, given("atoms", atoms)?) };
        // SAFETY: likewise.
        let simulation = unsafe { create(options, atoms)? };
        Ok(Box::into_raw(Box::new(simulation)))
    })
}

/// Moves by strides.
///
/// # Safety
/// `simulation` comes of `flashmd_create`, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_step(simulation: *mut Simulation, strides: u64) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's promise.
        let simulation = unsafe { given_mut(simulation)? };
        simulation.work(|core| {
            check_alive(core)?;
            let _ = core.advance(strides, &mut ())?;
            check_alive(core).map(|()| 0)
        })
    })
}

/// Copies the state out.
///
/// # Safety
/// As of [`flashmd_step`]; arrays are null or as long as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_get(
    simulation: *const Simulation,
    positions: *mut f64,
    momenta: *mut f64,
    cell: *mut f64,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's promise.
        let state = state(unsafe { given("simulation", simulation)? });
        // SAFETY: likewise.
        unsafe {
            write(&state.positions, positions);
            write(&state.momenta, momenta);
            write(state.cell.matrix(), cell);
        }
        Ok(0)
    })
}

/// Puts the state in.
///
/// # Safety
/// As of [`flashmd_get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_set(
    simulation: *mut Simulation,
    positions: *const f64,
    momenta: *const f64,
    cell: *const f64,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's promise.
        let simulation = unsafe { given_mut(simulation)? };
        let now = state(simulation);
        let count = now.len();
        // SAFETY: likewise.
        let to = unsafe {
            Placement {
                positions: if positions.is_null() { now.positions.clone() } else { vectors(positions, count) },
                momenta: if momenta.is_null() { now.momenta.clone() } else { vectors(momenta, count) },
                cell: if cell.is_null() { now.cell.clone() } else { Cell::new(matrix(cell), now.cell.pbc())? },
            }
        };
        simulation.work(|core| core.place(0, to)).map(|()| 0)
    })
}

/// Strides done.
///
/// # Safety
/// As of [`flashmd_step`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_steps(simulation: *const Simulation) -> u64 {
    // SAFETY: the caller's promise.
    guarded(0, || Ok(unsafe { given("simulation", simulation)? }.core.step()))
}

/// Length of a stride, fs.
///
/// # Safety
/// As of [`flashmd_step`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_stride_fs(simulation: *const Simulation) -> f64 {
    // SAFETY: the caller's promise.
    guarded(0.0, || Ok(unsafe { given("simulation", simulation)? }.stride_fs))
}

/// Kinetic temperature, K.
///
/// # Safety
/// As of [`flashmd_step`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_temperature_K(simulation: *const Simulation) -> f64 {
    // SAFETY: the caller's promise.
    guarded(0.0, || Ok(state(unsafe { given("simulation", simulation)? }).temperature()))
}

/// Ends a simulation.
///
/// # Safety
/// As of [`flashmd_step`]; it is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashmd_free(simulation: *mut Simulation) {
    guarded((), || {
        if !simulation.is_null() {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(simulation) });
        }
        Ok(())
    });
}

unsafe fn create(options: &Options, atoms: &Atoms) -> Result<Simulation> {
    // SAFETY: the caller's promise.
    let (runtime, path) = unsafe { (text("onnxruntime", options.onnxruntime)?, text("model", options.model)?) };
    library::load(Path::new(runtime))?;
    let bytes = std::fs::read(path).map_err(|source| Error::File { doing: "read", path: path.into(), source })?;
    let threads = usize::try_from(options.threads).ok().filter(|&threads| threads > 0);
    let threads = threads.ok_or_else(|| Error::Input("got no threads; wanted at least 1".into()))?;
    let placement = flashmd::model::Placement { device: Device::Cpu, threads, kernels: Kernels::Auto };
    let model = Arc::new(Model::load(&bytes, path, placement)?);
    let metadata = model.metadata();
    if !metadata.kind.spec().moves_atoms {
        model.expect_kind(Kind::Direct)?;
    }

    // SAFETY: the caller's promise.
    let mut state = unsafe { start(atoms)? };
    state.key = options.seed.into();
    model.find_bonds(&mut state)?;
    let rotate = metadata.wants_rotation();
    let randomness = Randomness { rotate, stochastic_noise: true };
    let propagator = prepare(&model, &[&state], randomness, !options.ignore_domain)?;
    let stride_fs = propagator.stride_fs();

    let mut system = System::new(state);
    system.guard = (!options.ignore_domain).then_some(GuardPolicy::Stop);
    system.thermostat = thermostat(options, stride_fs)?;
    let mut core = Core::new(vec![system], propagator, None, Schedule::default())?;
    core.start(&mut ())?;
    Ok(Simulation { core, stride_fs, at_work: false })
}

fn thermostat(options: &Options, stride_fs: f64) -> Result<Option<Thermostat>> {
    let &Options { temperature_K: kelvin, time_constant_fs: tau, .. } = options;
    match options.thermostat {
        0 => Ok(None),
        1 => Ok(Some(Thermostat::Langevin(Langevin::new(kelvin, tau, stride_fs)?))),
        2 => Ok(Some(Thermostat::Bussi(Bussi::new(kelvin, tau, stride_fs)?))),
        other => Err(Error::Input(format!("got thermostat {other}; wanted a flashmd_thermostat"))),
    }
}

unsafe fn start(atoms: &Atoms) -> Result<State> {
    let count = atoms.count;
    if count > MOST_ATOMS {
        return Err(Error::Input(format!("got {count} atoms; wanted their number")));
    }
    let arrays = [("masses", atoms.masses), ("positions", atoms.positions), ("momenta", atoms.momenta)];
    if let Some((name, _)) = arrays.iter().find(|(_, array)| array.is_null()) {
        return Err(Error::Input(format!("got NULL for {name}")));
    }
    // SAFETY: the caller's promise, and none is null.
    unsafe {
        let numbers = std::slice::from_raw_parts(given("numbers", atoms.numbers)?, count).to_vec();
        let masses = std::slice::from_raw_parts(atoms.masses, count).to_vec();
        let matrix = if atoms.cell.is_null() { [[0.0; 3]; 3] } else { matrix(atoms.cell) };
        let cell = Cell::new(matrix, atoms.periodic)?;
        State::new(vectors(atoms.positions, count), vectors(atoms.momenta, count), masses, numbers, cell)
    }
}

fn state(simulation: &Simulation) -> &State {
    &simulation.core.systems()[0].state
}

fn check_alive(core: &Core<'_>) -> Result<()> {
    match &core.systems()[0].failure {
        Some(failure) => Err(Error::Stability(Box::new(failure.clone()))),
        None => Ok(()),
    }
}

unsafe fn given<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Error::Input(format!("got NULL for {name}")))
}

unsafe fn given_mut<'a>(pointer: *mut Simulation) -> Result<&'a mut Simulation> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| Error::Input("got NULL for simulation".into()))
}

unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(given(name, pointer)?) };
    text.to_str().map_err(|_| Error::Input(format!("{name} is not UTF-8")))
}

unsafe fn vectors(from: *const f64, count: usize) -> Vec<Vec3> {
    // SAFETY: the caller's promise; three numbers are a vector.
    unsafe { std::slice::from_raw_parts(from.cast::<Vec3>(), count) }.to_vec()
}

unsafe fn matrix(from: *const f64) -> Mat3 {
    // SAFETY: the caller's promise; nine numbers are a matrix.
    unsafe { from.cast::<Mat3>().read() }
}

/// Writes vectors where something was given.
unsafe fn write(from: &[Vec3], to: *mut f64) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Vec3>().copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    }
}
