"""The calibration of a direct model, on strides whose errors are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from springs import crystal, forces

from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System, calculator_potential
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export import calibration, free_runs
from flashmd_train.export.calibration import calibrate, one_stride_scale
from flashmd_train.export.free_runs import resolved_groups
from flashmd_train.graph.nef import Graph
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.stride import Prediction

STRIDE_FS, TIMESTEP_FS = 16.0, 4.0
CUTOFF_A = 1.0
STRIDES = 32
SPECIES = ("Al", "Ag", "Au")
# Enough for twelve runs.
ENERGIES = 12 * 21
SPRINGS = f"{Path(__file__).parent / 'springs.py'}:Springs"


class Watched(Dataset):
    """Remembers where the atoms of its last graph are; without edges, all graphs are alike but for the momenta."""

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        self.last = q, p
        if not hasattr(self, "first"):
            self.first = super().graph(file, q, p, cutoff)
        return self.first


class Verlet:
    """The reference's own stride, but momenta are multiplied by species: by ``first`` from a frame of the data, and by
    ``later`` too after a stride."""

    def __init__(self, data: Watched, first=(1.0, 1.0, 1.0), later=(1.0, 1.0, 1.0)) -> None:
        self.config = DirectConfig(species=data.symbols, stride_fs=STRIDE_FS, cutoff_A=CUTOFF_A, prior="free")
        self.momentum_scale = torch.ones(3)
        self.data = data
        order = [SPECIES.index(symbol) for symbol in data.symbols]
        self.first, self.later = torch.tensor(first)[order], torch.tensor(later)[order]
        self.starts = np.array([data.files[0].positions[s, 0][0, 0] for s in range(12)], dtype=np.float64)

    def predict(self, graph: Graph) -> Prediction:
        q, p = self.data.last
        start, mass, dt = q, self.data.files[0].masses[:, None], TIMESTEP_FS * units.fs
        known = bool((self.starts == q[0, 0]).any())
        f = forces(q)
        for _ in range(round(STRIDE_FS / TIMESTEP_FS)):
            p = p + 0.5 * dt * f
            q = q + dt * p / mass
            f = forces(q)
            p = p + 0.5 * dt * f
        factor = self.momentum_scale * self.first * (1 if known else self.later)
        momenta = factor[graph.species.long(), None] * torch.tensor(p / np.sqrt(mass))
        return Prediction(torch.tensor((q - start) * np.sqrt(mass)), momenta)


@pytest.fixture(scope="module")
def crystal_pairs(tmp_path_factory: pytest.TempPathFactory) -> StridePairs:
    path = tmp_path_factory.mktemp("springs") / "springs.h5"
    potential = calculator_potential(SPRINGS)
    lengths = dict(spacing_fs=STRIDE_FS, length_fs=STRIDE_FS, decorrelation_fs=400.0, equilibration_ps=3.0)
    recipe = Recipe(
        system=System((crystal(),), potential), temperatures_K=(300.0, 600.0), timestep_fs=TIMESTEP_FS, **lengths
    )
    generate(path, recipe, 12)
    return StridePairs(Watched([path]), np.array([(0, s) for s in range(12)]), STRIDE_FS, CUTOFF_A)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "STRIDES", (8, STRIDES))


def by_symbol(model: Verlet) -> np.ndarray:
    return np.array([model.momentum_scale[model.config.species.index(symbol)] for symbol in SPECIES])


def test_an_exact_integrator_needs_no_gain(crystal_pairs: StridePairs) -> None:
    model = Verlet(crystal_pairs.data)
    card = calibrate(model, crystal_pairs, calculator_potential(SPRINGS), ENERGIES)
    assert card["calibration"] == f"balanced over {STRIDES} strides against its reference"
    assert np.abs(by_symbol(model) - 1).max() < 1.5e-3
    residuals = card["calibration_residuals"]
    assert residuals["groups"] == list(SPECIES)
    assert abs(residuals["energy_gain_per_stride"]) < 1e-4


def test_what_many_strides_lose_is_given_back_by_species(crystal_pairs: StridePairs) -> None:
    """The factor after a stride does not show in one stride."""
    first, later = np.array([0.99, 0.98, 1.01]), np.array([0.99, 1.006, 0.98])
    model = Verlet(crystal_pairs.data, first.tolist(), later.tolist())
    assert one_stride_scale(model, crystal_pairs).numpy() == pytest.approx(1 / model.first.numpy(), rel=1e-4)
    card = calibrate(model, crystal_pairs, calculator_potential(SPRINGS), ENERGIES)
    assert card["calibration"].startswith("balanced")
    # The first stride of a run is without the later factor.
    wanted = 1 / (first * later ** (1 - 1 / STRIDES))
    assert np.abs(by_symbol(model) / wanted - 1).max() < 1.5e-3
    assert np.abs(by_symbol(model) * first - 1).max() > 5e-3


@pytest.mark.parametrize(
    ("later", "energies", "with_potential", "said"),
    [
        (1.0, ENERGIES, False, "no reference at hand"),
        (1.0, 20, True, "20 energies of the reference are too few"),
        (float("nan"), ENERGIES, True, "exploded after 2 strides of 16 fs"),
        (3.0, ENERGIES, True, "exploded after"),
        (0.3, ENERGIES, True, "train the model further"),
    ],
)
def test_otherwise_momenta_are_restored_in_one_stride_and_the_card_says_why(
    crystal_pairs: StridePairs, later: float, energies: int, with_potential: bool, said: str
) -> None:
    model = Verlet(crystal_pairs.data, (0.99, 0.98, 1.01), 3 * (later,))
    card = calibrate(model, crystal_pairs, calculator_potential(SPRINGS) if with_potential else None, energies)
    assert card["calibration"].startswith("one-stride gain: ")
    assert said in card["calibration"]
    assert model.momentum_scale.numpy() == pytest.approx(1 / model.first.numpy(), rel=1e-4)


def test_another_potential_than_that_of_the_data_is_refused(crystal_pairs: StridePairs) -> None:
    softer = calculator_potential(SPRINGS, {"softer": 0.8})
    with pytest.raises(ValueError, match="wanted the potential of the data"):
        calibrate(Verlet(crystal_pairs.data), crystal_pairs, softer, ENERGIES)


def test_energies_are_asked_for_no_more_often_than_allowed(
    crystal_pairs: StridePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Counted:
        def __init__(self, reference: free_runs.Reference) -> None:
            self.reference = reference

        def energy(self, positions: np.ndarray) -> float:
            asked.append(1)
            return self.reference.energy(positions)

    original = free_runs.reference_of
    monkeypatch.setattr(free_runs, "reference_of", lambda *given: Counted(original(*given)))
    model = Verlet(crystal_pairs.data, later=(0.99, 1.0, 1.01))
    calibrate(model, crystal_pairs, calculator_potential(SPRINGS), 90)
    assert 4 * 2 <= len(asked) <= 90


@pytest.mark.parametrize(
    ("atoms", "wanted"),
    [
        # O, H of 64 waters in 40 runs; Li, P, S of Li₃PS₄, whose 8 phosphorus atoms go with sulphur.
        ([64 * 40, 128 * 40], [[1], [0]]),
        ([24 * 40, 8 * 40, 32 * 40], [[0], [1, 2]]),
        ([100, 100, 100], [[0, 1, 2]]),
        ([4000, 0, 4000], [[0], [1, 2]]),
    ],
)
def test_groups_are_species_of_enough_atoms(atoms: list[int], wanted: list[list[int]]) -> None:
    masses = (16.0, 1.0) if len(atoms) == 2 else (6.9, 31.0, 32.1)
    assert resolved_groups(np.array(atoms), masses) == wanted
