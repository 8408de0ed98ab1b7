//! Operators that act on each number by itself.

use super::functions;
use super::movement::compacted;
use super::simd::{InstructionSet, for_each_set};
use super::tensor::{Array, Axes, Nest, Number, Workspace};

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::kernels) enum Function {
    Abs,
    Acos,
    Ceil,
    Cos,
    Exp,
    Floor,
    Log,
    Negate,
    Reciprocal,
    Relu,
    Round,
    Sigmoid,
    Sign,
    Sin,
    Sqrt,
    Tanh,
    /// Softplus is ln(1 + eˣ).
    Softplus,
    /// Between a lower and an upper bound.
    Clamp(f32, f32),
    /// To a fixed power.
    Power(f32),
}

/// Functions of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Max,
    Min,
    Power,
    /// With the sign of the divisor, as ONNX's `Mod` for integers.
    Remainder,
}

/// Questions about two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Functions of two truths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Logic {
    And,
    Or,
    Xor,
}

/// `function` of every number of `x`.
pub(in crate::kernels) fn apply<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    function: Function,
    x: &Array<'_, f32>,
) -> Array<'a, f32> {
    let x = ordered(workspace, x);
    let mut out = f32::take(workspace, x.sizes.count());
    let nest = Nest::new(&x.sizes, [x.strides, x.sizes.row_major()]);
    map_floats(set, function, &nest, x.numbers(), &mut out);
    Array::owned(out, x.sizes)
}

for_each_set! {
    fn map_floats(function: Function, nest: &Nest<2>, x: &[f32], out: &mut [f32]) {
        match function {
            Function::Abs => map(nest, x, out, f32::abs),
            Function::Acos => map(nest, x, out, functions::acos),
            Function::Ceil => map(nest, x, out, f32::ceil),
            Function::Cos => map(nest, x, out, functions::cos),
            Function::Exp => map(nest, x, out, functions::exp),
            Function::Floor => map(nest, x, out, f32::floor),
            Function::Log => map(nest, x, out, functions::log),
            Function::Negate => map(nest, x, out, |x| -x),
            Function::Reciprocal => map(nest, x, out, |x| 1.0 / x),
            Function::Relu => map(nest, x, out, |x| x.max(0.0)),
            Function::Round => map(nest, x, out, f32::round_ties_even),
            Function::Sigmoid => map(nest, x, out, functions::sigmoid),
            Function::Sign => map(nest, x, out, |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x }),
            Function::Sin => map(nest, x, out, functions::sin),
            Function::Sqrt => map(nest, x, out, f32::sqrt),
            Function::Tanh => map(nest, x, out, f32::tanh),
            Function::Softplus => map(nest, x, out, |x: f32| x.max(0.0) + functions::log(1.0 + functions::exp(-x.abs()))),
            Function::Clamp(low, high) => map(nest, x, out, |x: f32| if x < low { low } else if x > high { high } else { x }),
            Function::Power(2.0) => map(nest, x, out, |x| x * x),
            Function::Power(3.0) => map(nest, x, out, |x| x * x * x),
            Function::Power(power) if power.fract() == 0.0 && (4.0..16.0).contains(&power) => {
                let power = power as u8;
                map(nest, x, out, |x| functions::whole_power(x, power));
            }
            Function::Power(0.5) => map(nest, x, out, f32::sqrt),
            Function::Power(-1.0) => map(nest, x, out, |x| 1.0 / x),
            Function::Power(power) => map(nest, x, out, |x| x.powf(power)),
        }
    }
}

/// `operation` of every pair of numbers of `x` and `y`, repeated to `sizes`.
pub(in crate::kernels) fn combine<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    operation: Arithmetic,
    (x, y): (&Array<'_, f32>, &Array<'_, f32>),
    sizes: Axes,
) -> Array<'a, f32> {
    let (x, y) = (ordered(workspace, x), ordered(workspace, y));
    let mut out = f32::take(workspace, sizes.count());
    let nest = pairs(&sizes, &x, &y);
    zip_floats(set, operation, &nest, x.numbers(), y.numbers(), &mut out);
    Array::owned(out, sizes)
}

for_each_set! {
    fn zip_floats(operation: Arithmetic, nest: &Nest<3>, x: &[f32], y: &[f32], out: &mut [f32]) {
        match operation {
            Arithmetic::Add => zip(nest, x, y, out, |x, y| x + y),
            Arithmetic::Subtract => zip(nest, x, y, out, |x, y| x - y),
            Arithmetic::Multiply => zip(nest, x, y, out, |x, y| x * y),
            Arithmetic::Divide => zip(nest, x, y, out, |x, y| x / y),
            Arithmetic::Max => zip(nest, x, y, out, |x, y| if x > y || x.is_nan() { x } else { y }),
            Arithmetic::Min => zip(nest, x, y, out, |x, y| if x < y || x.is_nan() { x } else { y }),
            Arithmetic::Power => zip(nest, x, y, out, f32::powf),
            Arithmetic::Remainder => zip(nest, x, y, out, |x: f32, y: f32| x - y * (x / y).floor()),
        }
    }
}

/// The same for integers.
pub(in crate::kernels) fn combine_integers<'a>(
    workspace: &mut Workspace,
    operation: Arithmetic,
    (x, y): (&Array<'_, i64>, &Array<'_, i64>),
    sizes: Axes,
) -> Array<'a, i64> {
    let power = |x: i64, y: i64| u32::try_from(y).map_or(0, |y| x.wrapping_pow(y));
    match operation {
        Arithmetic::Add => combine_any(workspace, x, y, sizes, i64::wrapping_add),
        Arithmetic::Subtract => combine_any(workspace, x, y, sizes, i64::wrapping_sub),
        Arithmetic::Multiply => combine_any(workspace, x, y, sizes, i64::wrapping_mul),
        Arithmetic::Divide => combine_any(workspace, x, y, sizes, |x, y| x.checked_div(y).unwrap_or(0)),
        Arithmetic::Max => combine_any(workspace, x, y, sizes, i64::max),
        Arithmetic::Min => combine_any(workspace, x, y, sizes, i64::min),
        Arithmetic::Power => combine_any(workspace, x, y, sizes, power),
        Arithmetic::Remainder => combine_any(workspace, x, y, sizes, floored_remainder),
    }
}

fn floored_remainder(x: i64, y: i64) -> i64 {
    match x.checked_rem(y) {
        Some(rest) if rest != 0 && (rest < 0) != (y < 0) => rest + y,
        Some(rest) => rest,
        None => 0,
    }
}

/// `comparison` of every pair of numbers.
pub(in crate::kernels) fn compare<'a, T: PartialOrd + Number>(
    workspace: &mut Workspace,
    comparison: Comparison,
    (x, y): (&Array<'_, T>, &Array<'_, T>),
    sizes: Axes,
) -> Array<'a, bool> {
    match comparison {
        Comparison::Equal => combine_any(workspace, x, y, sizes, |x, y| x == y),
        Comparison::Less => combine_any(workspace, x, y, sizes, |x, y| x < y),
        Comparison::LessOrEqual => combine_any(workspace, x, y, sizes, |x, y| x <= y),
        Comparison::Greater => combine_any(workspace, x, y, sizes, |x, y| x > y),
        Comparison::GreaterOrEqual => combine_any(workspace, x, y, sizes, |x, y| x >= y),
    }
}

/// `logic` of every pair.
pub(in crate::kernels) fn decide<'a>(
    workspace: &mut Workspace,
    logic: Logic,
    (x, y): (&Array<'_, bool>, &Array<'_, bool>),
    sizes: Axes,
) -> Array<'a, bool> {
    match logic {
        Logic::And => combine_any(workspace, x, y, sizes, |x, y| x & y),
        Logic::Or => combine_any(workspace, x, y, sizes, |x, y| x | y),
        Logic::Xor => combine_any(workspace, x, y, sizes, |x, y| x ^ y),
    }
}

/// Numbers of `x` where `condition` is true, else of `y`.
pub(in crate::kernels) fn select<'a, T: Number>(
    workspace: &mut Workspace,
    condition: &Array<'_, bool>,
    (x, y): (&Array<'_, T>, &Array<'_, T>),
    sizes: Axes,
) -> Array<'a, T> {
    let mut out = T::take(workspace, sizes.count());
    choose(&choices(&sizes, condition, x, y), condition.numbers(), x.numbers(), y.numbers(), &mut out);
    Array::owned(out, sizes)
}

/// The same for floating-point numbers.
pub(in crate::kernels) fn select_floats<'a>(
    set: InstructionSet,
    workspace: &mut Workspace,
    condition: &Array<'_, bool>,
    (x, y): (&Array<'_, f32>, &Array<'_, f32>),
    sizes: Axes,
) -> Array<'a, f32> {
    let mut out = f32::take(workspace, sizes.count());
    let nest = choices(&sizes, condition, x, y);
    choose_floats(set, &nest, condition.numbers(), x.numbers(), y.numbers(), &mut out);
    Array::owned(out, sizes)
}

fn choices<T>(sizes: &Axes, condition: &Array<'_, bool>, x: &Array<'_, T>, y: &Array<'_, T>) -> Nest<4> {
    let strides = [condition.broadcast_strides(sizes), x.broadcast_strides(sizes), y.broadcast_strides(sizes)];
    Nest::new(sizes, [strides[0], strides[1], strides[2], sizes.row_major()])
}

for_each_set! {
    fn choose_floats(nest: &Nest<4>, condition: &[bool], x: &[f32], y: &[f32], out: &mut [f32]) {
        choose(nest, condition, x, y, out);
    }
}

#[inline(always)]
fn choose<T: Copy>(nest: &Nest<4>, condition: &[bool], x: &[T], y: &[T], out: &mut [T]) {
    let n = nest.inner;
    match nest.inner_strides {
        [1, 1, 1, 1] => nest.for_each(|[i, j, k, o]| {
            for (((out, c), x), y) in out[o..o + n].iter_mut().zip(&condition[i..i + n]).zip(&x[j..]).zip(&y[k..]) {
                *out = if *c { *x } else { *y };
            }
        }),
        [1, 1, 0, 1] => nest.for_each(|[i, j, k, o]| {
            let y = y[k];
            for ((out, c), x) in out[o..o + n].iter_mut().zip(&condition[i..i + n]).zip(&x[j..]) {
                *out = if *c { *x } else { y };
            }
        }),
        [1, 0, 1, 1] => nest.for_each(|[i, j, k, o]| {
            let x = x[j];
            for ((out, c), y) in out[o..o + n].iter_mut().zip(&condition[i..i + n]).zip(&y[k..]) {
                *out = if *c { x } else { *y };
            }
        }),
        [1, 0, 0, 1] => nest.for_each(|[i, j, k, o]| {
            let (x, y) = (x[j], y[k]);
            for (out, c) in out[o..o + n].iter_mut().zip(&condition[i..i + n]) {
                *out = if *c { x } else { y };
            }
        }),
        [dc, dx, dy, to] => nest.for_each(|[i, j, k, o]| {
            for t in 0..n {
                out[o + t * to] = if condition[i + t * dc] { x[j + t * dx] } else { y[k + t * dy] };
            }
        }),
    }
}

/// `f` of every number of `x`, for what need not be fast.
pub(in crate::kernels) fn convert<'a, T: Number, U: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    f: impl Fn(T) -> U + Copy,
) -> Array<'a, U> {
    let mut out = U::take(workspace, x.sizes.count());
    map(&Nest::new(&x.sizes, [x.strides, x.sizes.row_major()]), x.numbers(), &mut out, f);
    Array::owned(out, x.sizes)
}

fn combine_any<'a, T: Number, U: Number>(
    workspace: &mut Workspace,
    x: &Array<'_, T>,
    y: &Array<'_, T>,
    sizes: Axes,
    f: impl Fn(T, T) -> U + Copy,
) -> Array<'a, U> {
    let mut out = U::take(workspace, sizes.count());
    zip(&pairs(&sizes, x, y), x.numbers(), y.numbers(), &mut out, f);
    Array::owned(out, sizes)
}

/// `x` itself, or a copy where numbers that follow one another lie apart.
fn ordered<'a, T: Number>(workspace: &mut Workspace, x: &Array<'a, T>) -> Array<'a, T> {
    let last = (0..x.sizes.len()).rev().find(|&axis| x.sizes[axis] != 1);
    match last {
        Some(axis) if x.strides[axis] > 1 && x.sizes[axis] >= 8 => compacted(workspace, x),
        _ => x.clone(),
    }
}

fn pairs<T, U>(sizes: &Axes, x: &Array<'_, T>, y: &Array<'_, U>) -> Nest<3> {
    Nest::new(sizes, [x.broadcast_strides(sizes), y.broadcast_strides(sizes), sizes.row_major()])
}

#[inline(always)]
fn map<T: Copy, U: Copy>(nest: &Nest<2>, x: &[T], out: &mut [U], f: impl Fn(T) -> U + Copy) {
    let n = nest.inner;
    match nest.inner_strides {
        [1, 1] => nest.for_each(|[i, o]| {
            for (x, out) in x[i..i + n].iter().zip(&mut out[o..o + n]) {
                *out = f(*x);
            }
        }),
        [0, 1] => nest.for_each(|[i, o]| out[o..o + n].fill(f(x[i]))),
        [from, to] => nest.for_each(|[i, o]| {
            for t in 0..n {
                out[o + t * to] = f(x[i + t * from]);
            }
        }),
    }
}

#[inline(always)]
fn zip<T: Copy, U: Copy>(nest: &Nest<3>, x: &[T], y: &[T], out: &mut [U], f: impl Fn(T, T) -> U + Copy) {
    let n = nest.inner;
    match nest.inner_strides {
        [1, 1, 1] => nest.for_each(|[i, j, o]| {
            for ((x, y), out) in x[i..i + n].iter().zip(&y[j..j + n]).zip(&mut out[o..o + n]) {
                *out = f(*x, *y);
            }
        }),
        [1, 0, 1] => nest.for_each(|[i, j, o]| {
            let y = y[j];
            for (x, out) in x[i..i + n].iter().zip(&mut out[o..o + n]) {
                *out = f(*x, y);
            }
        }),
        [0, 1, 1] => nest.for_each(|[i, j, o]| {
            let x = x[i];
            for (y, out) in y[j..j + n].iter().zip(&mut out[o..o + n]) {
                *out = f(x, *y);
            }
        }),
        [_, _, 3] if nest.goes_along_vectors() => zip_vectors(nest, x, y, out, f),
        [dx, dy, to] => nest.for_each(|[i, j, o]| {
            for t in 0..n {
                out[o + t * to] = f(x[i + t * dx], y[j + t * dy]);
            }
        }),
    }
}

/// The same where the results are vectors in space: three numbers are too few for a loop.
#[inline(always)]
fn zip_vectors<T: Copy, U: Copy>(nest: &Nest<3>, x: &[T], y: &[T], out: &mut [U], f: impl Fn(T, T) -> U + Copy) {
    let mut nest = *nest;
    let (_, [dx, dy, _]) = nest.take(nest.outer().len() - 1);
    let [x_row, y_row, _] = nest.inner_strides;
    let n = nest.inner;
    nest.for_each(|[i, j, o]| {
        let out = out[o..o + 3 * n].as_chunks_mut().0;
        match [(x_row, dx), (y_row, dy)] {
            [(0 | 3, 1), (1, 0)] => scale_vectors(out, (&x[i..], x_row), &y[j..], f),
            [(1, 0), (0 | 3, 1)] => scale_vectors(out, (&y[j..], y_row), &x[i..], |y, x| f(x, y)),
            _ => {
                for (r, out) in out.iter_mut().enumerate() {
                    for t in 0..3 {
                        out[t] = f(x[i + r * x_row + t * dx], y[j + r * y_row + t * dy]);
                    }
                }
            }
        }
    });
}

/// Vectors, `row` numbers apart or one for all, each with a number of its own.
#[inline(always)]
fn scale_vectors<T: Copy, U: Copy>(
    out: &mut [[U; 3]],
    (vectors, row): (&[T], usize),
    numbers: &[T],
    f: impl Fn(T, T) -> U + Copy,
) {
    let vectors = vectors.as_chunks::<3>().0;
    let scaled = |v: &[T; 3], x: T| [f(v[0], x), f(v[1], x), f(v[2], x)];
    match vectors.first() {
        Some(&v) if row == 0 => out.iter_mut().zip(numbers).for_each(|(out, x)| *out = scaled(&v, *x)),
        _ => out.iter_mut().zip(vectors).zip(numbers).for_each(|((out, v), x)| *out = scaled(v, *x)),
    }
}
