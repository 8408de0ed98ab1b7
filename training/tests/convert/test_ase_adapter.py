"""The dynamics of `flashmd_rs.adapters.ase` beside those of the flashmd package, on the same weights.

Needs ``pip install './training[peer]'``; skips what is missing. Run with ``-s`` to see how differences grow.
"""

from __future__ import annotations

from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet as Verlet
from metatrain_models import SMALL, train_model

from flashmd_rs.adapters.ase import VelocityVerlet
from flashmd_rs.temperature import draw_momenta
from flashmd_train.convert.conversion import convert_checkpoint

peer = pytest.importorskip("flashmd.ase.velocity_verlet")
pytest.importorskip("metatrain")
STRIDES, FRAMES = 20, 60


def keep_centre_of_mass(dynamics: peer.VelocityVerlet) -> None:
    """What strides here do of themselves: total momentum is kept, and the centre of mass moves by it."""
    atoms, masses = dynamics.atoms, dynamics.atoms.get_masses()[:, None]
    momentum, centre = atoms.get_momenta().sum(0), atoms.get_center_of_mass()
    step = type(dynamics).step

    def kept() -> None:
        nonlocal centre
        step(dynamics)
        atoms.set_momenta(atoms.get_momenta() + masses * (momentum - atoms.get_momenta().sum(0)) / masses.sum())
        centre = centre + momentum / masses.sum() * dynamics.dt
        atoms.positions += centre - atoms.get_center_of_mass()

    dynamics.step = kept


def aluminium() -> list[ase.Atoms]:
    """Frames of 32 atoms in EMT at 300 K, each with where its atoms are 16 fs later."""
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 600.0, seed=2))
    dynamics, frames = Verlet(atoms, 2.0 * ase.units.fs), []
    dynamics.run(100)
    for _ in range(FRAMES):
        frame = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, momenta=atoms.get_momenta())
        dynamics.run(8)
        frame.new_array("future_positions", atoms.get_positions())
        frame.new_array("future_momenta", atoms.get_momenta())
        frames.append(frame)
        dynamics.run(5)
    return frames


def test_strides_agree_with_the_flashmd_package(tmp_path: Path) -> None:
    """A model in 64 bits there: 1e-5 after one stride, 1e-3 after twenty, in Å and √(eV·u)."""
    from metatomic.torch import load_atomistic_model

    frames = aluminium()
    sizes, training = SMALL | dict(num_gnn_layers=1), dict(num_epochs=15, learning_rate=3e-3)
    checkpoint = train_model(tmp_path, "experimental.flashmd", ["Al"], sizes, training, 64, frames)
    convert_checkpoint(checkpoint, tmp_path / "model.onnx")
    ours, theirs = frames[-1].copy(), frames[-1].copy()
    plain = dict(rescale_energy=False, random_rotation=False)
    model = load_atomistic_model(str(tmp_path / "model.pt"))
    there = peer.VelocityVerlet(theirs, 16.0 * ase.units.fs, model, device="cpu", **plain)
    keep_centre_of_mass(there)
    here = VelocityVerlet(ours, 16.0 * ase.units.fs, tmp_path / "model.onnx", device="cpu", guard="off", **plain)
    for stride in range(1, STRIDES + 1):
        here.run(1)
        there.run(1)
        moved = float(np.abs(ours.positions - theirs.positions).max())
        kicked = float(np.abs(ours.get_momenta() - theirs.get_momenta()).max())
        print(f"{stride:3} strides: |Δq| {moved:.1e} Å, |Δp| {kicked:.1e} √(eV·u)")
        bound = 1e-5 if stride == 1 else 1e-3
        assert moved <= bound
        assert kicked <= bound
