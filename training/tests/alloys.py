"""A small alloy in ASE's effective-medium theory, its data, and settings for a few steps on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System, calculator_potential
from flashmd_train.learning.config import Data, DirectTraining, Optimizer
from flashmd_train.models.config import DirectConfig

EMT = calculator_potential("ase.calculators.emt:EMT", description="effective-medium theory")
SPECIES = ("Cu", "Au")
CUTOFF_A = 4.5
# All segments of `alloy_data`.
EVERY = np.array([(0, s) for s in range(6)])


def alloy(strain: float = 0.0) -> Atoms:
    """32 atoms of copper–gold at random sites of fcc, the first of them copper."""
    atoms = bulk("Cu", "fcc", a=3.87 * (1 + strain), cubic=True) * (2, 2, 2)
    atoms.symbols[1 + np.random.default_rng(0).permutation(31)[:16]] = "Au"
    atoms.set_masses(None)
    return atoms


def alloy_data(path: Path, strain: float = 0.0) -> Path:
    """Six segments at two temperatures."""
    recipe = Recipe(
        system=System((alloy(strain),), EMT),
        temperatures_K=(500.0, 700.0),
        spacing_fs=8.0,
        length_fs=32.0,
        decorrelation_fs=100.0,
        equilibration_ps=0.4,
    )
    generate(path, recipe, 6)
    return path


def alloy_training(file: Path, steps: int = 2, **model) -> DirectTraining:
    """A few steps on a file of `alloy_data`."""
    shape = dict(species=SPECIES, stride_fs=16.0, cutoff_A=CUTOFF_A, prior="free", legendre_orders=2)
    return DirectTraining(
        model=DirectConfig(**shape, backbone="painn", options=dict(features=8, radial=6), **model),
        data=Data(files=(file,), boxes=1),
        optimizer=Optimizer(steps=steps, warmup=0),
        every=steps,
    )
