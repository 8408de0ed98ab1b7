"""The splitting model: kicks by gradients of learned scalars, drifts between them, palindromic.

Any weights give an exactly symplectic, time-reversible, explicit map that conserves the total momentum; training only
decides how near it comes to the flow. Two scalars have the freedom that a harmonic mode needs: one sets sin(ωΔ)/ω, the
other cos(ωΔ), so the fastest mode need not be resolved, only kept below ωΔ = π.
"""

from __future__ import annotations

import torch
from ase import units
from torch import Tensor, nn

from flashmd_rs.reference.water import TIP3P_ANGLE, TIP3P_BOND
from flashmd_train.config import SplittingConfig
from flashmd_train.direct import Prediction
from flashmd_train.energy import Energy
from flashmd_train.graph import Graph, gather_rows, moved, norm
from flashmd_train.pairs import PairTables
from flashmd_train.prior import BondedFlow, Molecules

# The wall falls as this power of the distance: nothing where atoms are, insurmountable where none have been.
WALL_POWER = 12


def pair_steps(config: SplittingConfig) -> list[int]:
    """Steps of the pair forces in each drift; one where there are none."""
    if config.pairs_fs is None:
        return [1] * len(config.drifts)
    return [max(1, round(share * config.stride_fs / config.pairs_fs)) for share in config.drifts]


def at_rest(graph: Graph, molecules: Molecules, u: Tensor, length: Tensor) -> Tensor:
    """Displacements [N, 3] (Å) to where bonds have that length along themselves, from those of the atoms, u.

    The centre of mass of each molecule stays (mollified impulse, equilibrium version: Izaguirre, Reich & Skeel,
    J. Chem. Phys. 110, 9853 (1999)).
    """
    moved = molecules.collect(u)
    bonds = molecules.bonds + moved[:, 1:] - moved[:, :1]
    missing = (length / norm(bonds) - 1) * bonds * molecules.bonded
    masses = molecules.collect(graph.masses[:, None])
    shift = -(masses[:, 1:] * missing).sum(1) / masses.sum(1)
    return u + shift + torch.where(molecules.oxygen, 0.0, missing[:, 0])


class Splitting(nn.Module):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride."""

    noise = None

    def __init__(self, config: SplittingConfig) -> None:
        super().__init__()
        self.config = config
        heads = max(config.kicks) + 1
        self.scalar = Energy(config.scalar, heads, swings=config.fast_fs is None)
        self.flows = self._fast_flows(config)
        self.tables = self._tables(config)
        # Each scalar's share of the energy, were the map velocity Verlet's.
        ends = torch.arange(heads) == config.kicks[0]
        self.scalar.share.copy_(torch.where(ends, 0.5, 1.0) / (len(config.kicks) - 1))
        kinds = len(config.species)
        # Closest approaches in the data, Å; set from it before training.
        self.register_buffer("closest", torch.zeros(kinds, kinds))

    @staticmethod
    def _fast_flows(config: SplittingConfig) -> nn.ModuleList:
        """What happens in each drift where bonds and angles are known: one set of constants for all."""
        if config.fast_fs is None:
            if config.mollified:
                raise ValueError("mollified scalars leave bonds out, which then must swing: give fast_fs, their step")
            return nn.ModuleList()
        if config.scalar.prior != "bonded":
            raise ValueError(f"fast_fs wants scalar.prior 'bonded', got {config.scalar.prior!r}")
        times = [share * config.stride_fs / n for share, n in zip(config.drifts, pair_steps(config))]
        if config.fast_fs > min(times):
            raise ValueError(
                f"got fast_fs {config.fast_fs:g}, wanted at most the shortest drift, or pairs_fs: {min(times):g} fs"
            )
        flows = [BondedFlow(time, config.fast_fs, TIP3P_BOND, TIP3P_ANGLE) for time in times]
        for flow in flows[1:]:
            flow.log_constants = flows[0].log_constants
        return nn.ModuleList(flows)

    @staticmethod
    def _tables(config: SplittingConfig) -> PairTables | None:
        """What acts between the swings of a drift, if anything does."""
        if config.pairs_fs is None:
            return None
        if config.fast_fs is None:
            raise ValueError(
                "pairs_fs says how often pair forces act between swings, which fast_fs asks for: give both"
            )
        return PairTables(len(config.species), config.cutoff_A)

    def wall(self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor) -> Tensor:
        """Half of Σ_j ε (r_closest/r)¹², [N] eV."""
        d = norm(edge_vectors).squeeze(-1)
        closest = self.closest[species.long()[:, None], gather_rows(species, neighbors).long()]
        ratio = torch.where(mask, closest / d.clamp(min=0.1), 0.0)
        return 0.5 * self.config.repulsion_eV * (ratio**WALL_POWER).sum(-1)

    def forward(self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor, head: Tensor) -> Tensor:
        """Per-atom scalar Σ_h head_h W_h, [N] eV; inputs as in the contract."""
        learned = self.scalar(species, edge_vectors, mask, neighbors, head)
        if self.tables is not None:
            return learned  # The wall stands in the tables.
        plain = edge_vectors.detach()
        inside = mask & ((plain * plain).sum(-1) < self.config.cutoff_A**2)
        return learned + (head @ self.scalar.share) * self.wall(species, edge_vectors, inside, neighbors)

    def force(self, graph: Graph, displacement: Tensor, scalar: int, train: bool) -> Tensor:
        """−∂W/∂q [N, 3] (eV/Å) of one scalar, after displacements [N, 3] (Å) of the graph's atoms."""
        head = nn.functional.one_hot(torch.tensor(scalar), len(self.scalar.share)).to(displacement)
        with torch.enable_grad():
            u = displacement if displacement.requires_grad else displacement.detach().requires_grad_(True)
            seen = at_rest(graph, Molecules(graph), u, self.flows[0].constants()[1]) if self.config.mollified else u
            change = gather_rows(seen, graph.neighbors) - seen[:, None]
            edges = torch.where(graph.mask[..., None], graph.edge_vectors + change, graph.edge_vectors)
            total = self(graph.species, edges, graph.mask, graph.neighbors, head).sum()
            (gradient,) = torch.autograd.grad(total, u, create_graph=train)
        return -gradient

    def drift(self, graph: Graph, k: int, u: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements [N, 3] (Å) and momenta [N, 3] after the k-th drift."""
        mass = graph.masses[:, None]
        if not self.flows:
            return u + self.config.drifts[k] * self.config.stride_fs * units.fs * p / mass, p
        flow, root = self.flows[k], mass.sqrt()

        def swing(u: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
            now = moved(graph, u * root, p / root)
            du, v = flow.flow(now, flow.bind(now), torch.zeros_like(p)[:, None], (1.0,))
            return u + du[:, 0], mass * v[:, 0]

        if self.tables is None:
            return swing(u, p)
        steps = pair_steps(self.config)[k]
        time = self.config.drifts[k] * self.config.stride_fs * units.fs / steps
        p = p + 0.5 * time * self.pair_forces(graph, u)
        for step in range(steps):
            u, p = swing(u, p)
            p = p + (1.0 if step < steps - 1 else 0.5) * time * self.pair_forces(graph, u)
        return u, p

    def pair_forces(self, graph: Graph, u: Tensor) -> Tensor:
        """Forces [N, 3] (eV/Å) of the tables after displacements [N, 3] (Å)."""
        now = moved(graph, u * graph.masses.sqrt()[:, None], graph.momenta)
        return self.tables(now, Molecules(now))

    def fast_forces(self, graph: Graph) -> Tensor:
        """Forces [N, 3] (eV/Å) of all that acts in the drifts, where the atoms are."""
        forces = torch.zeros_like(graph.momenta)
        if self.flows:
            forces = forces + self.flows[0].fast_forces(Molecules(graph), forces)
        return forces if self.tables is None else forces + self.pair_forces(graph, torch.zeros_like(forces))

    def predict(self, graph: Graph) -> Prediction:
        """One stride."""
        train = torch.is_grad_enabled() and self.training
        time = self.config.stride_fs * units.fs
        mass = graph.masses[:, None]
        root = mass.sqrt()
        u = torch.zeros_like(graph.momenta)
        p = graph.momenta * root
        for k, scalar in enumerate(self.config.kicks):
            p = p + time * self.force(graph, u, scalar, train)
            if k < len(self.config.drifts):
                u, p = self.drift(graph, k, u, p)
        if not train:
            u, p = u.detach(), p.detach()
        return Prediction(root * u, p / root, None, u.new_zeros(len(u), 1))
