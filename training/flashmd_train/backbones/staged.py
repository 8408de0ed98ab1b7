"""Staged pair field: a light O(3)-equivariant backbone that looks at the geometry inside the stride.

Stage 0 sees the edges at the start of the stride and proposes slow forces. The prior flies the atoms
under them; stage 1 sees the same edges again where they will be at a few instants inside the stride,
as a multi-stage Runge-Kutta method does, hears once what the neighbours see, and corrects. Each look
is one sum over neighbours of radial functions times vectors, a batched matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flashmd_train.graph import Graph, cosine_cutoff, gather_edges, gather_rows, norm, slots_last

# Width of the invariant layers, and of the features that heads may read.
HIDDEN = 64
# Vectors of a prior's partners: two bonds and their velocities.
PARTNER_VECTORS = 4


class BySpecies(nn.Module):
    """A bias-free linear map of the last axis with one weight matrix per species of the row.

    ``whiten`` decorrelates the inputs (pre-training sets it from their covariance), so that the step
    of an optimiser means the same along every direction of overlapping radial functions.
    """

    def __init__(self, species: int, fan_in: int, fan_out: int, scale: float = 1.0) -> None:
        super().__init__()
        self.fan_out = fan_out
        self.weight = nn.Parameter(scale * torch.randn(species, fan_in, fan_out) / fan_in**0.5)
        self.register_buffer("whiten", torch.eye(fan_in).repeat(species, 1, 1))

    @torch.no_grad()
    def fold(self) -> None:
        """Put the whitening into the weights: the same map with fewer numbers, for export."""
        self.weight.copy_(self.whiten @ self.weight)
        self.whiten = None

    def forward(self, rows: Tensor, one_hot: Tensor) -> Tensor:
        """rows [N, ..., fan_in], one_hot [N, species] to [N, ..., fan_out]."""
        weight = (self.weight if self.whiten is None else self.whiten @ self.weight).transpose(0, 1).flatten(1)
        every = (rows @ weight).unflatten(-1, (one_hot.shape[-1], self.fan_out))
        select = one_hot.reshape(one_hot.shape[0], *[1] * (every.ndim - 3), one_hot.shape[-1], 1)
        return (every * select).sum(-2)


class Look(NamedTuple):
    """One look at the neighbours: unit vectors [N, 3, K], envelope [N, 1, K] and radial functions [N, R, K]."""

    unit: Tensor
    envelope: Tensor
    basis: Tensor


def radial_functions(distances: Tensor, centers: Tensor, cutoff: float) -> Tensor:
    """Gaussians as wide as the gap to the next: distances [N, 1, K] to [N, R, K].

    Distances are held between 1 Å (no two molecules come nearer) and the cutoff (where the envelope
    ends), which keeps the far tails out of the denormal numbers that slow a CPU down.
    """
    gaps = centers[1:] - centers[:-1]
    scale = (0.5**0.5) / torch.cat([gaps, gaps[-1:]])[:, None]
    x = distances.clamp(1.0, cutoff) * scale - centers[:, None] * scale
    return torch.exp(-(x * x))


def species_edges(species: Tensor, neighbors: Tensor, kinds: int) -> Tensor:
    """Which species sits at the other end: one-hot [N, S, K], boolean."""
    theirs = gather_rows(species, neighbors)[:, None]
    return theirs == torch.arange(kinds, device=species.device, dtype=species.dtype)[:, None]


class PairField(nn.Module):
    """Σ_j g_a(r_ij) [s_j] {r̂, v_ij, r̂(r̂·v_ij)}: [N, 3, channels] for Gaussians g_a and each species s.

    Slots come last everywhere, so that every product runs along contiguous memory.
    """

    def __init__(self, species: int, cutoff: float, radial: int, width: float, spacing: float = 1.0) -> None:
        super().__init__()
        self.cutoff, self.width, self.radial = cutoff, width, radial
        self.channels = 3 * species * radial
        # Evenly spaced in this power of the distance.
        self.register_buffer("centers", torch.linspace(1.2**spacing, cutoff**spacing, radial) ** (1 / spacing))

    def look(self, vectors: Tensor, weight: Tensor) -> Look:
        """vectors [N, 3, K] Å and weight [N, K] (zero where an edge does not count)."""
        d = norm(vectors, 1)
        envelope = cosine_cutoff(d, self.cutoff, self.width) * weight[:, None]
        return Look(vectors / d, envelope, radial_functions(d, self.centers, self.cutoff))

    def forward(self, look: Look, relative_velocity: Tensor, neighbor_species: Tensor) -> Tensor:
        """relative_velocity [N, 3, K]; neighbor_species one-hot [N, S, K]."""
        along = (look.unit * relative_velocity).sum(1, keepdim=True) * look.unit
        features = torch.cat([look.unit, relative_velocity, along], 1) * look.envelope
        basis = look.basis.transpose(1, 2)
        return channels(torch.cat([torch.bmm(features * s, basis) for s in neighbor_species.split(1, 1)], 1))


class Hop(nn.Module):
    """Σ_j g_a(r_ij) {V_j, r̂(r̂·V_j)}: what the neighbours' own surroundings say, [N, 3, channels].

    V_j are a few learned vectors per atom (its dipole, the field on it, and their rates). One hop
    nearly halves the force error that a cutoff leaves in a polar liquid, for the price of one look.
    """

    def __init__(self, species: int, fan_in: int, vectors: int, radial: int) -> None:
        super().__init__()
        self.vectors = BySpecies(species, fan_in, vectors)
        self.channels = 2 * vectors * radial

    def forward(self, look: Look, field: Tensor, one_hot: Tensor, neighbors: Tensor) -> Tensor:
        """field [N, 3, fan_in] at the start of the stride; one_hot [N, S]; neighbors [N, K]."""
        vectors = self.vectors(field, one_hot).transpose(1, 2).flatten(1)
        theirs = (gather_edges(vectors, neighbors) * look.envelope).unflatten(1, (-1, 3))
        along = (theirs * look.unit[:, None]).sum(2, keepdim=True) * look.unit[:, None]
        basis = look.basis.transpose(1, 2)
        return channels(torch.cat([torch.bmm(part.flatten(1, 2), basis) for part in (theirs, along)], 1))


def channels(products: Tensor) -> Tensor:
    """[N, C·3, R] to [N, 3, C·R]."""
    return products.unflatten(1, (-1, 3)).transpose(1, 2).flatten(2)


class Mixer(nn.Module):
    """Vectors [N, 3, C] to slow-force modes [N, P, 3], linear plus gated; invariants [N, 64]; gated vectors."""

    def __init__(self, species: int, fan_in: int, extra: int, hidden: int, modes: int) -> None:
        super().__init__()
        self.modes, self.hidden = modes, hidden
        self.linear = BySpecies(species, fan_in, modes, scale=0.01)
        self.down = BySpecies(species, fan_in, hidden, scale=0.2)
        vectors = hidden + extra
        self.invariants = nn.Sequential(
            nn.Linear(vectors + hidden * extra + species, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.gates = nn.Linear(HIDDEN, modes * vectors)
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)

    def forward(self, field: Tensor, extra: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """field [N, 3, C]; extra vectors [N, 3, E]; one_hot [N, S]. The gated vectors [N, 3, V] come last."""
        down = self.down(field, one_hot)
        vectors = torch.cat([down, extra], -1)
        squares = (vectors * vectors).sum(1)
        dots = (down.transpose(1, 2) @ extra).flatten(1)
        h = self.invariants(torch.cat([squares, dots, one_hot], -1))
        gates = self.gates(h).unflatten(-1, (vectors.shape[-1], self.modes))
        return (self.linear(field, one_hot) + vectors @ gates).transpose(1, 2), h, vectors


class Staged(nn.Module):
    """Slow-force modes from two stages of pair fields; see the module docstring.

    Args:
        species: number of species.
        cutoff: Å.
        modes: polynomial orders of the slow force after the last stage (stage 0 predicts 3).
        nodes: instants, as fractions of the stride, at which stage 1 looks.
    """

    equivariant = True
    looks_ahead = True
    features = HIDDEN

    def __init__(
        self,
        species: int,
        cutoff: float,
        modes: int = 5,
        nodes: tuple[float, ...] = (0.375, 0.75),
        radial: int = 12,
        hidden: int = 16,
        width: float = 1.0,
        hop_vectors: int = 6,
        velocity_scale: float = 0.15,
    ) -> None:
        super().__init__()
        self.species, self.cutoff, self.width, self.nodes = species, cutoff, width, nodes
        self.modes, self.velocity_scale = modes, velocity_scale
        self.field = PairField(species, cutoff, radial, width)
        self.first = Mixer(species, self.field.channels, PARTNER_VECTORS, hidden, 3)
        self.hop = Hop(species, self.field.channels + PARTNER_VECTORS, hop_vectors, radial)
        fan_in = (1 + len(nodes)) * self.field.channels + self.hop.channels
        self.last = Mixer(species, fan_in, PARTNER_VECTORS, 2 * hidden, modes)
        self.last_features = 2 * hidden + PARTNER_VECTORS

    def forward(self, graph: Graph, prior: nn.Module, bound: object) -> tuple[Tensor, Tensor, Tensor]:
        """Slow-force modes [N, P, 3] in eV/Å, invariants behind the last gates [N, 64], what these gate [N, 3, V]."""
        one_hot, extra, start, ahead = self.observe(graph, prior, bound)
        modes, *_ = self.first(start, extra, one_hot)
        correction, features, vectors = self.last(ahead(modes), extra, one_hot)
        return correction + nn.functional.pad(modes, (0, 0, 0, self.modes - modes.shape[1])), features, vectors

    def observe(
        self, graph: Graph, prior: nn.Module, bound: object
    ) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Inputs of both stages.

        Returns one-hot species [N, S], partner vectors [N, 3, E], the field at the start [N, 3, C], and a
        function of stage-0 modes that returns the fields of stage 1 [N, 3, C'], side by side.
        """
        one_hot = nn.functional.one_hot(graph.species.long(), self.species).to(graph.momenta.dtype)
        neighbor_species = species_edges(graph.species, graph.neighbors, self.species).to(one_hot.dtype)
        edges = slots_last(graph.edge_vectors)
        weight = cosine_cutoff(norm(edges, 1).squeeze(1), self.cutoff, self.width)
        weight = torch.where(graph.mask & ~prior.intra_mask(graph, bound), weight, 0.0)
        velocity = graph.momenta / graph.masses.sqrt()[:, None] / self.velocity_scale
        extra = prior.partner_vectors(graph, bound, velocity)
        first_look = self.field.look(edges, weight)
        relative = gather_edges(velocity, graph.neighbors) - velocity[..., None]
        start = self.field(first_look, relative, neighbor_species)

        def ahead(modes: Tensor) -> Tensor:
            hop = self.hop(first_look, torch.cat([start, extra], -1), one_hot, graph.neighbors)
            fields = [start, hop]
            u, v = prior.flow(graph, bound, modes, self.nodes)
            both = torch.cat([u, v / self.velocity_scale], -1).flatten(1)
            changes = gather_edges(both, graph.neighbors) - both[..., None]
            for change in changes.split(6, 1):
                moved, relative = change.split(3, 1)
                look = self.field.look(edges + moved, weight)
                fields.append(self.field(look, relative, neighbor_species))
            return torch.cat(fields, -1)

        return one_hot, extra, start, ahead
