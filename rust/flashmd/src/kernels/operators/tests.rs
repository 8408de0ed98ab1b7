//! Every operation against plain loops in 64 bits, on views of all kinds, and the same bits from every instruction set.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::elementwise::{self, Arithmetic, Comparison, Function};
use super::matmul::{self, Panels};
use super::movement;
use super::reduce::{self, Reduction};
use super::simd::InstructionSet;
use super::tensor::{Array, Axes, Tensor, Workspace};

/// The same in 64 bits.
type OfOne = fn(f64) -> f64;
type OfTwo = fn(f64, f64) -> f64;

fn sets() -> Vec<InstructionSet> {
    match InstructionSet::detect() {
        Some(InstructionSet::Avx512) => vec![InstructionSet::Avx512, InstructionSet::Avx2],
        Some(set) => vec![set],
        None => Vec::new(),
    }
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, most: usize) -> usize {
        self.0.next_u32() as usize % most
    }

    fn number(&mut self) -> f32 {
        (self.0.next_u32() as f32 / u32::MAX as f32) * 4.0 - 2.0
    }

    fn sizes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| [1, 2, 3, 5, 8, 17, 19][self.below(7)]).collect()
    }

    /// An array of these sizes, its axes in any order in memory, some of them repeated numbers.
    fn array(&mut self, sizes: &[usize], repeats: bool) -> Array<'static, f32> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        for k in (1..order.len()).rev() {
            order.swap(k, self.below(k + 1));
        }
        let mut strides = vec![0; sizes.len()];
        let mut next = 1;
        for &axis in &order {
            if !(repeats && self.below(4) == 0) {
                strides[axis] = next;
                next *= sizes[axis];
            }
        }
        let numbers: Vec<f32> = (0..next).map(|_| self.number()).collect();
        let sizes = Axes::new(sizes);
        Array::owned(numbers, Axes::new(&[next])).view(sizes, Axes::new(&strides), 0)
    }
}

/// All places of an array in row-major order.
fn places(sizes: &[usize]) -> Vec<Vec<usize>> {
    let count: usize = sizes.iter().product();
    let place = |mut at: usize| {
        let mut place = vec![0; sizes.len()];
        for axis in (0..sizes.len()).rev() {
            place[axis] = at % sizes[axis];
            at /= sizes[axis];
        }
        place
    };
    (0..count).map(place).collect()
}

fn at(x: &Array<'_, f32>, place: &[usize]) -> f32 {
    // Along axes that are missing or of one number, x is repeated.
    let missing = place.len() - x.sizes.len();
    let own = place[missing..].iter().zip(x.sizes.iter()).zip(x.strides.iter());
    x.numbers()[own.map(|((p, &size), s)| if size == 1 { 0 } else { p * s }).sum::<usize>()]
}

/// The sizes to which two arrays of as many axes are repeated.
fn larger(x: &Array<'_, f32>, y: &Array<'_, f32>) -> Axes {
    x.sizes.iter().zip(y.sizes.iter()).map(|(&x, &y)| x.max(y)).collect()
}

fn flat(x: &Array<'_, f32>) -> Vec<f32> {
    places(&x.sizes).iter().map(|place| at(x, place)).collect()
}

/// The result of every instruction set, which must be the same bits.
fn same_bits(run: impl Fn(InstructionSet) -> Array<'static, f32>) -> Option<Vec<f32>> {
    let results: Vec<Vec<f32>> = sets().into_iter().map(|set| flat(&run(set))).collect();
    let bits = |x: &Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(results.windows(2).all(|pair| bits(&pair[0]) == bits(&pair[1])));
    results.into_iter().next()
}

fn assert_close(got: &[f32], wanted: &[f64], allowed: f64) {
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((f64::from(*got) - wanted).abs() <= allowed * wanted.abs().max(1.0), "{got} {wanted}");
    }
}

#[test]
fn arithmetic_repeats_its_operands() {
    for seed in 0..200 {
        let mut draw = Draw::new(seed);
        let rank = 1 + draw.below(4);
        let sizes = draw.sizes(rank);
        let smaller = |draw: &mut Draw| -> Vec<usize> {
            let skip = draw.below(rank);
            sizes[skip..].iter().map(|&size| if draw.below(3) == 0 { 1 } else { size }).collect()
        };
        let (own, other) = (smaller(&mut draw), smaller(&mut draw));
        let (x, y) = (draw.array(&own, true), draw.array(&other, true));
        let cases: [(Arithmetic, OfTwo); 5] = [
            (Arithmetic::Add, |x, y| x + y),
            (Arithmetic::Subtract, |x, y| x - y),
            (Arithmetic::Multiply, |x, y| x * y),
            (Arithmetic::Max, f64::max),
            (Arithmetic::Min, f64::min),
        ];
        for (operation, exact) in cases {
            let run =
                |set| elementwise::combine(set, &mut Workspace::default(), operation, (&x, &y), Axes::new(&sizes));
            let Some(got) = same_bits(run) else { return };
            let wanted: Vec<f64> = places(&sizes).iter().map(|p| exact(at(&x, p).into(), at(&y, p).into())).collect();
            assert_close(&got, &wanted, 1e-6);
        }
    }
}

#[test]
fn functions_of_views() {
    for seed in 0..100 {
        let mut draw = Draw::new(seed);
        let rank = 1 + draw.below(4);
        let sizes = draw.sizes(rank);
        let x = draw.array(&sizes, true);
        let cases: [(Function, OfOne); 18] = [
            (Function::Abs, f64::abs),
            (Function::Ceil, f64::ceil),
            (Function::Floor, f64::floor),
            (Function::Negate, |x| -x),
            (Function::Reciprocal, |x| 1.0 / x),
            (Function::Relu, |x| x.max(0.0)),
            (Function::Round, f64::round_ties_even),
            (Function::Sign, f64::signum),
            (Function::Sin, f64::sin),
            (Function::Softplus, |x| x.exp().ln_1p()),
            (Function::Tanh, f64::tanh),
            (Function::Power(2.0), |x| x * x),
            (Function::Power(-1.0), |x| 1.0 / x),
            (Function::Exp, f64::exp),
            (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Function::Cos, f64::cos),
            (Function::Power(5.0), |x| x.powi(5)),
            (Function::Clamp(-0.5, 1.5), |x| x.clamp(-0.5, 1.5)),
        ];
        for (function, exact) in cases {
            let Some(got) = same_bits(|set| elementwise::apply(set, &mut Workspace::default(), function, &x)) else {
                return;
            };
            let wanted: Vec<f64> = flat(&x).iter().map(|&x| exact(x.into())).collect();
            assert_close(&got, &wanted, 1e-6);
        }
    }
}

#[test]
fn comparisons_and_choices() {
    for seed in 0..100 {
        let mut draw = Draw::new(seed);
        let rank = 1 + draw.below(4);
        let sizes = draw.sizes(rank);
        let smaller = |draw: &mut Draw| -> Vec<usize> {
            sizes.iter().map(|&size| if draw.below(3) == 0 { 1 } else { size }).collect()
        };
        let [own, other, third] = [0; 3].map(|_| smaller(&mut draw));
        let [x, y, z] = [own, other, third].map(|sizes| draw.array(&sizes, true));
        let all = Axes::new(&sizes);
        let less = elementwise::compare(&mut Workspace::default(), Comparison::Less, (&x, &z), larger(&x, &z));
        let chosen = |set| elementwise::select_floats(set, &mut Workspace::default(), &less, (&y, &z), all);
        let Some(got) = same_bits(chosen) else { return };
        let choose = |p: &Vec<usize>| if at(&x, p) < at(&z, p) { at(&y, p) } else { at(&z, p) };
        let wanted: Vec<f64> = places(&sizes).iter().map(|p| f64::from(choose(p))).collect();
        assert_close(&got, &wanted, 0.0);
        let plain = elementwise::select(&mut Workspace::default(), &less, (&y, &z), all);
        assert_eq!(flat(&plain), got);
    }
}

#[test]
fn products_of_all_shapes() {
    for seed in 0..150 {
        let mut draw = Draw::new(seed);
        let [m, k, n] = [0; 3].map(|_: usize| [1, 2, 3, 7, 12, 16, 33, 103][draw.below(8)]);
        let outer = draw.sizes(seed as usize % 3);
        let with = |last: [usize; 2]| -> Vec<usize> { outer.iter().copied().chain(last).collect() };
        let (x, y) = (draw.array(&with([m, k]), false), draw.array(&with([k, n]), false));
        let sizes = Axes::new(&with([m, n]));
        let exact = |p: &Vec<usize>| -> f64 {
            let (head, tail) = p.split_at(p.len() - 2);
            let place = |a: usize, b: usize| head.iter().copied().chain([a, b]).collect::<Vec<_>>();
            (0..k).map(|l| f64::from(at(&x, &place(tail[0], l))) * f64::from(at(&y, &place(l, tail[1])))).sum()
        };
        let wanted: Vec<f64> = places(&sizes).iter().map(exact).collect();
        // Numbers are up to 2: each of k terms rounds by up to 4 ε.
        let allowed = 1e-6 + 4.0 * f64::from(f32::EPSILON) * k as f64;
        let run = |set| matmul::batched(set, &mut Workspace::default(), (&x, &y), sizes);
        let Some(got) = same_bits(run) else { return };
        assert_close(&got, &wanted, allowed);
        if outer.is_empty() {
            let bias: Vec<f32> = (0..n).map(|_| draw.number()).collect();
            let run = |set| {
                let panels = Panels::new(set, &flat(&y), k, n);
                matmul::with_constant(set, &mut Workspace::default(), &x, &panels, Some(&bias), sizes)
            };
            let shifted: Vec<f64> = wanted.iter().enumerate().map(|(i, w)| w + f64::from(bias[i % n])).collect();
            assert_close(&same_bits(run).unwrap_or_default(), &shifted, allowed);
        }
    }
}

#[test]
fn sums_along_axes() {
    for seed in 0..200 {
        let mut draw = Draw::new(seed);
        let rank = 1 + draw.below(4);
        let sizes = draw.sizes(rank);
        let x = draw.array(&sizes, true);
        let mut axes: Vec<usize> = (0..rank).filter(|_| draw.below(2) == 0).collect();
        if axes.is_empty() {
            axes.push(draw.below(rank));
        }
        let kept: Vec<usize> =
            sizes.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
        let count: usize = axes.iter().map(|&axis| sizes[axis]).product();
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            let out = Axes::new(&kept);
            let run = |set| reduce::reduce(set, &mut Workspace::default(), reduction, &axes, &x, out);
            let Some(got) = same_bits(run) else { return };
            let mut wanted = vec![if reduction == Reduction::Max { f64::NEG_INFINITY } else { 0.0 }; out.count()];
            for place in places(&sizes) {
                let own: usize =
                    (0..rank).filter(|axis| kept[*axis] != 1).fold(0, |flat, axis| flat * kept[axis] + place[axis]);
                let number = f64::from(at(&x, &place));
                wanted[own] = if reduction == Reduction::Max { wanted[own].max(number) } else { wanted[own] + number };
            }
            if reduction == Reduction::Mean {
                wanted.iter_mut().for_each(|sum| *sum /= count as f64);
            }
            assert_close(&got, &wanted, 1e-5);
        }
    }
}

#[test]
fn softmax_adds_up_to_one() {
    for row in [1, 5, 16, 44, 103] {
        let x = Draw::new(row as u64).array(&[7, row], false);
        let Some(got) = same_bits(|set| reduce::softmax(set, &mut Workspace::default(), &x)) else { return };
        let exact = |p: &Vec<usize>| {
            let sum: f64 = (0..row).map(|j| f64::from(at(&x, &[p[0], j])).exp()).sum();
            f64::from(at(&x, p)).exp() / sum
        };
        let wanted: Vec<f64> = places(&[7, row]).iter().map(exact).collect();
        assert_close(&got, &wanted, 1e-6);
    }
}

/// What stands behind an array in its buffer must not be read.
#[test]
fn nothing_is_read_behind_the_last_number() {
    for row in [1, 2, 3, 5, 15, 16, 17, 45, 103] {
        let mut numbers: Vec<f32> = (0..4 * row).map(|k| (k % 7) as f32).collect();
        numbers.resize(4 * row + 40, f32::NAN);
        let x = Array::owned(numbers, Axes::new(&[4, row]));
        let workspace = &mut Workspace::default();
        workspace.give_back(Tensor::Floats(Array::owned(vec![f32::NAN; 4 * row + 40], Axes::new(&[1]))));
        for set in sets() {
            let soft = reduce::softmax(set, workspace, &x);
            let sums = reduce::reduce(set, workspace, Reduction::Sum, &[1], &x, Axes::new(&[4, 1]));
            let most = reduce::reduce(set, workspace, Reduction::Max, &[1], &x, Axes::new(&[4, 1]));
            assert!([&soft, &sums, &most].into_iter().flat_map(flat).all(f32::is_finite), "{row}");
        }
    }
}

#[test]
fn products_and_sums_of_nothing() {
    for set in sets() {
        let workspace = &mut Workspace::default();
        for [m, k, n] in [[0, 3, 2], [2, 0, 3], [2, 3, 0]] {
            let array = |rows: usize, columns: usize| Array::owned(vec![1.0; 64], Axes::new(&[2, rows, columns]));
            // Buffers that are used again hold anything.
            for _ in 0..2 {
                workspace.give_back(Tensor::Floats(Array::owned(vec![f32::NAN; 40], Axes::new(&[1]))));
            }
            let product = matmul::batched(set, workspace, (&array(m, k), &array(k, n)), Axes::new(&[2, m, n]));
            assert!(flat(&product).iter().all(|&x| x == 0.0));
            let sum = reduce::reduce(set, workspace, Reduction::Sum, &[1], &array(k, n), Axes::new(&[2, 1, n]));
            assert_eq!(flat(&sum), vec![k as f32; 2 * n]);
        }
    }
}

/// What has no edge adds zeros: so many more of them must not change a bit, or a result depended on other atoms.
#[test]
fn zeros_at_the_end_change_nothing() {
    let mut draw = Draw::new(9);
    for count in 1..60 {
        let numbers: Vec<f32> = (0..count).map(|_| draw.number()).collect();
        let sum = |more: usize| -> Option<u32> {
            let mut padded = numbers.clone();
            padded.resize(count + more, 0.0);
            let x = Array::owned(padded, Axes::new(&[1, count + more]));
            let run =
                |set| reduce::reduce(set, &mut Workspace::default(), Reduction::Sum, &[1], &x, Axes::new(&[1, 1]));
            same_bits(run).map(|sum| sum[0].to_bits())
        };
        assert!((0..40).all(|more| sum(more) == sum(0)), "{count}");
    }
}

#[test]
fn copies_of_views_in_any_order() {
    for seed in 0..200 {
        let mut draw = Draw::new(seed);
        let rank = 1 + draw.below(4);
        let sizes = draw.sizes(rank);
        let x = draw.array(&sizes, true);
        let copy = movement::compacted(&mut Workspace::default(), &x);
        assert_eq!(copy.contiguous(), Some(flat(&x).as_slice()));
        // The same view of whole numbers, which are moved one by one.
        let whole: Vec<i64> = x.numbers().iter().map(|x| i64::from(x.to_bits())).collect();
        let view = Array::owned(whole, Axes::new(&[x.numbers().len()])).view(x.sizes, x.strides, 0);
        let wanted: Vec<i64> = flat(&x).iter().map(|x| i64::from(x.to_bits())).collect();
        assert_eq!(movement::compacted(&mut Workspace::default(), &view).contiguous(), Some(wanted.as_slice()));
    }
}

#[test]
fn rows_are_gathered_from_either_end() {
    let x = Draw::new(1).array(&[6, 5], false);
    let index = Array::owned(vec![5, -6, 3, -1], Axes::new(&[2, 2]));
    let got = movement::gather(&mut Workspace::default(), &x, &index, Axes::new(&[2, 2, 5]));
    let wanted: Vec<f32> =
        [5, 0, 3, 5].iter().flat_map(|&row| (0..5).map(move |c| (row, c))).map(|(r, c)| at(&x, &[r, c])).collect();
    assert_eq!(got.map(|got| flat(&got)), Ok(wanted));
    let beyond = Array::owned(vec![6], Axes::new(&[1]));
    assert!(movement::gather(&mut Workspace::default(), &x, &beyond, Axes::new(&[1, 5])).is_err());
}
