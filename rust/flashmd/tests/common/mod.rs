//! Test propagators, structures and observers.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::ops::ControlFlow;

use flashmd::error::Result;
use flashmd::linalg::{Mat3, Vec3, add, dot, scale, sub};
use flashmd::neighbors::NeighborSearch;
use flashmd::potential_energy::{EnergyForces, PotentialEnergy};
use flashmd::propagators::{Outcome, Propagator};
use flashmd::random::{Purpose, Stream};
use flashmd::run::{Frame, Observer, Report, Schedule, Simulation, System};
use flashmd::units::{FS, KB};
use flashmd::{Cell, State};

/// A stream of test numbers.
pub fn numbers(seed: u64) -> Stream {
    Stream::new(seed, Purpose::Check, 77)
}

/// Maxwell–Boltzmann momenta without net momentum.
pub fn thermal(state: &mut State, kelvin: f64, stream: &mut Stream) {
    for (p, &m) in state.momenta.iter_mut().zip(&state.masses) {
        *p = scale((m * KB * kelvin).sqrt(), stream.normal3());
    }
    let v = state.centre_of_mass_velocity();
    for (p, &m) in state.momenta.iter_mut().zip(&state.masses) {
        *p = sub(*p, scale(m, v));
    }
}

/// n³ atoms on a jittered simple cubic lattice in a periodic box; masses alternate.
pub fn lattice(n: usize, spacing: f64, jitter: f64, masses: [f64; 2], seed: u64) -> State {
    let mut stream = numbers(seed);
    let positions: Vec<Vec3> = (0..n * n * n)
        .map(|at| {
            let site = [at / (n * n), at / n % n, at % n].map(|i| i as f64 * spacing);
            add(site, scale(jitter, stream.normal3()))
        })
        .collect();
    let edge = n as f64 * spacing;
    let cell = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]], [true; 3]).unwrap();
    let count = positions.len();
    let masses = (0..count).map(|i| masses[i % 2]).collect();
    State::new(positions, vec![[0.0; 3]; count], masses, vec![1; count], cell).unwrap()
}

/// Forces and energy of an analytic potential.
pub trait Forces: Send {
    fn evaluate(&mut self, state: &State) -> (f64, Vec<Vec3>);

    /// Σ over pairs of r⊗F, where it is defined.
    fn virial(&mut self, _state: &State) -> Option<Mat3> {
        None
    }
}

/// Every atom tied to its site: an Einstein crystal, k in eV/Å².
pub struct Harmonic {
    pub sites: Vec<Vec3>,
    pub k: f64,
}

impl Forces for Harmonic {
    fn evaluate(&mut self, state: &State) -> (f64, Vec<Vec3>) {
        let d: Vec<Vec3> = state.positions.iter().zip(&self.sites).map(|(&q, &s)| sub(q, s)).collect();
        let energy = d.iter().map(|&d| 0.5 * self.k * dot(d, d)).sum();
        (energy, d.iter().map(|&d| scale(-self.k, d)).collect())
    }
}

/// Truncated and shifted Lennard-Jones, forces shifted too so that the energy is smooth.
pub struct LennardJones {
    pub epsilon: f64,
    pub sigma: f64,
    search: NeighborSearch,
}

impl LennardJones {
    pub fn new(epsilon: f64, sigma: f64, cutoff: f64) -> Self {
        Self { epsilon, sigma, search: NeighborSearch::new(cutoff).unwrap() }
    }

    /// (i, j, r_j − r_i) of every pair once.
    fn pairs(&self) -> Vec<(usize, usize, Vec3)> {
        let mut pairs = Vec::new();
        for i in 0..self.search.atoms() {
            self.search.for_each_edge(i, |edge| {
                if i < edge.neighbor {
                    pairs.push((i, edge.neighbor, edge.vector));
                }
            });
        }
        pairs
    }

    /// (E, dE/dr) at distance r.
    fn pair(&self, r: f64) -> (f64, f64) {
        let bare = |r: f64| {
            let s6 = (self.sigma / r).powi(6);
            (4.0 * self.epsilon * (s6 * s6 - s6), -24.0 * self.epsilon * (2.0 * s6 * s6 - s6) / r)
        };
        let cutoff = self.search.cutoff();
        let ((e, de), (ec, dec)) = (bare(r), bare(cutoff));
        (e - ec - dec * (r - cutoff), de - dec)
    }
}

impl Forces for LennardJones {
    fn virial(&mut self, state: &State) -> Option<Mat3> {
        self.search.update(&state.positions, &state.cell).unwrap();
        let mut virial = [[0.0; 3]; 3];
        for (_, _, d) in self.pairs() {
            let r = dot(d, d).sqrt();
            let slope = self.pair(r).1 / r;
            for a in 0..3 {
                for b in 0..3 {
                    virial[a][b] -= slope * d[a] * d[b];
                }
            }
        }
        Some(virial)
    }

    fn evaluate(&mut self, state: &State) -> (f64, Vec<Vec3>) {
        self.search.update(&state.positions, &state.cell).unwrap();
        let mut energy = 0.0;
        let mut forces = vec![[0.0; 3]; state.len()];
        for (i, j, d) in self.pairs() {
            let r = dot(d, d).sqrt();
            let (e, de) = self.pair(r);
            energy += e;
            let f = scale(de / r, d);
            forces[i] = add(forces[i], f);
            forces[j] = sub(forces[j], f);
        }
        (energy, forces)
    }
}

/// The energy of a potential, for the loop.
pub struct AnalyticEnergy<F: Forces>(pub F);

impl<F: Forces> PotentialEnergy for AnalyticEnergy<F> {
    fn energy(&mut self, state: &State) -> Result<f64> {
        Ok(self.0.evaluate(state).0)
    }

    fn evaluate(&mut self, state: &State) -> Result<EnergyForces> {
        let (energy, forces) = self.0.evaluate(state);
        Ok(EnergyForces { energy, forces, virial: self.0.virial(state) })
    }

    fn energy_and_virial(&mut self, state: &State) -> Result<Option<(f64, Mat3)>> {
        Ok(self.0.virial(state).map(|virial| (self.0.evaluate(state).0, virial)))
    }
}

/// Velocity Verlet, `substeps` per stride.
pub struct Verlet<F: Forces> {
    pub forces: F,
    pub stride_fs: f64,
    pub substeps: usize,
    /// Factor on the momenta after each stride: an imperfect propagator.
    pub defect: f64,
}

impl<F: Forces> Propagator for Verlet<F> {
    fn stride_fs(&self) -> f64 {
        self.stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        states.iter_mut().for_each(|state| self.stride(state));
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }

    fn is_reversible(&self) -> bool {
        true // But for the defect.
    }
}

impl<F: Forces> Verlet<F> {
    fn stride(&mut self, state: &mut State) {
        let dt = self.stride_fs * FS / self.substeps as f64;
        let kick = |state: &mut State, f: &[Vec3]| {
            state.momenta.iter_mut().zip(f).for_each(|(p, &f)| *p = add(*p, scale(0.5 * dt, f)));
        };
        let (_, mut f) = self.forces.evaluate(state);
        for _ in 0..self.substeps {
            kick(state, &f);
            for ((q, &p), &m) in state.positions.iter_mut().zip(&state.momenta).zip(&state.masses) {
                *q = add(*q, scale(dt / m, p));
            }
            f = self.forces.evaluate(state).1;
            kick(state, &f);
        }
        state.momenta.iter_mut().for_each(|p| *p = scale(self.defect, *p));
    }
}

/// Atoms that do not see each other.
pub struct FreeFlight {
    pub stride_fs: f64,
}

impl Propagator for FreeFlight {
    fn stride_fs(&self) -> f64 {
        self.stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        states.iter_mut().for_each(|state| state.drift(self.stride_fs * FS));
        Ok(Outcome::without_violations(states.iter().map(|_| Ok(()))))
    }
}

/// One kept frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub step: u64,
    pub time_fs: f64,
    pub positions: Vec<Vec3>,
    pub momenta: Vec<Vec3>,
    pub cell: Mat3,
    pub potential: Option<f64>,
    pub conserved: Option<f64>,
    pub stress: Option<Mat3>,
    pub kinetic: f64,
}

/// Keeps every frame; may stop the run.
#[derive(Default)]
pub struct Recorder {
    pub frames: Vec<Kept>,
    pub strides: u64,
    pub stop_at: Option<u64>,
}

impl Observer for Recorder {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.frames.push(Kept {
            step: frame.state.step,
            time_fs: frame.time_fs,
            positions: frame.state.positions.clone(),
            momenta: frame.state.momenta.clone(),
            cell: *frame.state.cell.matrix(),
            potential: frame.potential_energy,
            conserved: frame.conserved_energy,
            stress: frame.stress(),
            kinetic: frame.state.kinetic_energy(),
        });
        Ok(())
    }

    fn stride(&mut self, living: &[Frame<'_>]) -> Result<ControlFlow<()>> {
        self.strides += 1;
        let ends = self.stop_at == Some(living[0].state.step);
        Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// How to run some systems for some strides.
#[derive(Default)]
pub struct Rollout<'a> {
    pub steps: u64,
    pub interval: u64,
    pub energy: Option<&'a mut dyn PotentialEnergy>,
    pub resumed: bool,
}

impl Rollout<'_> {
    /// Runs to the end, and puts the systems back.
    pub fn run(
        self,
        systems: &mut Vec<System>,
        propagator: &mut dyn Propagator,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let schedule = Schedule { interval: self.interval, checkpoint_interval: None, resumed: self.resumed };
        let energy = self.energy.map(|energy| Box::new(energy) as Box<dyn PotentialEnergy + '_>);
        let mut simulation = Simulation::new(std::mem::take(systems), Box::new(propagator), energy, schedule)?;
        simulation.start(observer)?;
        let _ = simulation.advance(self.steps, observer)?;
        simulation.finish(observer)?;
        let report = simulation.report();
        *systems = simulation.into_systems();
        Ok(report)
    }

    /// Runs one system to the end, and puts it back.
    pub fn run_one(
        self,
        system: &mut System,
        propagator: &mut dyn Propagator,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let mut systems = vec![std::mem::replace(system, System::new(system.state.clone()))];
        let report = self.run(&mut systems, propagator, observer);
        if let Some(done) = systems.pop() {
            *system = done;
        }
        report
    }
}
