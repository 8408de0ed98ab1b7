"""Proof of an export: ONNX Runtime against PyTorch at several N and K, padded and not, and equivariance."""

from __future__ import annotations

import copy
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the library is opened

import numpy as np
import onnx
import onnxruntime
from torch import nn

from flashmd_train.data.pairs import random_orthogonal
from flashmd_train.graph.nef import Graph, padded
from flashmd_train.model_files.contract import DIRECT_INPUTS, contract_inputs

PARITY = 1e-5


def prove(model: onnx.ModelProto, module: nn.Module, inputs: tuple[str, ...], graphs: list[Graph]) -> float:
    """Parity error of an exported graph; allowed is :data:`PARITY`, or ten times PyTorch's own rounding error.

    The latter is larger where a derivative is a small difference of large numbers, as through the norm of very few
    features.

    Raises:
        ValueError: the error is larger, or the graph holds a scatter that adds.
    """
    check_no_scatter_reduction(model)
    errors = parity(model, module, inputs, graphs)
    if not (errors <= PARITY).all() and not (errors <= 10 * rounding(module, inputs, graphs)).all():
        raise ValueError(
            f"ONNX Runtime differs from PyTorch by {errors.max():.1e} of the largest value; allowed {PARITY:.0e}"
        )
    return float(errors.max())


def check_no_scatter_reduction(model: onnx.ModelProto) -> None:
    """Raise ValueError if a scatter adds: ONNX Runtime's CPU kernel for it has a data race."""
    for node in model.graph.node:
        if node.op_type.startswith("Scatter"):
            reduction = {a.name: a.s.decode() for a in node.attribute if a.name == "reduction"}
            if reduction.get("reduction", "none") != "none":
                raise ValueError(
                    f"the exported graph holds {node.op_type} with reduction {reduction}; rewrite the module without it"
                )


def open_onnx(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """An inference session of the graph in ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, graph: Graph, inputs: tuple[str, ...]) -> list[np.ndarray]:
    """Outputs for a graph; of ``inputs``, those that the session declares are fed."""
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
    """Largest difference of PyTorch in 32 bits from PyTorch in 64 bits, relative as in :func:`parity`."""
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


def equivariance(model: onnx.ModelProto, graph: Graph, vectors: int = 2) -> float:
    """Largest departure of a direct model's stride from O(3) equivariance, relative to the largest value.

    Args:
        model: of inputs as in the contract.
        graph: of atoms.
        vectors: outputs that turn with the atoms, the first ones.
    """
    rotation = random_orthogonal(np.random.default_rng(1))
    rotated_graph = graph._replace(edge_vectors=graph.edge_vectors @ rotation.T, momenta=graph.momenta @ rotation.T)
    plain, rotated = (run_onnx(model, g, DIRECT_INPUTS)[:vectors] for g in (graph, rotated_graph))
    return max(float(np.abs(a @ rotation.numpy().T - b).max() / np.abs(a).max()) for a, b in zip(plain, rotated))
