"""Ridge regression with whitened inputs, one set of weights per species."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd_train.backbones.pair_field import BySpecies

# Ridge over the mean of the diagonal.
RIDGE = 1e-6


class SpeciesRidge:
    """Normal equations of inputs [N, 3, C] against targets [N, P, 3], one set per species.

    Args:
        kinds: number of species.
        fan_in: C.
        fan_out: P.
    """

    def __init__(self, kinds: int, fan_in: int, fan_out: int) -> None:
        self.xx = torch.zeros(kinds, fan_in, fan_in, dtype=torch.float64)
        self.xy = torch.zeros(kinds, fan_in, fan_out, dtype=torch.float64)
        self.rows = torch.zeros(kinds, dtype=torch.float64)

    def add(self, field: Tensor, target: Tensor, species: Tensor) -> None:
        """Add the atoms of one graph."""
        for s in range(len(self.rows)):
            x = field[species == s].flatten(0, 1).double()
            y = target[species == s].transpose(1, 2).flatten(0, 1).double()
            self.xx[s] += x.T @ x
            self.xy[s] += x.T @ y
            self.rows[s] += len(x)

    def solve_into(self, layer: BySpecies, *siblings: BySpecies) -> None:
        """Set ``layer`` to the solution, and the whitening of the inputs of it and of ``siblings``."""
        eye = torch.eye(self.xx.shape[1], dtype=torch.float64)
        mean = self.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        # XᵀX + ridge = L Lᵀ; the whitened inputs x L⁻ᵀ √rows have unit variance.
        root = torch.linalg.cholesky(self.xx + RIDGE * mean * eye)
        scale = self.rows.sqrt()[:, None, None]
        whiten = torch.linalg.solve_triangular(root.transpose(1, 2), eye * scale, upper=True)
        weight = torch.linalg.solve_triangular(root, self.xy, upper=False) / scale
        layer.weight.copy_(weight)
        for each in (layer, *siblings):
            each.whiten.copy_(whiten)
