//! A slow force on every atom as a polynomial of time, from one end of a stride to the other.
//!
//! F(s) = Σ_p L_p(s) F_p, with Legendre polynomials of s from −1 to 1: (p + 1) L_{p+1} = (2p + 1) s L_p − p L_{p−1}.

use crate::linalg::{Vec3, add, scale, sub};

/// Coefficients F_p of every atom, eV/Å.
#[derive(Debug)]
pub struct SlowForces {
    orders: usize,
    coefficients: Vec<Vec3>,
}

impl SlowForces {
    /// Coefficients `[N·P]`, atom by atom.
    pub fn new(coefficients: Vec<Vec3>, orders: usize) -> Self {
        Self { orders, coefficients }
    }

    /// Takes from every atom its share by mass of the total force, which moves the centre of mass.
    pub fn remove_total(&mut self, masses: &[f64]) {
        let whole: f64 = masses.iter().sum();
        for order in 0..self.orders {
            let of_order = self.coefficients[order..].iter().step_by(self.orders);
            let total = of_order.fold([0.0; 3], |sum, &force| add(sum, force));
            for (force, mass) in self.coefficients[order..].iter_mut().step_by(self.orders).zip(masses) {
                *force = sub(*force, scale(mass / whole, total));
            }
        }
    }

    /// Adds the force at `fraction` of the stride to `forces`, `[N]` eV/Å.
    pub fn add_to(&self, forces: &mut [Vec3], fraction: f64) {
        let values = legendre(2.0 * fraction - 1.0, self.orders);
        for (force, coefficients) in forces.iter_mut().zip(self.coefficients.chunks_exact(self.orders)) {
            for (&value, &coefficient) in values.iter().zip(coefficients) {
                *force = add(*force, scale(value, coefficient));
            }
        }
    }
}

/// L_0 … of so many orders at `s`.
fn legendre(s: f64, orders: usize) -> Vec<f64> {
    let mut values = vec![1.0, s];
    for p in 1..orders.max(2) - 1 {
        let n = p as f64;
        values.push(((2.0 * n + 1.0) * s * values[p] - n * values[p - 1]) / (n + 1.0));
    }
    values.truncate(orders);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_those_of_legendre() {
        let s: f64 = 0.3;
        let wanted = [1.0, s, 1.5 * s * s - 0.5, 2.5 * s.powi(3) - 1.5 * s];
        for orders in 1..=4 {
            let got = legendre(s, orders);
            assert_eq!(got.len(), orders);
            assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-15));
        }
    }

    #[test]
    fn no_force_is_left_on_the_centre_of_mass() {
        let coefficients = vec![[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [0.5, 0.0, 0.0], [2.0, 2.0, 2.0]];
        let mut slow = SlowForces::new(coefficients, 2);
        slow.remove_total(&[1.0, 3.0]);
        for fraction in [0.0, 0.25, 1.0] {
            let mut forces = vec![[0.0; 3]; 2];
            slow.add_to(&mut forces, fraction);
            let total = add(forces[0], forces[1]);
            assert!(total.iter().all(|x| x.abs() < 1e-14));
        }
    }
}
