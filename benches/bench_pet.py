"""FlashMD's own network, with the same random weights here and in the flashmd package, which is the opponent.

``pytest benches/bench_pet.py --benchmark-only``; needs ``pip install '.[bench]' './training[peer]'``. Before anything
is timed, one stride of both must be the same to 2e-5.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import ase.units
import numpy as np
import pytest
from ase import Atoms

import flashmd_rs

from conftest import Run

pytest.importorskip("flashmd", reason="needs pip install './training[peer]'")
sys.path.append(str(Path(__file__).parents[1] / "training" / "tests" / "convert"))

import torch
from flashmd.ase.velocity_verlet import VelocityVerlet
from metatomic.torch import load_atomistic_model
from metatrain_models import train_model

from flashmd_train.convert.conversion import convert_checkpoint

STRIDE_FS = 16.0
TIMESTEP_FS = 0.5
OPPONENT = "flashmd 0.3.0, 16 fs"
COPIES = {774: 1, 6192: 2}
# By features: options of metatrain; none are its defaults.
SIZES: dict[int, dict] = {128: {}, 64: dict(d_pet=64, d_node=256, d_head=64, d_feedforward=128, num_heads=4)}
PARITY = 2e-5


def water(size: int) -> Atoms:
    """With ASE's masses, which the model was made with."""
    atoms = flashmd_rs.load_structure("water258").repeat(COPIES[size])
    atoms.set_masses("defaults")
    return atoms


def check_parity(model: Path, file: Path) -> None:
    """One stride is the same in both: displacements and momenta, over the largest of each."""
    start = water(774)
    own = flashmd_rs.Model(file, device="cpu", threads=1).stride(start)
    peer = start.copy()
    theirs(model, peer, 1).call()
    for mine, other in (
        (own.positions - start.positions, peer.positions - start.positions),
        (own.get_momenta(), peer.get_momenta()),
    ):
        assert np.abs(mine - other).max() <= PARITY * np.abs(other).max()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], tuple[Path, Path]]:
    """Model of metatrain and the file made from it, of strides or of an energy of the same size."""
    known: dict[tuple[str, int], tuple[Path, Path]] = {}

    def make(architecture: str, features: int) -> tuple[Path, Path]:
        if (architecture, features) not in known:
            folder = tmp_path_factory.mktemp("pet")
            training = dict(timestep=STRIDE_FS) if architecture.endswith("flashmd") else {}
            checkpoint = train_model(folder, architecture, ["H", "O"], SIZES[features], training)
            file = folder / "pet.onnx"
            convert_checkpoint(checkpoint, file)
            if architecture.endswith("flashmd"):
                check_parity(folder / "model.pt", file)
            known[architecture, features] = (folder / "model.pt", file)
        return known[architecture, features]

    return make


def theirs(model: Path, atoms: Atoms, threads: int) -> Run:
    """Strides of the flashmd package, all from the same structure, as those of this one."""
    torch.set_num_threads(threads)
    settings = dict(device="cpu", rescale_energy=False, random_rotation=False)
    stepper = VelocityVerlet(atoms, STRIDE_FS * ase.units.fs, load_atomistic_model(str(model)), **settings)
    start = atoms.copy()

    def step() -> None:
        atoms.positions = start.positions
        atoms.set_momenta(start.get_momenta())
        stepper.step()

    return Run(step, STRIDE_FS)


def ours(file: Path, atoms: Atoms, threads: int, kernels: str) -> Run:
    """Strides of this package."""
    model = flashmd_rs.Model(file, device="cpu", threads=threads, kernels=kernels)
    return Run(lambda: model.stride(atoms), STRIDE_FS)


def energy(file: Path, atoms: Atoms, threads: int) -> Run:
    """One step of Verlet."""
    model = flashmd_rs.Model(file, device="cpu", threads=threads)
    return Run(lambda: model.forces(atoms), TIMESTEP_FS)


CONTENDERS: dict[str, Callable[[Callable, int, Atoms, int], Run]] = {
    OPPONENT: lambda made, features, atoms, threads: theirs(made("experimental.flashmd", features)[0], atoms, threads),
    "flashmd-rs, 16 fs": lambda made, features, atoms, threads: ours(
        made("experimental.flashmd", features)[1], atoms, threads, "auto"
    ),
    "flashmd-rs without kernels, 16 fs": lambda made, features, atoms, threads: ours(
        made("experimental.flashmd", features)[1], atoms, threads, "off"
    ),
    "Verlet by a PET energy of this size, 0.5 fs": lambda made, features, atoms, threads: energy(
        made("pet", features)[1], atoms, threads
    ),
}
SMALL = [(774, threads, name) for threads in (1, 2) for name in CONTENDERS]
LARGE = [(6192, 2, name) for name in (OPPONENT, "flashmd-rs, 16 fs")]


@pytest.mark.parametrize(("size", "threads", "name"), [*SMALL, *LARGE])
@pytest.mark.parametrize("features", SIZES)
def test_pet(benchmark, in_turns: Callable, made: Callable, features: int, size: int, threads: int, name: str) -> None:
    benchmark.group = f"PET, {features} features, {size} atoms, threads: {threads}"
    run = CONTENDERS[name](made, features, water(size), threads)
    opponent = None if name == OPPONENT else CONTENDERS[OPPONENT](made, features, water(size), threads)
    facts = dict(name=name, atoms=size, threads=threads, unit="fs")
    in_turns(run, opponent, rounds=5, **facts)
