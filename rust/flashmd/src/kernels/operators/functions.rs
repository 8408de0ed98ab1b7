//! Elementary functions that the compiler can turn into vector instructions, accurate to some units of the last place.
//!
//! Polynomials are those of the Cephes library (S. L. Moshier, single precision).

use std::f32::consts::{FRAC_PI_2, LOG2_E, PI};

/// ln 2 and π/2 in parts whose products with small whole numbers are exact.
const LN_2_PARTS: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
const HALF_PI_PARTS: [f32; 3] = [1.570_312_5, 4.837_513e-4, 7.549_79e-8];

/// The whole number n as an integer, for |n| below 2²²: a cast that saturates would not become a vector instruction.
#[inline(always)]
fn integer(n: f32) -> i32 {
    // 1.5 · 2²³, where a unit of the last place is one.
    ((n + 12_582_912.0).to_bits() as i32).wrapping_sub(0x4b40_0000)
}

/// eˣ.
#[inline(always)]
pub(in crate::kernels) fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.0);
    let n = (clamped * LOG2_E).round_ties_even();
    let r = n.mul_add(-LN_2_PARTS[1], n.mul_add(-LN_2_PARTS[0], clamped));
    let mut p = 1.987_569_2e-4_f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    let p = p.mul_add(r * r, r + 1.0);
    // 2ⁿ by its exponent: n is between −126 and 127.
    p * f32::from_bits((integer(n).wrapping_add(127) as u32) << 23)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(in crate::kernels) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x to a whole power below 16, by squaring.
#[inline(always)]
pub(in crate::kernels) fn whole_power(x: f32, power: u8) -> f32 {
    let (mut square, mut product) = (x, 1.0);
    for bit in 0..4 {
        product = if power >> bit & 1 == 1 { product * square } else { product };
        square *= square;
    }
    product
}

/// ln x of a positive normal number; what is not positive gives −∞ or no number.
#[inline(always)]
pub(in crate::kernels) fn log(x: f32) -> f32 {
    let bits = x.to_bits();
    // x = m 2ᵉ with m between √½ and √2.
    let e = ((bits >> 23) as i32 - 126) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let is_low = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = if is_low { e - 1.0 } else { e };
    let r = if is_low { m + m - 1.0 } else { m - 1.0 };
    let z = r * r;
    let mut p = 7.037_683_6e-2_f32;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p.mul_add(r, c);
    }
    let y = (p * r).mul_add(z, e * LN_2_PARTS[1]) - 0.5 * z;
    let log = e.mul_add(LN_2_PARTS[0], r + y);
    if x > 0.0 {
        if x == f32::INFINITY { x } else { log }
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else {
        f32::NAN
    }
}

/// x less the nearest multiple of π/2, and which multiple that is.
#[inline(always)]
fn quadrant(x: f32) -> (f32, i32) {
    let n = (x * (1.0 / FRAC_PI_2)).round_ties_even();
    let mut r = x;
    for part in HALF_PI_PARTS {
        r = n.mul_add(-part, r);
    }
    (r, integer(n))
}

#[inline(always)]
fn sine_and_cosine(r: f32) -> (f32, f32) {
    let z = r * r;
    let s = (-1.951_529_6e-4_f32).mul_add(z, 8.332_161e-3).mul_add(z, -1.666_665_5e-1);
    let c = 2.443_315_7e-5_f32.mul_add(z, -1.388_731_6e-3).mul_add(z, 4.166_664_6e-2);
    ((s * z).mul_add(r, r), (c * z).mul_add(z, (-0.5_f32).mul_add(z, 1.0)))
}

/// sin x, for arguments up to some thousands.
#[inline(always)]
pub(in crate::kernels) fn sin(x: f32) -> f32 {
    let (r, n) = quadrant(x);
    let (s, c) = sine_and_cosine(r);
    let y = if n & 1 == 0 { s } else { c };
    if n & 2 == 0 { y } else { -y }
}

/// cos x, for arguments up to some thousands.
#[inline(always)]
pub(in crate::kernels) fn cos(x: f32) -> f32 {
    let (r, n) = quadrant(x);
    let (s, c) = sine_and_cosine(r);
    let y = if n & 1 == 0 { c } else { s };
    if n.wrapping_add(1) & 2 == 0 { y } else { -y }
}

/// arccos x.
#[inline(always)]
pub(in crate::kernels) fn acos(x: f32) -> f32 {
    let a = x.abs();
    let is_far = a > 0.5;
    let z = if is_far { 0.5 * (1.0 - a) } else { a * a };
    let y = if is_far { z.sqrt() } else { a };
    let mut p = 4.216_32e-2_f32;
    for c in [2.418_131e-2, 4.547_002_6e-2, 7.495_300_3e-2, 1.666_675e-1] {
        p = p.mul_add(z, c);
    }
    let asin = (p * z).mul_add(y, y);
    match (is_far, x < 0.0) {
        (true, true) => PI - 2.0 * asin,
        (true, false) => 2.0 * asin,
        (false, true) => FRAC_PI_2 + asin,
        (false, false) => FRAC_PI_2 - asin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest difference from the function in 64 bits, relative to the larger of its value and `floor`.
    fn error(f: fn(f32) -> f32, exact: fn(f64) -> f64, range: (f32, f32), floor: f64) -> f64 {
        let points = (0..200_000).map(|i| range.0 + (range.1 - range.0) * i as f32 / 199_999.0);
        let error = |x: f32| (f64::from(f(x)) - exact(f64::from(x))).abs() / exact(f64::from(x)).abs().max(floor);
        points.map(error).fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_those_in_64_bits() {
        assert!(error(exp, f64::exp, (-87.0, 88.0), 0.0) < 3e-7);
        assert!(error(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), (-30.0, 30.0), 0.0) < 4e-7);
        assert!(error(log, f64::ln, (1e-30, 4.0), 1.0) < 2e-7);
        assert!(error(log, f64::ln, (0.5, 1e6), 1.0) < 2e-7);
        assert!(error(sin, f64::sin, (-300.0, 300.0), 1.0) < 2e-7);
        assert!(error(cos, f64::cos, (-300.0, 300.0), 1.0) < 2e-7);
        assert!(error(acos, f64::acos, (-1.0, 1.0), 0.0) < 1e-3);
        assert!(error(acos, f64::acos, (-1.0, 1.0), 1.0) < 3e-7);
    }

    #[test]
    fn ends_of_the_ranges() {
        assert_eq!(log(0.0), f32::NEG_INFINITY);
        assert_eq!(log(f32::INFINITY), f32::INFINITY);
        assert!(log(-1.0).is_nan());
        assert!(exp(f32::NAN).is_nan());
        assert!(sin(f32::NAN).is_nan() && cos(f32::NAN).is_nan() && acos(f32::NAN).is_nan());
        assert_eq!(sigmoid(-200.0), 1.0 / (1.0 + exp(200.0)));
        assert!((acos(1.0), acos(-1.0)) == (0.0, PI));
    }
}
