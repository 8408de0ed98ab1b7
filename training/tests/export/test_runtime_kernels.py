"""The runtime's kernels on networks of other sizes and kinds than the bundled ones: none is made for one network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import MASSES, published_pet
from torch import Tensor

import flashmd_rs
from flashmd_rs import _core
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.structures import graph_of, water_graph
from flashmd_train.model_files.contract import DIRECT_INPUTS, ENERGY_OUTPUTS, PAIR_INPUTS, write_model
from flashmd_train.model_files.exports import export_direct, export_energy
from flashmd_train.model_files.onnx_graph import export_forward, export_gradients
from flashmd_train.models.config import DirectConfig, EnergyConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.energy import Energy
from flashmd_train.models.pet import PETEnergy

pytestmark = pytest.mark.skipif(_core.kernel_version() is None, reason="kernels are not for this processor")
CUTOFF = 4.0
SMALL = dict(features=48, node_features=80, head_features=32, hidden=56, heads=6, layers=2)
VARIANTS = {
    "default kind": {},
    "LayerNorm after, SiLU": dict(norm="LayerNorm", activation="SiLU", pre_norm=False),
    "SiLU, bump": dict(activation="SiLU", cutoff_function="bump"),
    "residual": dict(residual=True),
    "no node track": dict(node_features=48),
    "adaptive cutoff": dict(adaptive_neighbors=6.0, adaptive_method="grid"),
}
"""Settings of PET beside sizes that are nobody's default."""


@pytest.fixture
def write(tmp_path: Path) -> Callable:
    """A file of an exported graph, with the metadata of a bundled model but for what is given."""

    def write(graph: object, kind: str, **changes: object) -> Path:
        known = flashmd_rs.Model("water").metadata
        kept = {k: v for k, v in known.items() if k not in ("energy_model", "validation", "gain", "splitting")}
        kept["domain"] = {k: v for k, v in kept["domain"].items() if k != "largest_uncertainty"}
        metadata = kept | dict(kind=kind, cutoff_A=CUTOFF, receptive_field_A=4 * CUTOFF, equivariant=False) | changes
        if kind == "energy":
            metadata.pop("stride_fs")
        write_model(graph, metadata, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


def agree(file: Path, allowed: float = 2e-5) -> tuple[int, int, int]:
    """Check a file on water with kernels and without; returns stages, operators in them and operators left."""
    atoms = flashmd_rs.load_structure("water258")
    plain, fast = (flashmd_rs.Model(file, device="cpu", threads=1, kernels=kernels) for kernels in ("off", "auto"))
    assert fast.kernel_version is not None
    pairs = [(fast.stride(atoms), plain.stride(atoms))] if plain.kind != "energy" else []
    arrays = [(a.positions - atoms.positions, b.positions - atoms.positions) for a, b in pairs]
    arrays += [(a.get_momenta(), b.get_momenta()) for a, b in pairs]
    if plain.kind == "energy":
        arrays += [(fast.forces(atoms), plain.forces(atoms)), (fast.energy(atoms), plain.energy(atoms))]
    for got, wanted in arrays:
        assert np.abs(np.asarray(got) - wanted).max() <= allowed * np.abs(wanted).max()
    return fast._core.kernels


def waters() -> list:
    """Graphs to export on."""
    return [water_graph(n, CUTOFF, n, MASSES[::-1]) for n in (3, 5, 4)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_pet(variant: str, write: Callable) -> None:
    torch.manual_seed(1)
    module = published_pet(("O", "H"), CUTOFF, momenta_as_difference=True, **(SMALL | VARIANTS[variant]))
    graph, _ = export_forward(module, DIRECT_INPUTS, module.outputs, waters())
    _, operators, left = agree(write(graph, "direct"))
    assert operators > 10 * left


def pet_energy() -> tuple[torch.nn.Module, object]:
    """A PET energy and its graph."""
    options = SMALL | {"cutoff_function": "cosine"}
    module = PETEnergy(EnergyConfig(backbone="pet", prior="free", cutoff_A=CUTOFF, options=options))
    return module, export_gradients(module, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, waters())[0]


def moments_energy() -> tuple[torch.nn.Module, object]:
    """An energy by moments up to quadrupoles, and its graph."""
    module = Energy(EnergyConfig(cutoff_A=CUTOFF, radial=7, hidden=5, angular=2))
    with torch.no_grad():
        module.pair.normal_(0, 0.05)
        module.out.weight.normal_(0, 0.05)
    return module, export_energy(module, MASSES)[0]


@pytest.mark.parametrize("prior", ["bonded", "free"])
def test_a_pet_that_is_trained_here(prior: str, write: Callable) -> None:
    torch.manual_seed(4)
    config = DirectConfig(
        backbone="pet", prior=prior, stride_fs=4.0, cutoff_A=CUTOFF, legendre_orders=2, options=dict(preset="tiny")
    )
    model = Direct(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "outputs" in name:
                parameter.normal_(0, 0.05)
    graph, _ = export_direct(model, MASSES)
    _, operators, left = agree(write(graph, "direct", species=["O", "H"], masses_u=list(MASSES), stride_fs=4.0))
    assert operators > 10 * left


@pytest.mark.parametrize("make", [pet_energy, moments_energy])
def test_forces_against_64_bits(make: Callable, write: Callable) -> None:
    """The reference is the module itself in 64 bits, with PyTorch's gradients."""
    torch.manual_seed(2)
    module, graph = make()
    file = write(graph, "energy")
    _, operators, left = agree(file, allowed=5e-5)
    assert operators > 5 * left

    atoms = flashmd_rs.load_structure("water258")
    exact = graph_of(atoms, ["O", "H"], CUTOFF, torch.float64)
    exact.edge_vectors.requires_grad_()
    inputs = {name: getattr(exact, name) for name in PAIR_INPUTS}
    takes = inspect.signature(module.forward).parameters
    module.double()(**{name: value for name, value in inputs.items() if name in takes}).sum().backward()
    pulls = exact.edge_vectors.grad * exact.mask[..., None]
    wanted = pulls.sum(1).index_add(0, exact.neighbors.flatten().long(), -pulls.flatten(0, 1)).numpy()
    for kernels in ("auto", "off"):
        forces = flashmd_rs.Model(file, device="cpu", threads=1, kernels=kernels).forces(atoms)
        assert np.abs(forces - wanted).max() <= 3e-5 * np.abs(wanted).max()


def test_a_bonded_prior_of_eleven_inner_steps(write: Callable) -> None:
    torch.manual_seed(3)
    model = Direct(
        DirectConfig(
            species=("O", "H"),
            backbone="lookahead",
            stride_fs=5.5,
            cutoff_A=CUTOFF,
            inner_timestep_fs=0.5,
            lookahead_timestep_fs=1.1,
            legendre_orders=4,
            options=dict(nodes=(0.4, 0.8), radial=7, hidden=5, message_vectors=3),
        )
    )
    graph, _ = export_direct(model, MASSES)
    species = dict(species=["O", "H"], masses_u=list(MASSES), stride_fs=5.5)
    _, operators, left = agree(write(graph, "direct", **species))
    assert operators > 50 * left


class FirstTenApart(torch.nn.Module):
    """Displacements along the momenta by Σ_j (r_c² − r²)², the first ten slots and the others one after the other."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The contract's inputs to ``displacement`` and ``momenta_out``."""
        graph = Graph(*inputs)
        squares = (graph.edge_vectors * graph.edge_vectors).sum(-1)
        terms = torch.where(graph.mask & (squares < CUTOFF**2), (CUTOFF**2 - squares).square(), 0.0)
        length = 1e-3 * (terms[:, :10].sum(1) + terms[:, 10:].sum(1))
        return graph.momenta * length[:, None], graph.momenta


def test_sizes_that_stop_growing_are_left_to_onnx_runtime(write: Callable) -> None:
    """Such a size is that of all slots in a small system, and of ten in this one."""
    graph, _ = export_forward(FirstTenApart(), DIRECT_INPUTS, ("displacement", "momenta_out"), waters())
    agree(write(graph, "direct"))
