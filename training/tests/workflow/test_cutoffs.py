"""The cutoff by the data: of molecules, by what bonds and angles leave of the forces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.options import load_system
from flashmd_rs.reference.recipe import Recipe
from flashmd_train.data.dataset import Dataset
from flashmd_train.learning.fit_bonded import fit_bonded
from flashmd_train.models.bonded_forces import BondedForces
from flashmd_train.workflow.cutoffs import choose_cutoff

DIPEPTIDE = Path(__file__).parents[3] / "examples" / "systems" / "alanine-dipeptide" / "vacuum.yaml"


@pytest.fixture(scope="module")
def dipeptide(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("dipeptide") / "dipeptide.h5"
    recipe = Recipe(
        system=load_system(DIPEPTIDE),
        temperatures_K=(400.0,),
        timestep_fs=0.5,
        spacing_fs=1.0,
        length_fs=2.0,
        decorrelation_fs=50.0,
        equilibration_ps=0.5,
    )
    generate(path, recipe, 300, workers=1)
    return Dataset([path])


def test_charges_reach_across_a_molecule(dipeptide: Dataset) -> None:
    """Pair terms stand in for bonds where these are not known, and are short; charges are not."""
    short, _ = choose_cutoff(dipeptide)
    kinds, _ = fit_bonded(dipeptide)
    dipeptide.find_bonds(kinds)
    cutoff, errors = choose_cutoff(dipeptide, bonded=BondedForces(kinds, 0.5))
    assert cutoff > short
    assert errors[cutoff] < 1.0
    assert np.isfinite(list(errors.values())).all()
