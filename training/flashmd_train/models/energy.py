"""Energy models: bonds and angles, pair terms and a many-body correction, all local to one row.

E_i depends on the edges of atom i alone, so its gradient with respect to the edges needs neither a scatter nor the
reverse edges, and the exported graph is exact at any number of threads.

E_i = E_bonded + ½ Σ_j w_{s_i s_j}·g(r_ij) + N(moments of the neighbours) + baseline of its species.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.layers import Swish
from flashmd_train.backbones.pair_field import BySpecies, PairField, held_apart, radial_functions, species_edges
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import slots_last
from flashmd_train.graph.nef import Graph
from flashmd_train.models.bonded import TIP3P, check_bonded_species
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.molecules import Molecules


class Energy(nn.Module):
    """Per-atom scalars (eV), with water's bonds and angle or without; the zero of the energy is arbitrary.

    One scalar is a potential energy. Several on one trunk are the scalars of a splitting's kicks.

    Args:
        config: everything that fixes the model.
        heads: number of scalars.
        bonded: if bonds and angle are among the terms; False where they act within the drifts between the kicks.

    Attributes:
        pair: weights of the radial functions by unordered pair of species [H, P·R].
        baseline: energy of an atom of each species beside its surroundings' [H, S], eV; it follows the data in
            training.
        share: each scalar's share of bonds and angle, and of a splitting's energy [H].
        log_constants: tenths of the logarithms of factors on k_b, r₀, k_a, θ₀ [H, 4].

    Raises:
        ValueError: the prior does not know the species.
    """

    equivariant = True

    def __init__(self, config: EnergyConfig, heads: int = 1, bonded: bool = True) -> None:
        super().__init__()
        self.config, self.bonded = config, bonded
        self.kinds = kinds = len(config.species)
        if config.prior == "bonded":
            check_bonded_species(config.species)
        self.field = PairField(kinds, config.cutoff_A, config.radial, config.width, config.spacing, config.first_A)
        fan = kinds * config.radial
        # Pre-training sets ``whiten`` from the covariance of the radial functions.
        pairs = torch.triu_indices(kinds, kinds)
        table = torch.zeros(kinds, kinds, dtype=torch.long)
        table[pairs[0], pairs[1]] = table[pairs[1], pairs[0]] = torch.arange(pairs.shape[1])
        self.register_buffer("pair_of", table)
        self.pair = nn.Parameter(torch.zeros(heads, pairs.shape[1] * config.radial))
        self.register_buffer("whiten", torch.eye(pairs.shape[1] * config.radial))
        self.register_buffer("baseline", torch.zeros(heads, kinds))
        self.down = BySpecies(kinds, fan, config.hidden, scale=0.3)
        self.scalars = BySpecies(kinds, fan, config.hidden, scale=0.3)
        if config.angular == 2:
            self.tensors = BySpecies(kinds, fan, config.hidden, scale=0.3)
        bonds = 2 if config.prior == "bonded" else 0
        features = (2 * config.angular + bonds) * config.hidden + kinds
        self.net = nn.Sequential(nn.Linear(features, 64), Swish(), nn.Linear(64, 64), Swish())
        self.out = nn.Linear(64, heads)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.log_constants = nn.Parameter(torch.zeros(heads, 4), requires_grad=bonded and config.prior == "bonded")
        self.register_buffer("share", torch.full((heads,), 1.0 / heads))
        self.register_buffer("reference", torch.tensor(TIP3P, dtype=torch.float32))

    def forward(
        self,
        species: Tensor,
        edge_vectors: Tensor,
        mask: Tensor,
        neighbors: Tensor,
        head: Tensor | None = None,
        closest: Tensor | None = None,
    ) -> Tensor:
        """Σ_h head_h W_h of each atom [N], eV.

        Args:
            species, edge_vectors, mask, neighbors: as in the contract.
            head: weights of the scalars [H], ones by default.
            closest: distances of the edges below which the scalars do not change with them [N, K], Å.
        """
        head = edge_vectors.new_ones(len(self.share)) if head is None else head
        plain = edge_vectors.detach()
        inside = mask & ((plain * plain).sum(-1) < self.config.cutoff_A**2)
        one_hot = nn.functional.one_hot(species.long(), self.kinds).to(edge_vectors.dtype)
        molecules = self.molecules(species, plain, inside, neighbors)
        moments = self.moments(species, edge_vectors, inside, neighbors, molecules, closest)
        down = self.down(moments[:, 1:4], one_hot)
        invariants = [(down * down).sum(1), self.scalars(moments[:, 0], one_hot)]
        if self.config.angular == 2:
            tensors = self.tensors(moments[:, 4:], one_hot)
            invariants += [(tensors * tensors).sum(1), (tensors * quadrupole(down)).sum(1)]
        features = torch.cat([*invariants, one_hot], -1)
        known, orders = self._pair(moments[:, 0], one_hot, head), [features]
        if molecules is not None:
            bonds, is_center = self._bonds(edge_vectors, molecules)
            first, second = (down.transpose(1, 2) @ bonds).unbind(-1)
            # Which hydrogen comes first is arbitrary: the mean over both orders does not depend on it.
            orders = [torch.cat([features, *order], -1) for order in ((first, second), (second, first))]
            if self.bonded:
                known = known + self._bonded(bonds, is_center, head)
        many = torch.stack([self.out(self.net(order)) for order in orders]).mean(0) @ head
        return known + many + one_hot @ (head @ self.baseline)

    def per_atom(self, graph: Graph) -> Tensor:
        """Energies of the atoms of a graph [N], eV."""
        return self(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)

    def moments(
        self,
        species: Tensor,
        edge_vectors: Tensor,
        inside: Tensor,
        neighbors: Tensor,
        molecules: Molecules | None,
        closest: Tensor | None = None,
    ) -> Tensor:
        """Σ_j g_a(r_ij) [s_j = s] Y(r̂_ij) [N, 4 or 9, S·R], Y: one, the unit vector, its quadrupole.

        The sum goes over the neighbours within the cutoff, ``inside`` [N, K], less those of the same molecule.
        """
        outside = inside if molecules is None else inside & ~molecules.intra
        weight = torch.where(outside, 1.0, 0.0)
        theirs = species_edges(species, neighbors, self.kinds).to(weight.dtype) * weight[:, None]
        edges = self.field.edge_basis(slots_last(edge_vectors), weight, closest)
        harmonics = [torch.ones_like(edges.envelope), edges.unit]
        if self.config.angular == 2:
            harmonics.append(quadrupole(edges.unit))
        every = torch.cat(harmonics, 1) * edges.envelope
        each = torch.cat([every * s for s in theirs.split(1, 1)], 1)
        products = torch.bmm(each, edges.radial.transpose(1, 2))
        return products.unflatten(1, (-1, every.shape[1])).transpose(1, 2).flatten(2)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: object) -> None:
        """Runs of before know one zero per atom of the first species, ``offset`` [H]."""
        offset = state_dict.pop(f"{prefix}offset", None)
        if offset is not None:
            state_dict[f"{prefix}baseline"] = nn.functional.pad(offset[:, None], (0, self.kinds - 1))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def molecules(self, species: Tensor, edge_vectors: Tensor, inside: Tensor, neighbors: Tensor) -> Molecules | None:
        """The molecules of a graph; None if no bonds are known."""
        if self.config.prior != "bonded":
            return None
        zeros = torch.zeros_like(edge_vectors[:, 0])
        return Molecules(Graph(species, zeros, zeros[:, 0], edge_vectors, inside, neighbors))

    def _bonds(self, edge_vectors: Tensor, molecules: Molecules) -> tuple[Tensor, Tensor]:
        """Bond vectors [N, 3, 2] of complete molecules (zero elsewhere), and 1.0 on their oxygen rows [N]."""
        complete = molecules.bonded[:, 0]
        first = (edge_vectors * molecules.is_first[..., None]).sum(1) * complete
        second = (edge_vectors * molecules.is_second[..., None]).sum(1) * complete
        return torch.stack([first, second], -1), (complete * molecules.oxygen).squeeze(-1)

    def _bonded(self, bonds: Tensor, is_oxygen: Tensor, head: Tensor) -> Tensor:
        """Energy of bonds and angle on oxygen rows [N], eV: ½ k_b Σ (r − r₀)² + ½ k_a (θ − θ₀)²."""
        constants = self.reference * torch.exp(0.1 * self.log_constants)
        k_b, r_0, k_a, theta_0 = constants.unsqueeze(-1).unbind(1)
        length = norm(bonds.transpose(1, 2)).squeeze(-1)
        cosine = (bonds[..., 0] * bonds[..., 1]).sum(-1) / (length[:, 0] * length[:, 1])
        bend = torch.acos(cosine.clamp(-0.999, 0.999)) - theta_0
        stretch = (length[:, 0] - r_0).square() + (length[:, 1] - r_0).square()
        return 0.5 * ((head * self.share) @ (k_b * stretch + k_a * bend * bend)) * is_oxygen

    def _pair(self, scalars: Tensor, one_hot: Tensor, head: Tensor) -> Tensor:
        """½ Σ_j w_{s_i s_j}·g(r_ij) [N], eV: each pair counts at both ends."""
        weight = (self.whiten @ (head @ self.pair)).reshape(-1, self.config.radial)[self.pair_of].flatten(1)
        return 0.5 * (scalars * (one_hot @ weight)).sum(-1)


def quadrupole(vectors: Tensor) -> Tensor:
    """Real solid harmonics of degree 2 of vectors [N, 3, …]: [N, 5, …], whose norm is the square of the vector's."""
    x, y, z = vectors.split(1, 1)
    xx, yy, zz, root = x * x, y * y, z * z, 3**0.5
    return torch.cat([root * x * y, root * y * z, root * z * x, root / 2 * (xx - yy), zz - (xx + yy) / 2], 1)


def radial_terms(model: Energy, distances: Tensor, closest: Tensor | None = None) -> Tensor:
    """Radial functions of the pair terms times their cutoff [N, R, K].

    Args:
        model: whose.
        distances: [N, 1, K], Å.
        closest: distances below which they do not change [N, 1, K], Å.
    """
    field = model.field
    seen = distances if closest is None else held_apart(distances, closest)
    return radial_functions(seen, field.centers, field.cutoff) * cosine_cutoff(seen, field.cutoff, field.width)


def radial_derivative(model: Energy, distances: Tensor, closest: Tensor | None = None) -> Tensor:
    """Their derivative d/dr [N, R, K], 1/Å, at the same arguments."""
    return torch.func.jvp(lambda d: radial_terms(model, d, closest), (distances,), (torch.ones_like(distances),))[1]
