"""The import of metatrain checkpoints, against metatrain and against the flashmd package.

Needs ``pip install './training[peer]'``; skips what is missing.
Run with ``-s`` to see the figures.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import ase
import ase.units
import numpy as np
import onnx
import pytest
import torch
from ase.build import fcc111
from ase.data import atomic_masses, atomic_numbers
from typer.testing import CliRunner

import flashmd_rs
from flashmd_rs.cli.app import app
from flashmd_train.graph.structures import random_structure

metatrain = pytest.importorskip("metatrain")
pytest.importorskip("metatomic.torch")

from metatrain_models import ACTIONS, ENERGIES, REFUSED, STRIDES  # noqa: E402

from flashmd_train.convert.checkpoint import read_checkpoint  # noqa: E402
from flashmd_train.convert.conversion import convert_checkpoint  # noqa: E402
from flashmd_train.convert.errors import ConversionError  # noqa: E402
from flashmd_train.convert.proof import run_metatrain  # noqa: E402

WHEEL = Path(metatrain.__file__).parent
# Versions of checkpoints inside the wheel; gradients take ten times as long to export, so fewer of them.
VERSIONS = [f"experimental/flashmd/tests/checkpoints/model-v{v}" for v in (1, 2, 3, 4, 5)]
VERSIONS += ["experimental/flashmd_symplectic/tests/checkpoints/model-v1"]
VERSIONS += [f"pet/tests/checkpoints/model-v{v}" for v in (1, 14, 16)]
METATRAIN_PARITY = 1e-6
# Å and √(eV·u), against 32-bit absolute positions.
STRIDE_PARITY = 2e-5


def from_wheel(prefix: str, folder: Path) -> Path:
    packed = sorted(WHEEL.glob(f"{prefix}_*.ckpt.gz"))
    if not packed:
        pytest.skip(f"metatrain {metatrain.__version__} does not have {prefix}")
    path = folder / packed[0].name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed[0].read_bytes()))
    return path


@pytest.mark.parametrize("prefix", VERSIONS)
def test_every_version_in_metatrains_own_tests_is_imported(prefix: str, tmp_path: Path) -> None:
    metadata = convert_checkpoint(from_wheel(prefix, tmp_path), tmp_path / "model.onnx")
    assert metadata["provenance"]["checkpoint_version"] == int(prefix.rsplit("v", 1)[1])
    figures = {k: v for k, v in metadata["validation"].items() if k.startswith("metatrain")}
    assert figures
    assert all(v < METATRAIN_PARITY for v in figures.values()), figures


@pytest.mark.parametrize("name", STRIDES | ENERGIES | ACTIONS)
def test_trained_models_agree_with_metatrain(name: str, converted: Callable) -> None:
    path, metadata = converted(name)
    figures = metadata["validation"]
    print(f"\n{name:36}", *(f"{k} {v:.1e}" for k, v in figures.items()))
    assert all(v < METATRAIN_PARITY for k, v in figures.items() if k.startswith("metatrain"))
    assert figures["onnx_parity"] < 1e-4
    graph = onnx.load(path).graph
    assert {o.name for o in graph.output} == {
        "direct": {"displacement", "momenta_out"},
        "energy": {"energy", "edge_gradient"},
        "action": {"action", "edge_gradient", "momentum_gradient"},
    }[metadata["kind"]]


def test_metadata_says_where_it_came_from(converted: Callable) -> None:
    _, metadata = converted("own node track")
    assert metadata["stride_fs"] == 16.0
    assert metadata["species"] == ["H", "O"]
    assert np.allclose(metadata["masses_u"], [1.008, 15.999], rtol=1e-6)
    # Two layers, and the reverse edges that are read after the second.
    assert metadata["receptive_field_A"] == 3 * metadata["cutoff_A"] == 13.5
    assert not metadata["equivariant"]
    assert not metadata["time_reversible"]
    assert len(metadata["provenance"]["checkpoint_sha256"]) == 64
    assert metadata["provenance"]["versions"]["metatrain"] == metatrain.__version__


SYSTEMS = ["periodic", "triclinic", "slab", "cluster"]


def system(kind: str, symbols: list[str]) -> ase.Atoms:
    masses = [float(atomic_masses[atomic_numbers[s]]) for s in symbols]
    if kind == "slab" and symbols == ["Al"]:
        atoms = fcc111("Al", (3, 3, 3), vacuum=8.0)
        atoms.set_momenta(random_structure(symbols, masses, len(atoms), 2.5, 3).get_momenta()[: len(atoms)])
        return atoms
    atoms = random_structure(symbols, masses, 40, 2.5, SYSTEMS.index(kind))
    atoms.pbc = {"periodic": True, "triclinic": True, "slab": [True, True, False], "cluster": False}[kind]
    if kind == "periodic":
        atoms.set_cell(np.diag(atoms.cell.lengths()), scale_atoms=True)
    if kind == "cluster":
        atoms.cell = None
        atoms.positions[-1] += 30.0  # an atom that nobody sees
    return atoms


@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize("name", ["own node track", "PostLN, LayerNorm, SiLU", "temperature, momenta as difference"])
def test_one_stride_agrees_with_the_flashmd_package(
    name: str, kind: str, trained: Callable, converted: Callable
) -> None:
    velocity_verlet = pytest.importorskip("flashmd.ase.velocity_verlet")
    from metatomic.torch import load_atomistic_model

    atoms = system(kind, STRIDES[name][1])
    ours = flashmd_rs.Model(converted(name)[0], device="cpu", threads=1).stride(atoms)
    peer = load_atomistic_model(str(trained(name) / "model.pt"))
    theirs = atoms.copy()
    velocity_verlet.VelocityVerlet(
        theirs, 16.0 * ase.units.fs, peer, device="cpu", rescale_energy=False, random_rotation=False
    ).step()
    moved = float(np.abs(ours.positions - theirs.positions).max())
    kicked = float(np.abs(ours.get_momenta() - theirs.get_momenta()).max())
    print(f"\n{name:36} {kind:10} |Δq| {moved:.1e} Å  |Δp| {kicked:.1e} √(eV·u)")
    assert np.abs(ours.positions - atoms.positions).max() > 1e-2
    assert moved <= STRIDE_PARITY
    assert kicked <= STRIDE_PARITY


@pytest.mark.parametrize("name", ["PET", "PET, adaptive by solver"])
def test_an_imported_energy_gives_metatrains_forces_in_the_runtime(
    name: str, trained: Callable, converted: Callable
) -> None:
    atoms = system("triclinic", ENERGIES[name][1])
    model = flashmd_rs.Model(converted(name)[0], device="cpu", threads=1)
    theirs = run_metatrain(read_checkpoint(trained(name) / "model.ckpt"), atoms, ["energy"])
    (slope,) = torch.autograd.grad(theirs["energy"].sum(), theirs["positions"])
    wanted = float(theirs["energy"].sum().detach())
    pull = -slope.numpy()
    off = float(np.abs(model.forces(atoms) - pull).max() / np.abs(pull).max())
    print(f"\n{name:36} |ΔE| {abs(model.energy(atoms) - wanted):.1e} of {wanted:.1f} eV  |ΔF| {off:.1e} of the largest")
    assert abs(model.energy(atoms) - wanted) < 1e-6 * abs(wanted)
    assert off < 1e-4


def test_an_imported_action_solves_metatrains_midpoint_equations_in_the_runtime(
    trained: Callable, converted: Callable
) -> None:
    name = "S3, no node track, SiLU"
    atoms = random_structure(["Al"], [float(atomic_masses[13])], 27, 2.8, 1)
    atoms.pbc = True
    after = flashmd_rs.Model(converted(name)[0], device="cpu", threads=1).stride(atoms)
    moved, kicked = after.positions - atoms.positions, after.get_momenta() - atoms.get_momenta()
    middle = atoms.copy()
    middle.positions += 0.5 * moved
    middle.set_momenta(atoms.get_momenta() + 0.5 * kicked)
    theirs = run_metatrain(read_checkpoint(trained(name) / "model.ckpt"), middle, ["position", "momentum"])
    for ours, wanted in ((moved, theirs["position"]), (kicked, theirs["momentum"])):
        assert np.abs(ours - wanted.detach().numpy()).max() < 1e-4
    assert np.abs(kicked).max() > 0.1


REASONS = {"ZBL": "ZBL repulsion", "two scales": "one common scale"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_imported_is_refused_by_name_and_nothing_is_written(
    name: str, trained: Callable, tmp_path: Path
) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"kept")
    with pytest.raises(ConversionError, match=REASONS[name]):
        convert_checkpoint(trained(name) / "model.ckpt", output)
    assert output.read_bytes() == b"kept"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def edited(path: Path, **changes: object) -> Path:
    """The checkpoint with some of its hyperparameters, or its architecture, changed."""
    saved = torch.load(path, weights_only=False)
    saved["architecture_name"] = changes.pop("architecture_name", saved["architecture_name"])
    saved["model_data"]["model_hypers"] |= changes
    torch.save(saved, path)
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(long_range=dict(enable=True)), "long_range on"),
        (dict(architecture_name="soap_bpnn"), "architecture 'soap_bpnn'.*experimental.flashmd, "),
        (dict(num_gnn_layers=2), "cannot load"),
    ],
)
def test_other_checkpoints_are_refused_by_name(changes: dict, reason: str, tmp_path: Path) -> None:
    path = edited(from_wheel(VERSIONS[4], tmp_path), **changes)
    with pytest.raises(ConversionError, match=reason):
        convert_checkpoint(path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def without_time_step(saved: dict) -> None:
    saved["best_model_state_dict"]["timestep"].fill_(torch.nan)


def with_adapters(saved: dict) -> None:
    saved["best_model_state_dict"]["gnn_layers.0.trans.layers.0.attention.input_linear.lora_A.weight"] = torch.ones(1)


def in_nanometres(saved: dict) -> None:
    saved["model_data"]["dataset_info"].length_unit = "nm"


def in_half_their_unit(saved: dict) -> None:
    """As metatomic reads it; metatrain corrects it up to version 1, where it was a mistake of its own."""
    saved["model_data"]["dataset_info"].targets["momentum"].unit = "(eV*u)^1/2"


def diverged(saved: dict) -> None:
    saved["best_model_state_dict"]["edge_embedder.weight"].fill_(torch.nan)


def with_another_weight(saved: dict) -> None:
    saved["best_model_state_dict"]["strange.weight"] = torch.ones(1)


def in_other_momenta(saved: dict) -> None:
    saved["model_data"]["dataset_info"].targets["momentum"].unit = "u*A/fs"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_time_step, "time step and masses"),
        (with_adapters, "LoRA adapters"),
        (in_nanometres, "structures are in 'nm'; the import wants 'angstrom'"),
        (in_other_momenta, "momenta are in 'u\\*A/fs'"),
        (in_half_their_unit, "momenta are in '\\(eV\\*u\\)\\^1/2'"),
        (diverged, "best weights metatrain's own .* are not finite; the training diverged"),
        (with_another_weight, "cannot load .*strange"),
    ],
)
def test_checkpoints_with_other_contents_are_refused_by_name(
    change: Callable[[dict], None], reason: str, tmp_path: Path
) -> None:
    path = from_wheel(VERSIONS[4], tmp_path)
    saved = torch.load(path, weights_only=False)
    change(saved)
    torch.save(saved, path)
    with pytest.raises(ConversionError, match=reason):
        convert_checkpoint(path, tmp_path / "model.onnx")


def test_the_best_or_the_last_weights_are_taken_and_named(tmp_path: Path) -> None:
    path = from_wheel(VERSIONS[4], tmp_path)
    saved = torch.load(path, weights_only=False)
    saved |= dict(epoch=7, best_epoch=3)
    for name, weight in saved["model_state_dict"].items():
        if name.endswith("last_layers.position.0.position___0.weight"):
            weight.add_(1.0)
    torch.save(saved, path)
    origins, graphs = {}, {}
    for wanted in ("best", "last", None):
        origins[wanted] = convert_checkpoint(path, tmp_path / "model.onnx", wanted)["provenance"]
        graphs[wanted] = onnx.load(tmp_path / "model.onnx").graph.SerializeToString()
    assert {wanted: (o["weights"], o["epoch"]) for wanted, o in origins.items()} == {
        "best": ("best", 3),
        "last": ("last", 7),
        None: ("best", 3),
    }
    assert origins["last"]["command"].endswith("--weights last")
    assert graphs[None] == graphs["best"] != graphs["last"]


def test_what_the_checkpoint_leaves_open_is_said(tmp_path: Path) -> None:
    origin = convert_checkpoint(from_wheel(VERSIONS[4], tmp_path), tmp_path / "model.onnx")["provenance"]
    assert origin["assumed"] == ["its structures in angstrom"]
    assert origin["targets"] == ["position", "momentum"]
    assert origin["targets_left_out"] == []


def test_energies_that_depend_on_the_charge_are_refused(tmp_path: Path) -> None:
    path = from_wheel("pet/tests/checkpoints/model-v15-conditioning", tmp_path)
    with pytest.raises(ConversionError, match="system_conditioning on"):
        convert_checkpoint(path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_exported_models_and_missing_files(trained: Callable, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"not the exported \.pt"):
        convert_checkpoint(trained("own node track") / "model.pt", tmp_path / "model.onnx")
    with pytest.raises(FileNotFoundError):
        convert_checkpoint(tmp_path / "nothing.ckpt", tmp_path / "model.onnx")


def test_a_file_that_cannot_be_written_leaves_nothing(trained: Callable, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(OSError, match=r"model\.onnx"):
        convert_checkpoint(trained("own node track") / "model.ckpt", tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_the_command_line_says_what_it_wrote_and_why_not(trained: Callable, tmp_path: Path) -> None:
    checkpoint, output = str(trained("own node track") / "model.ckpt"), str(tmp_path / "model.onnx")
    good = CliRunner().invoke(app, ["convert", checkpoint, "-o", output])
    assert good.exit_code == 0, good.output
    assert "kind direct, species H, O" in good.output
    assert "best weights, of epoch 0" in good.output
    bad = CliRunner().invoke(app, ["convert", output, "-o", str(tmp_path / "other.onnx")])
    assert bad.exit_code == 1
    assert "give the .ckpt file" in bad.output
    assert "unexpected" not in bad.output
