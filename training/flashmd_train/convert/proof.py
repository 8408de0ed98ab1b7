"""Proof of an import: our modules against metatrain's on the same structure.

Both run in 64 bits, where they agree to far more digits than 32 bits have, so that a mistake of the import cannot
hide in rounding errors. Those of 32 bits are measured on the exported graph.
"""

from __future__ import annotations

import copy

import ase
import numpy as np
import torch
from torch import Tensor, nn

from flashmd_train.convert.checkpoint import Source, metatrain_version
from flashmd_train.convert.errors import ConversionError
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.structures import graph_of
from flashmd_train.model_files.contract import DIRECT_INPUTS, contract_inputs
from flashmd_train.model_files.onnx_graph import WithGradients

# Largest difference allowed, of the largest value; the weights of a 64-bit checkpoint are rounded to 32 bits.
ALLOWED = 2e-6


def prove_direct(source: Source, module: nn.Module, atoms: ase.Atoms) -> dict[str, float]:
    """Errors of positions and momenta after a stride."""
    graph, module = _wide(source, module, atoms)
    root = graph.masses.sqrt()[:, None]
    with torch.no_grad():
        displacement, momenta = module(*contract_inputs(graph, DIRECT_INPUTS))
        theirs = run_metatrain(source, atoms, ["position", "momentum"])
    start = torch.tensor(atoms.positions)
    return _compare(
        source,
        {
            "displacement": (displacement / root, theirs["position"] - start),
            "momenta": (momenta * root, theirs["momentum"]),
        },
    )


def prove_energy(source: Source, name: str, module: nn.Module, atoms: ase.Atoms) -> dict[str, float]:
    """Errors of the energies of atoms and of forces."""
    graph, module = _wide(source, module, atoms)
    inputs = ("species", "edge_vectors", "mask", "neighbors", "reverse")
    energy, gradient = WithGradients(module, inputs, ("edge_vectors",))(*contract_inputs(graph, inputs))
    theirs = run_metatrain(source, atoms, [name])
    (slope,) = torch.autograd.grad(theirs[name].sum(), theirs["positions"])
    return _compare(
        source,
        {"energy": (energy, theirs[name].flatten()), "forces": (forces(graph, gradient), -slope)},
    )


def prove_action(source: Source, module: nn.Module, atoms: ase.Atoms) -> dict[str, float]:
    """Errors of the changes of positions and momenta, the derivatives of the action."""
    graph, module = _wide(source, module, atoms)
    _, by_edges, by_momenta = WithGradients(module, DIRECT_INPUTS, ("edge_vectors", "momenta"))(
        *contract_inputs(graph, DIRECT_INPUTS)
    )
    theirs = run_metatrain(source, atoms, ["position", "momentum"])
    return _compare(
        source,
        {
            "displacement": (by_momenta / graph.masses.sqrt()[:, None], theirs["position"]),
            "momenta": (forces(graph, by_edges), theirs["momentum"]),
        },
    )


def _wide(source: Source, module: nn.Module, atoms: ase.Atoms) -> tuple[Graph, nn.Module]:
    """Graph and module in 64 bits."""
    graph = graph_of(atoms, source.symbols, source.model.cutoff, torch.float64)
    return graph, copy.deepcopy(module).double()


def forces(graph: Graph, edge_gradient: Tensor) -> Tensor:
    """−∂/∂positions [N,3] of a scalar from its gradient by the edges [N,K,3]."""
    back = edge_gradient.flatten(0, 1)[graph.reverse.flatten()].view_as(edge_gradient)
    return torch.where(graph.mask[..., None], edge_gradient - back, 0.0).sum(1)


def run_metatrain(source: Source, atoms: ase.Atoms, outputs: list[str]) -> dict[str, Tensor]:
    """Per-atom ``outputs`` of metatrain's module in 64 bits, and the ``positions`` they can be differentiated by."""
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    dtype, model = torch.float64, _wide_metatrain(source.model)
    system = systems_to_torch(atoms, dtype=dtype, positions_requires_grad=True)
    system = get_system_with_neighbor_lists(system, model.requested_neighbor_lists())
    samples = Labels(["system", "atom"], torch.tensor([[0, i] for i in range(len(atoms))]))
    xyz = [Labels("xyz", torch.arange(3)[:, None])]
    for name, values, components in (
        ("momentum", atoms.get_momenta()[..., None], xyz),
        ("mass", atoms.get_masses()[:, None], []),
    ):
        block = TensorBlock(torch.tensor(values, dtype=dtype), samples, components, Labels(name, torch.tensor([[0]])))
        system.add_data(name, TensorMap(Labels.single(), [block]))
    results = model([system], {name: ModelOutput(sample_kind="atom") for name in outputs})
    return {name: results[name].block().values.squeeze(-1) for name in outputs} | {"positions": system.positions}


def _wide_metatrain(model: nn.Module) -> nn.Module:
    """A 64-bit copy whose norms keep the ε that comes with the precision of the checkpoint."""
    epsilon = torch.finfo(next(model.parameters()).dtype).eps
    model = copy.deepcopy(model).double()
    for part in model.modules():
        if isinstance(part, nn.RMSNorm):
            part.eps = epsilon
    return model


def _compare(source: Source, pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    errors = {}
    for name, (ours, theirs) in pairs.items():
        a, b = ours.detach().numpy(), theirs.detach().numpy()
        if not np.isfinite(b).all():
            raise ConversionError(
                f"{source.path}: with its {source.weights} weights metatrain's own {name} are not finite; the training "
                "diverged. Take a checkpoint of an earlier epoch"
            )
        errors[name] = float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))
        if not errors[name] <= ALLOWED:
            raise ConversionError(
                f"{source.path}: the imported model's {name} differ from metatrain {metatrain_version()}'s by "
                f"{errors[name]:.1e} of the largest value, allowed {ALLOWED:.0e}; this is a mistake of the import, "
                "please report it with the options the model was trained with"
            )
    return errors
