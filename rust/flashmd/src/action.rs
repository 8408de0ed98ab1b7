//! A stride of an `action` model: the midpoint generating function S₃ (Bigi, Spies, Ceriotti, arXiv:2508.01068).
//!
//! √m·Δq = ∂S/∂(p̄/√m), Δp = −∂S/∂q̄ at the midpoint q̄ = q + Δq/2, p̄ = p + Δp/2: symplectic and time-reversible for any S
//! that is odd in the momenta, if the equation is solved. It is solved by Anderson's accelerated fixed point (Walker, Ni,
//! SIAM J. Numer. Anal. 49, 1715 (2011)), and a stride whose equation is not solved is an error, never a result.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gradient;
use crate::linalg::{Vec3, add, scale};
use crate::model::{Kind, Model, Output};
use crate::network::{Network, Timing, View};
use crate::propagators::{Outcome, Propagator, SolverStatistics};
use crate::state::State;
use crate::units::FS;
use crate::violation::Violation;
use crate::watch::{DomainMonitor, outcomes};

/// Residual at which the equation counts as solved, as a share of the rms momentum: what f32 leaves of the network.
const TOLERANCE: f64 = 2e-6;
/// Evaluations of the network before it counts as unsolved.
const MOST_ITERATIONS: u64 = 50;
/// Earlier iterations that are mixed.
const MEMORY: usize = 5;
/// Regularisation of the mixing, as a share of the trace.
const RIDGE: f64 = 1e-12;

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
    /// Prepares `model` for the atoms of `states`; with `watch`, every stride looks for what is out of its domain.
    ///
    /// # Errors
    /// `Model` if it is of another kind, does not know an element, or was trained for other masses.
    pub fn new(model: Arc<Model>, states: &[&State], watch: bool) -> Result<Self> {
        model.expect_kind(Kind::Action)?;
        let network = Network::new(model, states)?;
        Ok(Self {
            network,
            monitor: DomainMonitor::new(watch),
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
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let equation = &mut equations[at];
            if !equation.open {
                continue;
            }
            if let Err(error) = outcome {
                equation.open = false;
                results[at] = Err(error);
                continue;
            }
            gradient::forces(&self.network, at, &mut self.forces);
            let flow = self.network.output(Output::MomentumGradient, at);
            equation.advance(states[at], flow, &self.forces, time);
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

/// Anderson's mixing: the combination of the last iterations whose residual would be smallest if the map were linear.
#[derive(Debug, Default)]
struct Anderson {
    last: Option<(Vec<f64>, Vec<f64>)>,
    /// Differences of g and of f = g − x between one iteration and the next.
    steps: VecDeque<(Vec<f64>, Vec<f64>)>,
}

impl Anderson {
    /// The next x from g(x) and the residual f = g(x) − x.
    fn next(&mut self, g: Vec<f64>, f: Vec<f64>) -> Vec<f64> {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        if let Some((g0, f0)) = self.last.take() {
            self.steps.push_back((difference(&g, &g0), difference(&f, &f0)));
            if self.steps.len() > MEMORY {
                self.steps.pop_front();
            }
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let n = self.steps.len();
        let mut matrix: Vec<Vec<f64>> =
            self.steps.iter().map(|(_, a)| self.steps.iter().map(|(_, b)| dot(a, b)).collect()).collect();
        let ridge = RIDGE * (0..n).map(|i| matrix[i][i]).sum::<f64>();
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] += ridge;
        }
        let weights = solve(matrix, self.steps.iter().map(|(_, a)| dot(a, &f)).collect());
        let mut next = g.clone();
        for ((dg, _), weight) in self.steps.iter().zip(weights) {
            next.iter_mut().zip(dg).for_each(|(x, d)| *x -= weight * d);
        }
        self.last = Some((g, f));
        next
    }
}

/// Solves a small symmetric positive definite system by elimination; a pivot of zero leaves its unknown at zero.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for i in 0..n {
        if matrix[i][i] <= 0.0 {
            continue;
        }
        for j in i + 1..n {
            let factor = matrix[j][i] / matrix[i][i];
            for k in i..n {
                matrix[j][k] -= factor * matrix[i][k];
            }
            right[j] -= factor * right[i];
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        if matrix[i][i] > 0.0 {
            let known: f64 = (i + 1..n).map(|k| matrix[i][k] * x[k]).sum();
            x[i] = (right[i] - known) / matrix[i][i];
        }
    }
    x
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
        Ok(outcomes(results, violations))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// x = M·x + b with a matrix of spectral radius 1.2: plain iteration diverges, mixing of n + 1 iterations is exact.
    #[test]
    fn mixing_solves_a_linear_map_that_diverges() {
        let m = [[0.2, 1.2, 0.0], [-0.9, 0.1, 0.3], [0.4, 0.0, -1.1]];
        let b = [1.0, -2.0, 0.5];
        let map =
            |x: &[f64]| -> Vec<f64> { (0..3).map(|i| b[i] + (0..3).map(|j| m[i][j] * x[j]).sum::<f64>()).collect() };
        let mut mixing = Anderson::default();
        let mut x = vec![0.0; 3];
        for _ in 0..8 {
            let g = map(&x);
            let f = g.iter().zip(&x).map(|(g, x)| g - x).collect();
            x = mixing.next(g, f);
        }
        let residual = map(&x).iter().zip(&x).fold(0.0f64, |r, (g, x)| r.max((g - x).abs()));
        assert!(residual < 1e-9, "{residual}");
    }
}
