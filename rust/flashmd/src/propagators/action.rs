//! Strides of an `action` model: the midpoint generating function S₃ (Bigi, Spies & Ceriotti, arXiv:2508.01068).
//!
//! √m·Δq = ∂S/∂(p̄/√m), Δp = −∂S/∂q̄ at the midpoint q̄ = q + Δq/2, p̄ = p + Δp/2: symplectic and time-reversible for any S
//! that is odd in the momenta, if the equation is solved. A stride whose equation is not solved is an error, never a result.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | Δ | `time`: length of the stride | Å·√(u/eV) |
//! | x = (√m·Δq/Δ, Δp/√m) | `Equation::x`, six numbers per atom | √eV |
//! | q̄, p̄ | `Equation::midpoint` | Å, √(eV·u) |
//! | ∂S/∂(p̄/√m) | `flow`, the output `momentum_gradient` | Å·√u |
//! | −∂S/∂q̄ | `forces`, of the output `edge_gradient` | √(eV·u) |
//! | g(x) | right-hand side: x is the solution where g(x) = x | √eV |

use std::sync::Arc;

use super::anderson::Anderson;
use super::{Outcome, Propagator, SolverStatistics};
use crate::error::{Error, Result};
use crate::linalg::{Vec3, add, scale};
use crate::model::{Kind, Model, Output};
use crate::network::{DomainMonitor, Network, Timing, View, gradient};
use crate::state::State;
use crate::units::FS;
use crate::violation::Violation;

/// Residual at which the equation counts as solved, as a share of the rms momentum: what f32 leaves of the network.
const TOLERANCE: f64 = 2e-6;
/// Evaluations of the network before it counts as unsolved.
const MOST_ITERATIONS: u64 = 50;

/// An `action` model prepared for a run.
#[derive(Debug)]
pub struct Action {
    network: Network,
    monitor: DomainMonitor,
    forces: Vec<Vec3>,
    solver: SolverStatistics,
}

/// One system's equation x = g(x): x holds √m·Δq/Δ and Δp/√m, both in √eV, atom by atom.
#[derive(Debug)]
struct Equation {
    midpoint: State,
    x: Vec<f64>,
    mixing: Anderson,
    residual: f64,
    open: bool,
}

impl Action {
    /// Prepares `model` for the atoms of `states`; with `check_domain`, every stride checks them against its domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses.
    pub fn new(model: Arc<Model>, states: &[&State], check_domain: bool) -> Result<Self> {
        model.expect_kind(Kind::Action)?;
        let network = Network::new(model, states)?;
        Ok(Self {
            network,
            monitor: DomainMonitor::new(check_domain),
            forces: Vec::new(),
            solver: SolverStatistics::default(),
        })
    }

    /// One evaluation of g for every open equation.
    fn iterate(&mut self, states: &[&mut State], equations: &mut [Equation], results: &mut [Result<()>]) -> Result<()> {
        let time = self.stride_fs() * FS;
        for (equation, state) in equations.iter_mut().zip(states) {
            equation.place(state, time);
        }
        let views: Vec<View<'_>> = equations.iter().map(|e| View { state: &e.midpoint, rotation: None }).collect();
        let outcomes = self.network.run(&views, &[Output::EdgeGradient, Output::MomentumGradient])?;
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let equation = &mut equations[index];
            if !equation.open {
                continue;
            }
            if let Err(error) = outcome {
                equation.open = false;
                results[index] = Err(error);
                continue;
            }
            gradient::forces(&self.network, index, &mut self.forces);
            let flow = self.network.output(Output::MomentumGradient, index);
            equation.advance(states[index], flow, &self.forces, time);
        }
        Ok(())
    }
}

impl Equation {
    /// Starts from free flight.
    fn new(state: &State) -> Self {
        let mut x = vec![0.0; 6 * state.len()];
        for (i, (&p, &m)) in state.momenta.iter().zip(&state.masses).enumerate() {
            x[6 * i..6 * i + 3].copy_from_slice(&scale(1.0 / m.sqrt(), p));
        }
        Self { midpoint: state.clone(), x, mixing: Anderson::default(), residual: f64::INFINITY, open: true }
    }

    /// Puts the atoms at the midpoint that x stands for.
    fn place(&mut self, state: &State, time: f64) {
        for (i, &m) in state.masses.iter().enumerate() {
            let [moved, kicked]: [Vec3; 2] =
                std::array::from_fn(|h| std::array::from_fn(|c| self.x[6 * i + 3 * h + c]));
            self.midpoint.positions[i] = add(state.positions[i], scale(0.5 * time / m.sqrt(), moved));
            self.midpoint.momenta[i] = add(state.momenta[i], scale(0.5 * m.sqrt(), kicked));
        }
    }

    /// Takes g(x) from the network's gradients, and the next x from the mixing, unless x is the solution.
    fn advance(&mut self, state: &State, flow: &[f32], forces: &[Vec3], time: f64) {
        let mut g = vec![0.0; self.x.len()];
        for (i, (&m, force)) in state.masses.iter().zip(forces).enumerate() {
            if state.fixed.get(i).copied().unwrap_or(false) {
                continue; // it stays, and is not kicked
            }
            for c in 0..3 {
                g[6 * i + c] = f64::from(flow[3 * i + c]) / time;
                g[6 * i + 3 + c] = force[c] / m.sqrt();
            }
        }
        let f: Vec<f64> = g.iter().zip(&self.x).map(|(g, x)| g - x).collect();
        let rms = |v: &[f64]| (v.iter().map(|x| x * x).sum::<f64>() / v.len().max(1) as f64).sqrt();
        self.residual = rms(&f) / rms(&g).max(f64::MIN_POSITIVE);
        if self.residual <= TOLERANCE {
            self.x = g;
            self.open = false;
        } else {
            self.x = self.mixing.next(g, f);
        }
    }

    /// The error of an equation that is still open.
    fn unsolved(&self) -> Error {
        let message = format!(
            "the equation of the stride is not solved after {MOST_ITERATIONS} fixed-point iterations: residual {:.1e} of the \
             momenta, wanted {TOLERANCE:.0e}; the stride is too long for this state, or the model does not know it",
            self.residual
        );
        Error::unstable("residual of the stride", Vec::new(), message)
    }

    /// The solution, put into the state.
    fn finish(&self, state: &mut State, time: f64) {
        for (i, &m) in state.masses.iter().enumerate() {
            let [moved, kicked]: [Vec3; 2] =
                std::array::from_fn(|h| std::array::from_fn(|c| self.x[6 * i + 3 * h + c]));
            state.positions[i] = add(state.positions[i], scale(time / m.sqrt(), moved));
            state.momenta[i] = add(state.momenta[i], scale(m.sqrt(), kicked));
        }
    }
}

impl Propagator for Action {
    fn stride_fs(&self) -> f64 {
        self.network.model().metadata().stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let time = self.stride_fs() * FS;
        let mut results: Vec<Result<()>> = states.iter().map(|_| Ok(())).collect();
        let mut violations: Vec<Vec<Violation>> = states.iter().map(|_| Vec::new()).collect();
        let mut equations: Vec<Equation> = states.iter().map(|state| Equation::new(state)).collect();
        let mut iterations = 0;
        while iterations < MOST_ITERATIONS && equations.iter().any(|e| e.open) {
            self.iterate(states, &mut equations, &mut results)?;
            if iterations == 0 {
                // As the first iteration saw them: half a stride of free flight on, which is where the network is asked.
                let seen = equations.iter().map(|e| &e.midpoint);
                violations = self.monitor.check(&self.network, seen, &results, &[]);
            }
            iterations += 1;
        }
        for (index, (equation, state)) in equations.iter().zip(states.iter_mut()).enumerate() {
            if equation.open {
                results[index] = Err(equation.unsolved());
            } else if results[index].is_ok() {
                equation.finish(state, time);
                self.solver.count(iterations, equation.residual);
            }
        }
        Ok(Outcome::zip(results, violations))
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn timing(&self) -> Timing {
        self.network.timing()
    }

    fn solver(&self) -> Option<SolverStatistics> {
        Some(self.solver)
    }
}
