//! Anderson's acceleration of a fixed-point iteration (Walker & Ni, SIAM J. Numer. Anal. 49, 1715 (2011)).
//!
//! | symbol | here |
//! |---|---|
//! | x, g(x), f = g(x) − x | the unknowns, the map, its residual |
//! | ΔG, ΔF | `steps`: differences of g and of f between one iteration and the next |
//! | γ = argmin ‖f − ΔF·γ‖ | `weights`, from (ΔFᵀΔF + ridge)·γ = ΔFᵀf |
//! | x′ = g − ΔG·γ | the next x |

use std::collections::VecDeque;

/// Earlier iterations that are mixed.
const MEMORY: usize = 5;
/// Regularisation of the mixing, as a share of the trace.
const RIDGE: f64 = 1e-12;

/// The combination of the last iterations whose residual would be smallest if the map were linear.
#[derive(Debug, Default)]
pub(super) struct Anderson {
    last: Option<(Vec<f64>, Vec<f64>)>,
    /// Differences of g and of f = g − x between one iteration and the next.
    steps: VecDeque<(Vec<f64>, Vec<f64>)>,
}

impl Anderson {
    /// The next x from g(x) and the residual f = g(x) − x.
    pub(super) fn next(&mut self, g: Vec<f64>, f: Vec<f64>) -> Vec<f64> {
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
