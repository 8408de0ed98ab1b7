"""Pair fields: sums over neighbours of radial functions times vectors, as batched matrix products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows

# Distances change over to the closest approach within about this much, Å. Much more would hold the flank of the data.
HOLDING_A = 0.02
# Radial functions do not change with distances nearer than this before the first of their centres, Å.
BELOW_FIRST_A = 0.2


class BySpecies(nn.Module):
    """A linear map of the last axis, without bias, with one weight matrix per species of the row.

    Overlapping radial functions are strongly correlated inputs. ``whiten`` decorrelates them (pre-training sets it from
    their covariance), so that a step of the optimiser means the same along every direction.

    Args:
        species: number of species.
        fan_in: inputs.
        fan_out: outputs.
        scale: of the random weights, over 1/√fan_in.
    """

    def __init__(self, species: int, fan_in: int, fan_out: int, scale: float = 1.0) -> None:
        super().__init__()
        self.fan_out = fan_out
        self.weight = nn.Parameter(scale * torch.randn(species, fan_in, fan_out) / fan_in**0.5)
        self.register_buffer("whiten", torch.eye(fan_in).repeat(species, 1, 1))

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the whitening into the weights: the same map with fewer numbers, for export."""
        self.weight.copy_(self.whiten @ self.weight)
        self.whiten = None

    def forward(self, rows: Tensor, one_hot: Tensor) -> Tensor:
        """rows [N, …, fan_in] and one_hot [N, S] to [N, …, fan_out]."""
        weight = (self.weight if self.whiten is None else self.whiten @ self.weight).transpose(0, 1).flatten(1)
        every = (rows @ weight).unflatten(-1, (one_hot.shape[-1], self.fan_out))
        select = one_hot.reshape(one_hot.shape[0], *[1] * (every.ndim - 3), one_hot.shape[-1], 1)
        return (every * select).sum(-2)


class EdgeBasis(NamedTuple):
    """What is known of the edges' geometry, slots last.

    Attributes:
        unit: unit vectors [N, 3, K].
        envelope: cutoff factor times the weight of the edge [N, 1, K].
        radial: radial functions [N, R, K].
    """

    unit: Tensor
    envelope: Tensor
    radial: Tensor


def radial_functions(distances: Tensor, centers: Tensor, cutoff: float) -> Tensor:
    """Gaussians at ``centers`` (Å), each as wide as the gap to the next: distances [N, 1, K] (Å) to [N, R, K].

    Distances are clamped between :data:`BELOW_FIRST_A` before the first centre (no atoms come nearer) and the cutoff
    (where the envelope ends), which keeps the far tails out of the denormal numbers that slow a CPU down.
    """
    gaps = centers[1:] - centers[:-1]
    scale = (0.5**0.5) / torch.cat([gaps, gaps[-1:]])[:, None]
    x = distances.clamp(max=cutoff).maximum(centers[0] - BELOW_FIRST_A) * scale - centers[:, None] * scale
    return torch.exp(-(x * x))


def held_apart(distances: Tensor, closest: Tensor) -> Tensor:
    """Distances as radial functions see them: smoothly no less than ``closest``, any shape, Å.

    Nothing says what a function of nearer atoms is, so it does not change there. r ↦ r₀ + ½ (x + √(x² + s²)) with
    x = r − r₀ and s = :data:`HOLDING_A`.
    """
    x = distances - closest
    return closest + 0.5 * (x + (x * x + HOLDING_A**2).sqrt())


def species_edges(species: Tensor, neighbors: Tensor, kinds: int) -> Tensor:
    """Species at the other end of each edge, one-hot [N, S, K], boolean."""
    theirs = gather_rows(species, neighbors)[:, None]
    return theirs == torch.arange(kinds, device=species.device, dtype=species.dtype)[:, None]


class PairField(nn.Module):
    """Σ_j g_a(r_ij) [s_j = s] {r̂, v_ij, r̂(r̂·v_ij)}: [N, 3, channels] for each Gaussian g_a and species s.

    Slots come last everywhere, so that every product runs along contiguous memory.

    Args:
        species: number of species.
        cutoff: Å.
        radial: number of Gaussians.
        width: of the cutoff's flank, Å.
        spacing: power of the distance in which the Gaussians are evenly spaced.
        first: centre of the first of them, Å.
    """

    def __init__(
        self, species: int, cutoff: float, radial: int, width: float, spacing: float = 1.0, first: float = 1.2
    ) -> None:
        super().__init__()
        self.cutoff, self.width, self.radial = cutoff, width, radial
        self.channels = 3 * species * radial
        self.register_buffer("centers", torch.linspace(first**spacing, cutoff**spacing, radial) ** (1 / spacing))

    def edge_basis(self, vectors: Tensor, weight: Tensor, closest: Tensor | None = None) -> EdgeBasis:
        """Geometry of edges.

        Args:
            vectors: edges [N, 3, K], Å.
            weight: of edges [N, K], zero where one does not count.
            closest: distances below which the radial functions do not change [N, K], Å.
        """
        d = norm(vectors, 1)
        seen = d if closest is None else held_apart(d, closest[:, None])
        envelope = cosine_cutoff(seen, self.cutoff, self.width) * weight[:, None]
        return EdgeBasis(vectors / d, envelope, radial_functions(seen, self.centers, self.cutoff))

    def forward(self, edges: EdgeBasis, relative_velocity: Tensor, neighbor_species: Tensor) -> Tensor:
        """Sums over the edges [N, 3, channels]; relative_velocity [N, 3, K], neighbor_species one-hot [N, S, K]."""
        along = (edges.unit * relative_velocity).sum(1, keepdim=True) * edges.unit
        features = torch.cat([edges.unit, relative_velocity, along], 1) * edges.envelope
        radial = edges.radial.transpose(1, 2)
        return channels(torch.cat([torch.bmm(features * s, radial) for s in neighbor_species.split(1, 1)], 1))


def channels(products: Tensor) -> Tensor:
    """Products [N, C·3, R] of C vectors with R radial functions to [N, 3, C·R]."""
    return products.unflatten(1, (-1, 3)).transpose(1, 2).flatten(2)
