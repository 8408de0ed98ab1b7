"""The terms of the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from small_models import CUTOFF, EVERY, OPTIONS

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.graph.nef import build_graph, displaced
from flashmd_train.learning.config import Loss
from flashmd_train.learning.energy import load_energy
from flashmd_train.learning.losses import (
    KT,
    StrideObjective,
    energy_change,
    mass_scaled,
    noise_likelihood,
    plain,
    potential_error,
    variance,
)
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.stride import POSITION_TIME, Prediction


def prediction(n: int = 200, seed: int = 0) -> tuple[Prediction, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    scale = torch.rand(n, 3) + torch.tensor([0.2, -0.5, 0.2])
    mean = Prediction(torch.randn(n, 3), torch.randn(n, 3), scale, torch.zeros(n, 1))
    return mean, torch.randn(n, 3), torch.randn(n, 3)


class TestLosses:
    def test_mass_scaled_is_the_thermal_energy_of_the_errors(self) -> None:
        stride, q, p = prediction()
        dq, dp = mass_scaled(stride, q, p)
        assert torch.isclose(dp, (stride.momenta - p).square().mean() / KT)
        assert torch.isclose(dq, (stride.displacement - q).square().mean() / (KT * POSITION_TIME**2))

    def test_potential_error_is_the_variance_within_a_file(self) -> None:
        """In the mean over batches, of whatever size, and whatever the zeros of the files are."""
        torch.manual_seed(0)
        files, atoms = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([4, 4, 4, 9, 9, 5])
        zeros = torch.tensor([1e4, -50.0, 3.0], dtype=torch.float64)[files]
        sigma = 0.03
        found = [
            potential_error(zeros + sigma * torch.randn(6, dtype=torch.float64), files, atoms) for _ in range(4000)
        ]
        expected = sigma**2 / KT**2 * np.mean([1 / 4] * 3 + [1 / 9] * 2)
        mean, error = np.mean(found), np.std(found) / len(found) ** 0.5
        assert abs(mean - expected) < 4 * error
        assert error < 0.03 * expected

    def test_single_boxes_say_nothing_of_potentials(self) -> None:
        assert potential_error(torch.ones(2), torch.tensor([0, 1]), torch.tensor([3, 4])) is None

    def test_plain_does_not_depend_on_units_and_counts_heavy_momenta_more(self) -> None:
        stride, q, p = prediction()
        masses = torch.tensor([16.0, 1.0] * 100)
        for factor in (1.0, 7.0):
            bigger = stride._replace(displacement=factor * stride.displacement, momenta=factor * stride.momenta)
            dq, dp = plain(bigger, factor * q, factor * p, masses)
            assert torch.isclose(dq, plain(stride, q, p, masses)[0])
            assert torch.isclose(dp, plain(stride, q, p, masses)[1])
        error = (stride.momenta - p).square()
        assert torch.isclose(
            dp, (16 * error[::2].sum() + error[1::2].sum()) / (16 * p[::2].square().sum() + p[1::2].square().sum())
        )

    def test_noise_likelihood_is_the_gaussians(self) -> None:
        stride, q, p = prediction()
        first, mixed, second = stride.residual_scale.unbind(-1)
        zero = torch.zeros_like(first)
        factor = torch.stack([torch.stack([first, zero], -1), torch.stack([mixed, second], -1)], -2)
        gaussian = torch.distributions.MultivariateNormal(torch.zeros(2), scale_tril=factor[:, None])
        residual = torch.stack([q - stride.displacement, p - stride.momenta], -1)
        shift = np.log(2 * np.pi) + np.log(KT * POSITION_TIME)
        assert torch.isclose(noise_likelihood(stride, q, p), -gaussian.log_prob(residual).mean() - shift, atol=1e-5)

    def test_noise_does_not_move_the_mean(self, data: Dataset) -> None:
        model = Direct(
            DirectConfig(
                stride_fs=2.0,
                cutoff_A=CUTOFF,
                legendre_orders=2,
                lookahead_timestep_fs=1.0,
                noise=True,
                options=OPTIONS["lookahead"],
            )
        )
        batch = StridePairs(data, EVERY, 2.0, CUTOFF).unaugmented(0)
        stride = model.predict(batch.graph)
        noise_likelihood(stride, batch.displacement[0], batch.momenta[0]).backward()
        with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().any()}
        assert with_gradient == {"noise.weight", "noise.bias"}

    def test_variance_sees_each_species(self) -> None:
        stride, _, p = prediction()
        species = torch.tensor([0, 1] * 100)
        shrunk = torch.where(species[:, None] == 0, 0.9 * p, p)
        assert torch.isclose(variance(stride._replace(momenta=shrunk), p, species, 2), torch.tensor((0.81 - 1) ** 2))

    def test_energy_change_is_that_of_the_hamiltonian(self, data: Dataset, energy_run: Path) -> None:
        """Against energies of graphs that are built anew where the atoms went."""
        energy = load_energy(energy_run)
        file = data.files[0]
        graphs = []
        for frame in (0, 3):
            q, p = file.positions[0, frame].astype(float), file.momenta[0, frame]
            graphs.append(build_graph(q, p, file.masses, data.species[0], file.cell, CUTOFF))
        batch = StridePairs(data, EVERY, 6.0, CUTOFF + 1.0).unaugmented(0)
        after = displaced(batch.graph, batch.displacement[0], batch.momenta[0])

        def per_atom(graph):
            return energy(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)

        wanted = [float((per_atom(g) + 0.5 * g.momenta.square().sum(-1)).detach().sum()) for g in graphs]
        got = float(energy_change(per_atom, batch.graph, after, batch.box, 1).detach())
        assert abs(got - (wanted[1] - wanted[0]) ** 2 / (192 * KT**2)) < 1e-3 * got + 1e-6

    def test_unrolled_strides_start_where_the_last_one_ended(self, data: Dataset) -> None:
        """Two strides in the objective against two by hand, with the neighbours searched again."""
        config = DirectConfig(
            stride_fs=4.0, cutoff_A=CUTOFF, legendre_orders=2, inner_timestep_fs=1.0, options=OPTIONS["lookahead"]
        )
        model = Direct(config).eval()
        file = data.files[0]
        batch = StridePairs(data, EVERY, 4.0, CUTOFF + 1.0, strides=2).batch(EVERY[:1], [0], np.array([False]), None)
        _, terms = StrideObjective(model, Loss(strides=2))(batch)
        root = np.sqrt(file.masses)[:, None]
        q, p = file.positions[0, 0].astype(float), file.momenta[0, 0].astype(float)
        total = 0.0
        for frame in (2, 4):
            graph = build_graph(q, p, file.masses, data.species[0], file.cell, CUTOFF)
            u, v = (x.detach().numpy() for x in model(*graph))
            q, p = q + u / root, v * root
            total += np.mean(((q - file.positions[0, frame]) * root) ** 2) / (KT * POSITION_TIME**2)
        assert abs(float(terms["position"]) - total / 2) < 1e-3 * total
