"""Export to the model contract: one self-contained ONNX file, opset 20, metadata under the key ``flashmd``.

Every export is proved before it is written: ONNX Runtime against PyTorch at other N and K, padded and
not, and no scatter reduction in the graph.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import warnings
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the library is opened

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.backbones.staged import BySpecies
from flashmd_train.dataset import random_orthogonal
from flashmd_train.direct import Direct
from flashmd_train.energy import Energy
from flashmd_train.graph import Graph, build_graph, padded
from flashmd_train.splitting import Splitting

# It reports the absence of torchvision, which nothing here uses.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)

OPSET = 20
PARITY = 1e-5
DIRECT_INPUTS = ("species", "momenta", "masses", "edge_vectors", "mask", "neighbors", "reverse")
ENERGY_INPUTS = ("species", "edge_vectors", "mask", "neighbors")
ENERGY_OUTPUTS = ("energy", "edge_gradient")
SPLITTING_INPUTS = (*ENERGY_INPUTS, "head")
_HAS_SLOTS = ("edge_vectors", "mask", "neighbors", "reverse")
_INTEGERS = ("species", "neighbors", "reverse")


def water_graph(waters_per_edge: int, cutoff: float, seed: int, masses: tuple[float, ...]) -> Graph:
    """A small random water-like box for tracing and parity: jittered lattice, random orientations."""
    rng = np.random.default_rng(seed)
    n = waters_per_edge**3
    spacing = max(3.1, 2.02 * cutoff / waters_per_edge)
    sites = np.stack(np.meshgrid(*[np.arange(waters_per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    half = np.deg2rad(52.26)
    water = 0.9572 * np.array([[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    turns, _ = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    q = (sites[:, None] + water @ turns).reshape(-1, 3) + 0.03 * rng.normal(size=(3 * n, 3))
    return _probe(q, np.array([0, 1, 1] * n), waters_per_edge * spacing, cutoff, rng, masses)


def solid_graph(atoms_per_edge: int, cutoff: float, seed: int, masses: tuple[float, ...]) -> Graph:
    """The same for models that know no molecules: random species on a jittered lattice of 2.6 Å."""
    rng = np.random.default_rng(seed)
    spacing = max(2.6, 2.02 * cutoff / atoms_per_edge)
    sites = np.stack(np.meshgrid(*[np.arange(atoms_per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    q = sites + 0.15 * rng.normal(size=sites.shape)
    return _probe(q, rng.integers(len(masses), size=len(q)), atoms_per_edge * spacing, cutoff, rng, masses)


def _probe(
    q: np.ndarray, species: np.ndarray, edge: float, cutoff: float, rng: np.random.Generator, masses: tuple[float, ...]
) -> Graph:
    m = np.array(masses)[species]
    p = 0.16 * rng.normal(size=q.shape) * np.sqrt(m)[:, None]
    return build_graph(q, p, m, species, np.eye(3) * edge, cutoff)


def probes(prior: str, cutoff: float, masses: tuple[float, ...]) -> list[Graph]:
    """The kind of structures a model is traced and tried on."""
    make = water_graph if prior == "bonded" else solid_graph
    return [make(n, cutoff, n, masses) for n in (3, 5, 4)]


def contract_inputs(graph: Graph, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """The named inputs with the contract's types."""
    return tuple(getattr(graph, n).to(torch.int32) if n in _INTEGERS else getattr(graph, n) for n in names)


def _trace(
    module: nn.Module, example: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """A forward graph by tracing: the unrolled inner steps export in seconds, and run as fast."""
    axes = {name: {0: "N", 1: "K"} if name in _HAS_SLOTS else {0: "N"} for name in inputs}
    axes |= {name: {0: "N"} for name in outputs}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    model = onnx.load_from_string(buffer.getvalue())
    used = {name for node in model.graph.node for name in node.input}
    for declared in [value for value in model.graph.input if value.name not in used]:
        model.graph.input.remove(declared)
    return model


class _Traced(nn.Module):
    """A traced gradient graph as a module."""

    def __init__(self, traced: torch.fx.GraphModule) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.traced(*inputs)


def _trace_gradient(
    module: nn.Module, example: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """A graph with its backward pass: functional gradient, core operators, then the exporter."""
    graph = make_fx(
        module,
        decomposition_table=torch._decomp.core_aten_decompositions(),
        tracing_mode="symbolic",
        _allow_non_fake_inputs=True,
    )(*example)
    auto = torch.export.Dim.AUTO
    shapes = tuple({0: auto, 1: auto} if name in _HAS_SLOTS else {} if name == "head" else {0: auto} for name in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            _Traced(graph), example, dynamic_shapes=(shapes,), prefer_deferred_runtime_asserts_over_guards=True
        )
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes, which hold source paths of the machine that ran it."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    for part in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]


def check_no_scatter_reduction(model: onnx.ModelProto) -> None:
    """Raise if a scatter adds: ONNX Runtime's CPU kernel races on it."""
    for node in model.graph.node:
        if node.op_type.startswith("Scatter"):
            reduction = {a.name: a.s.decode() for a in node.attribute if a.name == "reduction"}
            if reduction.get("reduction", "none") != "none":
                raise ValueError(
                    f"the exported graph holds {node.op_type} with reduction {reduction}; rewrite the module without it"
                )


def open_onnx(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, graph: Graph, inputs: tuple[str, ...]) -> list[np.ndarray]:
    """Outputs for a graph; fed are those of ``inputs`` that the session declares."""
    feeds = dict(zip(inputs, (t.numpy() for t in contract_inputs(graph, inputs))))
    return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})


def run_onnx(model: onnx.ModelProto, graph: Graph, inputs: tuple[str, ...], threads: int = 1) -> list[np.ndarray]:
    """Outputs of the graph in ONNX Runtime's CPU provider."""
    return run_session(open_onnx(model, threads), graph, inputs)


def parity(model: onnx.ModelProto, module: nn.Module, inputs: tuple[str, ...], graphs: list[Graph]) -> np.ndarray:
    """Largest difference of ONNX Runtime from PyTorch, relative to the largest value, for each output.

    Each graph is run as it is and padded by 3 rows and 5 slots; padded rows and edges are not compared.
    """
    worst: list[list[float]] = []
    session = open_onnx(model)
    for graph in graphs:
        n, k = graph.mask.shape
        wanted = [w.detach().numpy() for w in module(*contract_inputs(graph, inputs))]
        for each in (graph, padded(graph, 3, 5)):
            got = run_session(session, each, inputs)
            cut = [g[:n, :k] if w.shape[:2] == (n, k) else g[:n] for g, w in zip(got, wanted)]
            worst.append([_difference(g, w) for g, w in zip(cut, wanted)])
    return np.max(worst, 0)


def rounding(module: nn.Module, inputs: tuple[str, ...], graphs: list[Graph]) -> np.ndarray:
    """What 32 bits cost PyTorch itself: its largest difference from 64 bits, as in `parity`."""
    wide, worst = copy.deepcopy(module).double(), []
    for graph in graphs:
        given = contract_inputs(graph, inputs)
        exact = wide(*(x.double() if x.is_floating_point() else x for x in given))
        worst.append([_difference(w.detach().numpy(), e.detach().numpy()) for w, e in zip(module(*given), exact)])
    return np.max(worst, 0)


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """Relative to the largest value wanted; infinite where a number is not finite."""
    if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        return float("inf")
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def equivariance(model: onnx.ModelProto, graph: Graph) -> float:
    """Largest departure of a direct model's stride from O(3) equivariance, relative to the largest value."""
    turn = random_orthogonal(np.random.default_rng(1))
    turned = graph._replace(edge_vectors=graph.edge_vectors @ turn.T, momenta=graph.momenta @ turn.T)
    plain, rotated = (run_onnx(model, g, DIRECT_INPUTS)[:2] for g in (graph, turned))
    return max(float(np.abs(a @ turn.numpy().T - b).max() / np.abs(a).max()) for a, b in zip(plain, rotated))


def write(model: onnx.ModelProto, metadata: dict, path: Path) -> None:
    """Put the metadata in and write the file in one go."""
    entry = model.metadata_props.add()
    entry.key, entry.value = "flashmd", json.dumps(metadata, ensure_ascii=False)
    model.producer_name, model.producer_version = "flashmd_train", ""
    onnx.checker.check_model(model)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


class WithGradients(nn.Module):
    """A per-atom scalar [N] and the gradients of its sum, traced with its backward pass.

    Args:
        model: takes ``inputs`` in order and returns the scalar.
        inputs: names of its inputs.
        by: those of them that the sum is differentiated by.
    """

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], by: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.by = tuple(inputs.index(name) for name in by)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        def total(*variables: Tensor) -> tuple[Tensor, Tensor]:
            every = list(inputs)
            for place, variable in zip(self.by, variables):
                every[place] = variable
            scalar = self.model(*every)
            return scalar.sum(), scalar

        argnums = tuple(range(len(self.by)))
        gradients, scalar = torch.func.grad(total, argnums, has_aux=True)(*(inputs[place] for place in self.by))
        return (scalar, *gradients)


def frozen(module: nn.Module) -> nn.Module:
    """A copy without gradients and with whitening folded into the weights."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, BySpecies):
            part.fold()
    return module


def export_direct(module: Direct, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """Graph of a direct model and its parity error."""
    graphs = probes(module.config.prior, module.config.cutoff_A, masses)
    return export_forward(module, DIRECT_INPUTS, module.outputs, graphs)


def export_energy(module: Energy, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """Graph of an energy model with its gradient, and its parity error."""
    graphs = probes(module.config.prior, module.config.cutoff_A, masses)
    return export_gradients(module, ENERGY_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, graphs)


def export_splitting(module: Splitting, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """Graph of a splitting's scalars with their gradient, and its parity error over all of them."""
    graphs = probes(module.config.scalar.prior, module.config.cutoff_A, masses)
    heads = torch.eye(len(module.scalar.share))
    graphs = [graph._replace(head=head) for graph in graphs for head in heads]
    return export_gradients(module, SPLITTING_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, graphs)


def export_forward(
    module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], graphs: list[Graph]
) -> tuple[onnx.ModelProto, float]:
    """Graph of a module and its parity error: traced on the last of ``graphs``, proved on all."""
    module = frozen(module)
    model = _trace(module, contract_inputs(graphs[-1], inputs), inputs, outputs)
    return model, _proved(model, module, inputs, graphs)


def export_gradients(
    module: nn.Module, inputs: tuple[str, ...], by: tuple[str, ...], outputs: tuple[str, ...], graphs: list[Graph]
) -> tuple[onnx.ModelProto, float]:
    """Graph of a scalar with its gradients by the inputs ``by``, and its parity error; see `export_forward`."""
    module = WithGradients(frozen(module), inputs, by)
    model = _trace_gradient(module, contract_inputs(graphs[-1], inputs), inputs, outputs)
    return model, _proved(model, module, inputs, graphs)


def _proved(model: onnx.ModelProto, module: nn.Module, inputs: tuple[str, ...], graphs: list[Graph]) -> float:
    """The parity error, allowed `PARITY`, or ten times PyTorch's own rounding where that is larger.

    It is larger where a derivative is a small difference of large numbers, as through the norm of very
    few features.
    """
    check_no_scatter_reduction(model)
    errors = parity(model, module, inputs, graphs)
    if not (errors <= PARITY).all() and not (errors <= 10 * rounding(module, inputs, graphs)).all():
        raise ValueError(
            f"ONNX Runtime differs from PyTorch by {errors.max():.1e} of the largest value; allowed {PARITY:.0e}"
        )
    return float(errors.max())
