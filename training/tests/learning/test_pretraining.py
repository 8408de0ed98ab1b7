"""Pre-training on forces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from alloys import CUTOFF_A, EVERY, SPECIES

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.domain import domain
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.metrics import energy_errors, stride_errors
from flashmd_train.learning.pretrain_lookahead import fit_linear
from flashmd_train.learning.pretrain_pairs import fit_pairs
from flashmd_train.models.config import DirectConfig, EnergyConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.energy import Energy, radial_terms


def test_pretraining_finds_the_forces(data: Dataset) -> None:
    model = Direct(DirectConfig(stride_fs=4.0, cutoff_A=6.0, lookahead_timestep_fs=1.0, options=dict(radial=10)))
    pairs = StridePairs(data, np.array([(0, s) for s in range(6)]), 4.0, 6.0)
    before = stride_errors(model, pairs, 3)["momentum_error"]
    fit_linear(model, pairs, 12, np.random.default_rng(0))
    after = stride_errors(model, pairs, 3)["momentum_error"]
    assert before > 0.2
    assert after < 0.1


def test_pairs_nearer_than_any_in_the_data_stay_without_energy(alloy_file: Path) -> None:
    """Whatever the noise of training does: it made holes of many eV, into which atoms fell."""
    data = Dataset([alloy_file])
    model = Energy(EnergyConfig(species=SPECIES, prior="free", cutoff_A=CUTOFF_A, radial=32, spacing=2.0, hidden=4))
    fit_pairs(model, data, EVERY, 6, np.random.default_rng(0))
    fitted = energy_errors(model, data, EVERY)["force_error"]
    assert fitted < 0.5
    nearest = domain(data, CUTOFF_A)["smallest_pair_distance_A"]
    distances = torch.linspace(0.5, CUTOFF_A, 400)
    adam, rng = torch.optim.Adam([model.pair], lr=1e-2), torch.Generator().manual_seed(0)
    for _ in range(100):
        model.pair.grad = torch.randn(model.pair.shape, generator=rng)
        adam.step()
    with torch.no_grad():
        weight = (model.whiten @ model.pair[0]).reshape(-1, model.config.radial)
        energies = weight @ radial_terms(model, distances[None, None])[0]
    for energy, name in zip(energies, ("Cu-Cu", "Cu-Au", "Au-Au")):
        closest = nearest[name] if name in nearest else nearest["Au-Cu"]
        assert float(energy[distances < closest - 0.5].abs().max()) < 1.0, name
        assert float(energy[distances < closest - 1.0].abs().max()) < 0.02, name
        assert float(energy.abs().max()) > 0.1, name
