//! Fixed work on which `benches/instructions.py` counts instructions: operators in the shapes that networks give them.

use super::elementwise::{self, Arithmetic, Function};
use super::matmul::{self, Panels};
use super::movement;
use super::reduce::{self, Reduction};
use super::simd::InstructionSet;
use super::tensor::{Array, Axes, Workspace};

#[inline(never)]
fn counted(act: impl FnOnce()) {
    act();
}

fn array(sizes: &[usize]) -> Array<'static, f32> {
    let sizes = Axes::new(sizes);
    Array::owned((0..sizes.count()).map(|k| (k % 97) as f32 * 0.02 - 1.0).collect(), sizes)
}

/// Counts the second of two runs, for which buffers are there.
fn count(mut run: impl FnMut(InstructionSet, &mut Workspace)) {
    let Some(set) = InstructionSet::detect() else { return };
    let mut workspace = Workspace::default();
    run(set, &mut workspace);
    counted(|| run(set, &mut workspace));
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_product() {
    let (x, b) = (array(&[8, 45, 128]), array(&[128, 256]));
    let panels = InstructionSet::detect().map(|set| Panels::new(set, b.numbers(), 128, 256));
    count(|set, workspace| {
        let Some(panels) = &panels else { return };
        matmul::with_constant(set, workspace, &x, panels, None, Axes::new(&[8, 45, 256]));
    });
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_attention() {
    let (weights, values) = (array(&[8, 45, 45]), array(&[8, 45, 16]));
    count(|set, workspace| {
        let soft = reduce::softmax(set, workspace, &weights);
        matmul::batched(set, workspace, (&soft, &values), Axes::new(&[8, 45, 16]));
    });
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_gate() {
    let (x, y) = (array(&[8, 45, 256]), array(&[8, 45, 256]));
    count(|set, workspace| {
        let open = elementwise::apply(set, workspace, Function::Sigmoid, &x);
        elementwise::combine(set, workspace, Arithmetic::Multiply, (&open, &y), y.sizes);
    });
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_sums_over_slots() {
    let (vectors, weights) = (array(&[64, 103, 3]), array(&[64, 103, 1]));
    count(|set, workspace| {
        let scaled = elementwise::combine(set, workspace, Arithmetic::Multiply, (&vectors, &weights), vectors.sizes);
        reduce::reduce(set, workspace, Reduction::Sum, &[1], &scaled, Axes::new(&[64, 1, 3]));
    });
}

#[test]
#[ignore = "counted by benches/instructions.py"]
fn instructions_transposition() {
    let x = array(&[8, 45, 192]).view(Axes::new(&[8, 192, 45]), Axes::new(&[8640, 1, 192]), 0);
    count(|_, workspace| {
        movement::compacted(workspace, &x);
    });
}
