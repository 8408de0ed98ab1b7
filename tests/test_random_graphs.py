"""Networks drawn at random: whatever the planner of stages makes of one, it gives what ONNX Runtime gives."""

import numpy as np
import pytest
from fixtures.make import CUTOFF, Graph, metadata
from onnx import TensorProto

import flashmd_rs
from flashmd_rs import _core

from conftest import make_crystal

pytestmark = pytest.mark.skipif(_core.kernel_version() is None, reason="kernels are not for this processor")
INPUTS = ("species", "momenta", "masses", "edge_vectors", "mask", "neighbors", "reverse")
SPECIES = 5


class Network:
    """A network that keeps the contract: numbers at edges reach atoms in sums under a window that ends at the cutoff.

    Args:
        seed: of everything drawn.
    """

    def __init__(self, seed):
        self.rng, self.graph = np.random.default_rng(seed), Graph(*INPUTS)
        g = self.graph
        squared = g.sum(g.Mul("edge_vectors", "edge_vectors"), -1, keep=1)
        real = g.column(g.Cast("mask", to=TensorProto.FLOAT))
        self.window = g.Mul(g.Pow(g.Relu(g.Sub(1.0, g.Div(squared, CUTOFF**2))), 2.0), real)
        self.edges = [(g.Mul(g.Mul("edge_vectors", 0.3), self.window), 3), (self.window, 1)]
        kinds = g.OneHot(g.Cast("species", to=TensorProto.INT64), g.constant(SPECIES, np.int64), g.constant([0.0, 1.0]))
        self.atoms = [("momenta", 3), (g.column(g.Mul("masses", 0.01)), 1), (kinds, SPECIES)]

    def drawn(self, steps):
        """The bytes of a model of so many drawn steps."""
        for _ in range(steps):
            where = self.edges if self.rng.random() < 0.6 else self.atoms
            step = self.pick(EVERYWHERE + (AT_EDGES if where is self.edges else AT_ATOMS))
            name, width = step(self, where)
            where.append((self.graph.Tanh(name), width))
        last = [self.summed(*self.edges[-1]), self.atoms[-1], self.pick(self.atoms)]
        g, out = self.graph, g_concat(self.graph, last)
        ends = [g.Add("momenta", self.dense(out, sum(w for _, w in last), 3)) for _ in range(2)]
        model = g.model(
            metadata("direct", equivariant=False, receptive_field_A=9 * CUTOFF),
            displacement=g.Mul(ends[0], 0.02),
            momenta_out=ends[1],
        )
        return model.SerializeToString()

    def pick(self, things):
        """One of some things."""
        return things[int(self.rng.integers(len(things)))]

    def weights(self, *shape):
        """A constant of normal numbers, of which a product has the size of its input."""
        return self.graph.constant(self.rng.normal(size=shape) / np.sqrt(shape[0]))

    def dense(self, name, width, to):
        """``name·W``."""
        return self.graph.MatMul(name, self.weights(width, to))

    def summed(self, name, width):
        """The sum over slots, under the window."""
        return self.graph.sum(self.graph.Mul(name, self.window), 1), width


def g_concat(g, parts):
    """Tensors side by side."""
    return g.Concat(*(name for name, _ in parts), axis=-1)


def unary(net, where):
    """A function of each number."""
    name, width = net.pick(where)
    kind = net.pick(["Abs", "Neg", "Relu", "Sigmoid", "Exp", "Sin", "Cos", "Softplus", "Identity", "Softmax"])
    return getattr(net.graph, kind)(name), width


def binary(net, where):
    """Two tensors, the second repeated or multiplied to the width of the first."""
    (a, width), (b, other) = net.pick(where), net.pick(where)
    if other not in (1, width):
        b = net.dense(b, other, width)
    return getattr(net.graph, net.pick(["Add", "Sub", "Mul", "Max", "Min"]))(a, b), width


def by_constant(net, where):
    """A row of constants for all."""
    name, width = net.pick(where)
    return getattr(net.graph, net.pick(["Add", "Mul", "Sub"]))(net.weights(width), name), width


def by_constant_of_the_same_sizes(net, where):
    """A row of constants, repeated to the sizes of a tensor before they meet."""
    name, width = net.pick(where)
    repeated = net.graph.Expand(net.weights(width), net.graph.Shape(name))
    return getattr(net.graph, net.pick(["Add", "Mul", "Sub"]))(repeated, name), width


def dense(net, where):
    """A product with weights, and a bias or none."""
    name, width = net.pick(where)
    to = int(net.rng.integers(1, 40))
    product = net.dense(name, width, to)
    return (net.graph.Add(product, net.weights(to)) if net.rng.random() < 0.5 else product), to


def side_by_side(net, where):
    """Two or three tensors."""
    parts = [net.pick(where) for _ in range(int(net.rng.integers(2, 4)))]
    return net.dense(g_concat(net.graph, parts), sum(w for _, w in parts), 8), 8


def part(net, where):
    """A slice of the features, by a step perhaps."""
    name, width = net.pick(where)
    start, step = int(net.rng.integers(width)), int(net.rng.integers(1, 3))
    g = net.graph
    return g.Slice(name, *(g.constant([n], np.int64) for n in (start, width, -1, step))), len(range(start, width, step))


def taken(net, where):
    """Features in another order."""
    name, width = net.pick(where)
    places = net.rng.integers(width, size=int(net.rng.integers(1, 7)))
    return net.graph.Gather(name, net.graph.constant(places, np.int64), axis=-1), len(places)


def padded(net, where):
    """Zeros beside the features."""
    name, width = net.pick(where)
    axes = 3 if where is net.edges else 2
    ends = [*[0] * (axes - 1), 1, *[0] * (axes - 1), 2]
    return net.graph.Pad(name, net.graph.constant(ends, np.int64)), width + 3


def chosen(net, where):
    """One of two tensors where a third is positive."""
    (a, width), (b, other), (c, third) = (net.pick(where) for _ in range(3))
    b, c = (n if w == width else net.dense(n, w, width) for n, w in ((b, other), (c, third)))
    return net.graph.Mul(net.graph.Where(net.graph.Greater(c, 0.0), a, b), net.graph.Abs(c)), width


def reduced(net, where):
    """Sum, mean or extreme of the features."""
    name, _ = net.pick(where)
    kind = net.pick(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
    return getattr(net.graph, kind)(name, net.graph.constant([-1], np.int64), keepdims=1), 1


def matrices(net, where):
    """Features as a matrix, transposed, and times the matrix perhaps."""
    g, ahead = net.graph, [0, 0] if where is net.edges else [0]
    rows, axes = net.pick([2, 3, 4, 6]), len(ahead)
    matrix = g.Reshape(net.dense(*net.pick(where), 12), g.constant([*ahead, rows, -1], np.int64))
    result, numbers = g.Transpose(matrix, perm=[*range(axes), axes + 1, axes]), 12
    if net.rng.random() < 0.5:
        result, numbers = g.MatMul(result, matrix), (12 // rows) ** 2
    return net.dense(g.Reshape(result, g.constant([*ahead, -1], np.int64)), numbers, 7), 7


def from_neighbors(net, _):
    """What the atoms at the far ends hold."""
    name, width = net.pick(net.atoms)
    return net.graph.Gather(name, "neighbors", axis=0), width


def spread(net, _):
    """What the atom itself holds, at each of its edges."""
    name, width = net.pick(net.atoms)
    edge, other = net.pick(net.edges)
    own = net.graph.Unsqueeze(name, net.graph.constant([1], np.int64))
    return net.graph.Mul(net.dense(edge, other, width), own), width


def slots_turned(net, where):
    """Slots last, and first again."""
    name, width = net.pick(where)
    g = net.graph
    return g.Transpose(g.Sin(g.Transpose(name, perm=[0, 2, 1])), perm=[0, 2, 1]), width


def attention(net, where):
    """softmax(Q·Kᵀ + log window)·V over the slots of an atom."""
    g = net.graph
    q, k, v = (net.dense(*net.pick(where), 5) for _ in range(3))
    scores = g.MatMul(q, g.Transpose(k, perm=[0, 2, 1]))
    logs = g.Transpose(g.Log(g.Add(net.window, 1e-9)), perm=[0, 2, 1])
    return g.MatMul(g.Softmax(g.Add(scores, logs), axis=-1), g.Mul(v, net.window)), 5


def summed(net, _):
    """A sum over slots."""
    return net.summed(*net.pick(net.edges))


def moments(net, _):
    """Matrices of two sets of edge features, summed over slots."""
    g = net.graph
    left, right = (g.Mul(net.dense(*net.pick(net.edges), 4), net.window) for _ in range(2))
    product = g.MatMul(g.Transpose(left, perm=[0, 2, 1]), right)
    return g.Reshape(product, g.constant([0, -1], np.int64)), 16


EVERYWHERE = [
    unary,
    binary,
    by_constant,
    by_constant_of_the_same_sizes,
    dense,
    side_by_side,
    part,
    taken,
    padded,
    chosen,
    reduced,
    matrices,
]
AT_EDGES = [from_neighbors, from_neighbors, spread, slots_turned, attention]
AT_ATOMS = [summed, summed, moments]


@pytest.fixture(scope="module")
def structures():
    """Bulk with atoms missing, and one atom alone."""
    crystal = make_crystal()
    del crystal[[1, 5, 6]]
    return [crystal, crystal[:1]]


def compare(seed, structures, file):
    """Operators in stages; fails where kernels change a number by more than rounding, or do not run."""
    file.write_bytes(Network(seed).drawn(steps=int(np.random.default_rng(seed).integers(3, 30))))
    plain, fast = (flashmd_rs.Model(file, device="cpu", threads=1, kernels=kernels) for kernels in ("off", "auto"))
    assert fast.kernel_version is not None, f"seed {seed}"
    for atoms in structures:
        ends = [model.stride(atoms) for model in (fast, plain)]
        for a, b in [[end.get_momenta() for end in ends], [end.positions - atoms.positions for end in ends]]:
            assert np.abs(a - b).max() <= 2e-5 * np.abs(b).max(), f"seed {seed}"
    return fast._core.kernels[1]


def test_fifty_networks(structures, tmp_path):
    operators = [compare(seed, structures, tmp_path / "model.onnx") for seed in range(50)]
    assert np.mean(operators) > 20


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_five_thousand_networks(structures, tmp_path):
    for seed in range(1000, 6000):
        compare(seed, structures, tmp_path / "model.onnx")
