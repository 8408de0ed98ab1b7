"""Methanol under its bonds and angles alone: what it is made of, and data of it."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.build import molecule

from flashmd_rs.reference.factories import Factory
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.potentials import CalculatorPotential
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.models.config import AngleKind, BondedConfig, BondKind

POTENTIAL = Path(__file__).parent / "models" / "methanol.py"
# Those of the potential in methanol.py.
METHANOL = BondedConfig(
    bonds=(
        BondKind(
            species=("C[H,H,H,O]", "H[C]"), constant_eV_per_A2=31.0, length_A=1.09, morse_per_A=1.7, longest_A=1.338
        ),
        BondKind(
            species=("C[H,H,H,O]", "O[C,H]"), constant_eV_per_A2=25.0, length_A=1.41, morse_per_A=1.8, longest_A=1.775
        ),
        BondKind(species=("H[O]", "O[C,H]"), constant_eV_per_A2=45.0, length_A=0.96, morse_per_A=2.2, longest_A=1.212),
    ),
    angles=(
        AngleKind(species=("C[H,H,H,O]", "O[C,H]", "H[O]"), constant_eV_per_rad2=4.0, angle_rad=1.88),
        AngleKind(species=("H[C]", "C[H,H,H,O]", "H[C]"), constant_eV_per_rad2=3.0, angle_rad=1.9),
        AngleKind(species=("H[C]", "C[H,H,H,O]", "O[C,H]"), constant_eV_per_rad2=3.6, angle_rad=1.92),
    ),
)


def methanol() -> Atoms:
    return molecule("CH3OH")


def methanol_data(path: Path) -> Path:
    """24 segments."""
    system = System((methanol(),), CalculatorPotential(Factory(f"{POTENTIAL}:Bonded"), "methanol"))
    recipe = Recipe(
        system=system,
        temperatures_K=(300.0,),
        timestep_fs=0.5,
        spacing_fs=1.0,
        length_fs=4.0,
        decorrelation_fs=8.0,
        equilibration_ps=0.05,
    )
    generate(path, recipe, 24, workers=1)
    return path


def bonded_data(path: Path, bonded: BondedConfig = METHANOL) -> Dataset:
    """The data with its bonds."""
    data = Dataset([path])
    data.find_bonds(bonded)
    return data
