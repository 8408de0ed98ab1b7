//! 256 atoms of aluminium at 600 K, in strides of the bundled model:
//! `cargo run --release -p flashmd --example aluminium -- LIBONNXRUNTIME MODEL.onnx [STRIDES]`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use flashmd::filters::guard::GuardPolicy;
use flashmd::filters::thermostat::{Bussi, Thermostat};
use flashmd::linalg::scale;
use flashmd::model::{Device, Kernels, Model, Placement, library};
use flashmd::propagators::{Randomness, prepare};
use flashmd::random::{Purpose, Stream};
use flashmd::run::{Schedule, Simulation, System};
use flashmd::units::KB;
use flashmd::{Cell, State};

const KELVIN: f64 = 600.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(runtime), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: aluminium LIBONNXRUNTIME MODEL.onnx [STRIDES]".into());
    };
    let strides = arguments.next().map_or(Ok(100), |count| count.parse())?;

    library::load(Path::new(&runtime))?;
    let placement = Placement { device: Device::Cpu, threads: 1, kernels: Kernels::Auto };
    let model = Arc::new(Model::load(&std::fs::read(&file)?, &file, placement)?);

    let state = crystal(4, 4.05)?;
    // A direct model whose network is not equivariant wants its frame turned at random.
    let rotate = model.metadata().wants_rotation();
    let propagator = prepare(&model, &[&state], Randomness { rotate, stochastic_noise: true }, true)?;
    let stride_fs = propagator.stride_fs();
    let mut system = System::new(state);
    system.guard = Some(GuardPolicy::Stop);
    system.thermostat = Some(Thermostat::Bussi(Bussi::new(KELVIN, 100.0, stride_fs)?));

    let mut simulation = Simulation::new(vec![system], propagator, None, Schedule::default())?;
    simulation.start(&mut ())?;
    let _ = simulation.advance(strides, &mut ())?;
    let system = &simulation.systems()[0];
    if let Some(failure) = &system.failure {
        return Err(failure.message.clone().into());
    }
    writeln(&format!(
        "{} atoms, {strides} strides of {stride_fs} fs: {:.1} K",
        system.state.len(),
        system.state.temperature()
    ))
}

/// n³ cubic cells of a face-centred lattice (constant in Å) with Maxwell–Boltzmann momenta.
fn crystal(n: usize, constant: f64) -> flashmd::Result<State> {
    const BASIS: [[f64; 3]; 4] = [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
    let corners = (0..n * n * n).map(|at| [at / (n * n), at / n % n, at % n]);
    let site = |corner: [usize; 3], b: [f64; 3]| std::array::from_fn(|k| constant * (corner[k] as f64 + b[k]));
    let positions: Vec<[f64; 3]> = corners.flat_map(|corner| BASIS.map(|b| site(corner, b))).collect();

    let mass: f64 = 26.9815385;
    let mut noise = Stream::new(1, Purpose::Check, 0);
    let momenta = positions.iter().map(|_| scale((mass * KB * KELVIN).sqrt(), noise.normal3())).collect();
    let edge = n as f64 * constant;
    let cell = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]], [true; 3])?;
    let masses = vec![mass; positions.len()];
    let numbers = vec![13; positions.len()];
    State::new(positions, momenta, masses, numbers, cell)
}

fn writeln(line: &str) -> Result<(), Box<dyn Error>> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
