"""Splitting models: kicks by gradients of learned scalars and drifts between them, in palindromic order.

Whatever the weights, the map is exactly symplectic, time-reversible, explicit, and conserves the total momentum;
training decides how near it comes to the flow of the reference. Two scalars have the freedom that a harmonic mode
needs: one sets sin(ωΔ)/ω, the other cos(ωΔ), so the fastest mode need not be resolved, only kept below ωΔ = π.

=======  =============================================================  ============
q, p     positions and momenta                                          Å, √(eV·u)
Δ        stride                                                         Å √(u/eV)
W_h      learned scalar number h, a sum over atoms                      eV
h_k      scalar of the k-th kick (``config.kicks``), a palindrome
c_k      share of the k-th drift (``config.drifts``), a palindrome
A(q)     q, or q with bonds at rest where the model is mollified        Å
T(q)     tabulated pair energy                                          eV
V_b(q)   energy of bonds and angle                                      eV
=======  =============================================================  ============

Kick k:   p ← p − Δ ∂W_{h_k}(A(q))/∂q
Drift k:  q ← q + c_k Δ p/m, or the flow over c_k Δ under V_b and T: kick–drift–kick by T at ``pair_timestep_fs``, whose
drifts are kick–drift–kick by V_b at ``inner_timestep_fs`` (r-RESPA).
"""

from __future__ import annotations

import torch
from ase import units
from torch import Tensor, nn

from flashmd_train.backbones.pair_field import held_apart
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph, displaced
from flashmd_train.models.bonded_forces import BondedForces, known_bonds
from flashmd_train.models.config import SplittingConfig
from flashmd_train.models.energy import Energy
from flashmd_train.models.kick_drift_kick import kick_drift_kick, verlet_share
from flashmd_train.models.molecules import Molecules
from flashmd_train.models.mollified import leaves_at_rest, map_positions
from flashmd_train.models.pair_tables import PairTables
from flashmd_train.models.prior import BondedFlow
from flashmd_train.models.stride import Prediction

# The wall falls as this power of the distance: negligible where the data has atoms, and a fifteenth nearer than any of
# its atoms ten times as high as at the nearest.
WALL_POWER = 36
# Nearer than the closest approach over this, where its power would leave the numbers there are, the wall is flat.
LARGEST_RATIO = 4.0


def pair_steps(config: SplittingConfig) -> list[int]:
    """Time steps of the tabulated pair forces in each drift; 1 where there are none."""
    if config.pair_timestep_fs is None:
        return [1] * len(config.drifts)
    return [max(1, round(share * config.stride_fs / config.pair_timestep_fs)) for share in config.drifts]


class Splitting(nn.Module):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride.

    Args:
        config: everything that fixes the model.

    Attributes:
        scalar: the scalars W_h on one trunk.
        flows: the motion under water's bonds and angle of each drift, one set of constants for all; else empty.
        bonded: bonds and angles of any molecule, which act within the drifts, or None.
        tables: pair forces within the drifts, or None.
        closest: closest approach of each pair of species in the data [S, S], Å; set before training.
        repulsion: repulsive force of each pair of species there [S, S], eV/Å, which goes on where atoms are nearer.

    Raises:
        ValueError: settings that do not go together.
    """

    def __init__(self, config: SplittingConfig) -> None:
        super().__init__()
        self.config = config
        heads = max(config.kicks) + 1
        self.scalar = Energy(config.scalar, heads, bonded=config.inner_timestep_fs is None)
        self.flows = self._bonded_flows(config)
        self.bonded = config.bonded and BondedForces(config.bonded, config.inner_timestep_fs)
        self.tables = self._tables(config)
        # The share that makes the map velocity Verlet's if all scalars are their shares of one energy.
        ends = torch.arange(heads) == config.kicks[0]
        self.scalar.share.copy_(torch.where(ends, 0.5, 1.0) / (len(config.kicks) - 1))
        kinds = len(config.species)
        self.register_buffer("closest", torch.zeros(kinds, kinds))
        self.register_buffer("repulsion", torch.zeros(kinds, kinds))

    @staticmethod
    def _bonded_flows(config: SplittingConfig) -> nn.ModuleList:
        if config.bonded is not None:
            return nn.ModuleList()
        if config.inner_timestep_fs is None:
            if config.mollified:
                raise ValueError(
                    "mollified scalars leave bonds out, which must then act within the drifts: give inner_timestep_fs"
                )
            return nn.ModuleList()
        if config.scalar.prior != "bonded":
            raise ValueError(f"inner_timestep_fs wants scalar.prior 'bonded', got {config.scalar.prior!r}")
        times = [share * config.stride_fs / n for share, n in zip(config.drifts, pair_steps(config))]
        if config.inner_timestep_fs > min(times):
            raise ValueError(
                f"got inner_timestep_fs {config.inner_timestep_fs:g}, wanted at most the shortest drift, or "
                f"pair_timestep_fs: {min(times):g} fs"
            )
        flows = [BondedFlow(time, config.inner_timestep_fs) for time in times]
        for flow in flows[1:]:
            flow.log_constants = flows[0].log_constants
        return nn.ModuleList(flows)

    @staticmethod
    def _tables(config: SplittingConfig) -> PairTables | None:
        if config.pair_timestep_fs is None:
            return None
        if config.inner_timestep_fs is None:
            raise ValueError(
                "pair_timestep_fs sets how often pair forces act between the inner steps of bonds and angles, which "
                "inner_timestep_fs asks for: give both"
            )
        return PairTables(len(config.species), config.cutoff_A)

    @property
    def is_hybrid(self) -> bool:
        """True if bonds and angles act within the drifts."""
        return bool(self.flows) or self.bonded is not None

    def wall(self, edge_vectors: Tensor, mask: Tensor, closest: Tensor, repulsion: Tensor) -> Tensor:
        """Repulsive wall ½ Σ_j [ε (r_closest/r)³⁶ + F (r_held − r)] of each atom [N], eV.

        Args:
            edge_vectors: [N, K, 3], Å.
            mask: edges within the cutoff [N, K].
            closest: closest approach of their species [N, K], Å.
            repulsion: force F of their species there [N, K], eV/Å: what is learned stops changing with the distance
                (:func:`~flashmd_train.backbones.pair_field.held_apart`), and without it the atoms would fall on.
        """
        d = norm(edge_vectors).squeeze(-1)
        ratio = torch.where(mask, (closest / d).clamp(max=LARGEST_RATIO), 0.0)
        nearer = torch.where(mask, held_apart(d, closest) - d, 0.0)
        energy = self.config.repulsion_eV * ratio**WALL_POWER + repulsion * nearer
        return 0.5 * (energy * cosine_cutoff(d, self.config.cutoff_A, self.config.scalar.width)).sum(-1)

    def forward(self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor, head: Tensor) -> Tensor:
        """Σ_h head_h W_h of each atom [N], eV; inputs as in the contract."""
        if self.tables is not None:
            return self.scalar(species, edge_vectors, mask, neighbors, head)  # the wall is in the tables
        both = species.long()[:, None], gather_rows(species, neighbors).long()
        closest, repulsion = self.closest[both], self.repulsion[both]
        learned = self.scalar(species, edge_vectors, mask, neighbors, head, closest)
        plain = edge_vectors.detach()
        inside = mask & ((plain * plain).sum(-1) < self.config.cutoff_A**2)
        return learned + (head @ self.scalar.share) * self.wall(edge_vectors, inside, closest, repulsion)

    def force(self, graph: Graph, displacement: Tensor, scalar: int, train: bool) -> Tensor:
        """−∂W(A(q))/∂q [N, 3] (eV/Å) of one scalar.

        Args:
            graph: at the start of the stride.
            displacement: of its atoms since then [N, 3], Å.
            scalar: number of W.
            train: if the force shall be differentiated again.
        """
        head = nn.functional.one_hot(torch.tensor(scalar), len(self.scalar.share)).to(displacement)
        with torch.enable_grad():
            u = displacement if displacement.requires_grad else displacement.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self._scalar(graph, u, head).sum(), u, create_graph=train)
        return -gradient

    def potential(self, graph: Graph) -> Tensor:
        """Potential energy of each atom [N] (eV) that a hybrid's strides conserve, to second order in the stride.

        Of bonds, angles and tables, and of all its kicks together, where these see the atoms.
        """
        assert self.bonded is not None
        still = torch.zeros_like(graph.momenta)
        kicks = torch.tensor([self.config.kicks.count(head) for head in range(len(self.scalar.share))]).to(still)
        energies = self.bonded.energies(graph) + self._scalar(graph, still, kicks)
        return energies if self.tables is None else energies + self.tables.atom_energies(graph, self.joined(graph))

    def _scalar(self, graph: Graph, u: Tensor, head: Tensor) -> Tensor:
        """Σ_h head_h W_h(A(q)) of each atom [N] (eV) after displacements u [N, 3] (Å)."""
        mapped = self._mollified(graph, u) if self.config.mollified else u
        change = gather_rows(mapped, graph.neighbors) - mapped[:, None]
        edges = torch.where(graph.mask[..., None], graph.edge_vectors + change, graph.edge_vectors)
        return self(graph.species, edges, graph.mask, graph.neighbors, head)

    def _mollified(self, graph: Graph, u: Tensor) -> Tensor:
        if self.bonded is None:
            return map_positions(graph, Molecules(graph), u, self.flows[0].constants()[1])
        return leaves_at_rest(graph, u, self.bonded.bond_constants()[known_bonds(graph).bond_kinds, 1])

    def drift(self, graph: Graph, k: int, u: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements [N, 3] (Å) and momenta [N, 3] (√(eV·u)) after the k-th drift."""
        mass = graph.masses[:, None]
        if not self.is_hybrid:
            return u + self.config.drifts[k] * self.config.stride_fs * units.fs * p / mass, p
        steps = pair_steps(self.config)[k]
        time = self.config.drifts[k] * self.config.stride_fs * units.fs / steps

        def bonded_motion(u: Tensor, p: Tensor, _: int = 0) -> tuple[Tensor, Tensor]:
            if self.bonded is not None:
                return self.bonded.advance(graph, u, p, time)
            flow, root = self.flows[k], mass.sqrt()
            now = displaced(graph, u * root, p / root)
            du, v = flow.flow(now, flow.bind(now), torch.zeros_like(p)[:, None], (1.0,))
            return u + du[:, 0], mass * v[:, 0]

        def pair_kick(u: Tensor, p: Tensor, step: int) -> Tensor:
            return p + verlet_share(step, steps) * time * self.pair_forces(graph, u)

        if self.tables is None:
            return bonded_motion(u, p)
        return kick_drift_kick(u, p, steps, pair_kick, bonded_motion)

    def pair_forces(self, graph: Graph, displacement: Tensor) -> Tensor:
        """Forces of the tables [N, 3] (eV/Å) after displacements [N, 3] (Å)."""
        now = displaced(graph, displacement * graph.masses.sqrt()[:, None], graph.momenta)
        return self.tables(now, self.joined(now))

    def joined(self, graph: Graph) -> Tensor:
        """True on edges [N, K] between atoms that bonds or angles join, which the tables leave out."""
        return Molecules(graph).intra if self.bonded is None else known_bonds(graph).joined

    def drift_forces(self, graph: Graph) -> Tensor:
        """Forces [N, 3] (eV/Å) of all that acts within the drifts, where the atoms are."""
        forces = torch.zeros_like(graph.momenta)
        if self.bonded is not None:
            forces = forces + self.bonded.forces(graph, forces)
        elif self.flows:
            forces = forces + self.flows[0].known_forces(Molecules(graph), forces)
        return forces if self.tables is None else forces + self.pair_forces(graph, torch.zeros_like(forces))

    def predict(self, graph: Graph) -> Prediction:
        """One stride from a graph that holds all edges that may come within the cutoff on the way."""
        train = torch.is_grad_enabled() and self.training
        time = self.config.stride_fs * units.fs
        root = graph.masses[:, None].sqrt()

        def kick(u: Tensor, p: Tensor, k: int) -> Tensor:
            return p + time * self.force(graph, u, self.config.kicks[k], train)

        def drift(u: Tensor, p: Tensor, k: int) -> tuple[Tensor, Tensor]:
            return self.drift(graph, k, u, p)

        start = torch.zeros_like(graph.momenta), graph.momenta * root
        u, p = kick_drift_kick(*start, len(self.config.drifts), kick, drift)
        if not train:
            u, p = u.detach(), p.detach()
        return Prediction(root * u, p / root)
