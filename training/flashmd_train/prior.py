"""What is known before anything is learned: the map of one stride under given slow forces.

A prior turns *slow forces* (polynomials in time, one set of coefficients per atom, predicted by a
backbone) into displacements and velocities. ``FreeFlight`` knows nothing but Newton's second law.
``BondedFlow`` knows the harmonic bonds and angle of flexible water as well: it integrates every
molecule with small inner steps inside the graph, so that the network is left with the smooth,
intermolecular part. The OH stretch (period 9.5 fs) is then no learning problem at any stride.

Time inside a stride is s in [-1, 1]; a slow force is F(s) = Σ_p L_p(s) F_p, L_p Legendre polynomials.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from ase import units
from torch import Tensor, nn

from flashmd_train.graph import Graph, gather_rows, gather_slot, norm, slots_last

# An O-H pair closer than this is a bond; hydrogen bonds start at 1.45 Å.
BOND_LENGTH_MAX_A = 1.35
REDUCED_MASS_OH = 15.99943 * 1.007947 / (15.99943 + 1.007947)  # u


def legendre(fractions: np.ndarray, orders: int) -> Tensor:
    """L_p at times given as fractions of the stride: [T] to [orders, T]."""
    table = np.polynomial.legendre.legvander(2 * np.asarray(fractions) - 1, orders - 1).T
    return torch.tensor(table, dtype=torch.float32)


class FreeFlight(nn.Module):
    """Straight flight plus the exact double integral of the slow force; no bonds."""

    def __init__(self, stride_fs: float, orders: int) -> None:
        super().__init__()
        self.stride = stride_fs * units.fs
        self.orders = orders
        polynomials = [np.polynomial.legendre.Legendre.basis(p) for p in range(orders)]
        self.once = [p.integ(lbnd=-1) for p in polynomials]
        self.twice = [p.integ(2, lbnd=-1) for p in polynomials]

    def bind(self, graph: Graph) -> Graph:
        """No partners to find."""
        return graph

    def intra_mask(self, graph: Graph, bound: Graph) -> Tensor:
        """Edges inside a molecule: none are known."""
        return torch.zeros_like(graph.mask)

    def partner_vectors(self, graph: Graph, bound: Graph, velocity: Tensor) -> Tensor:
        """Vectors [N, 3, 4]: none are known, all zero."""
        return torch.zeros_like(velocity)[..., None].expand(-1, -1, 4)

    def fast_forces(self, bound: Graph, displacement: Tensor) -> Tensor:
        """Forces [N, 3] (eV/Å) that are known after ``displacement`` [N, 3] (Å): none."""
        return torch.zeros_like(displacement)

    def flow(self, graph: Graph, bound: Graph, modes: Tensor, fractions: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """Displacements and velocities [N, T, 3] at ``fractions`` of the stride under ``modes`` [N, P, 3]."""
        v0 = (graph.momenta / graph.masses.sqrt()[:, None])[:, None]
        a = modes / graph.masses[:, None, None]
        s = 2 * np.asarray(fractions) - 1
        half = 0.5 * self.stride
        p = modes.shape[1]
        once = modes.new_tensor(np.array([f(s) for f in self.once[:p]]).T * half)
        twice = modes.new_tensor(np.array([f(s) for f in self.twice[:p]]).T * half**2)
        t = modes.new_tensor(np.asarray(fractions) * self.stride)[None, :, None]
        return v0 * t + twice @ a, v0 + once @ a


def softening(omega2: float, inner_fs: float, reference_fs: float = 0.25) -> float:
    """Factor on a spring of frequency² ``omega2`` so that Verlet at ``inner_fs`` swings as at ``reference_fs``."""
    h, h_reference = inner_fs * units.fs, reference_fs * units.fs
    swings = 2 / h_reference * math.asin(0.5 * h_reference * math.sqrt(omega2))
    return (2 / h * math.sin(0.5 * h * swings)) ** 2 / omega2


class BondedFlow(nn.Module):
    """Velocity Verlet of each water under bonds, angle and slow forces, unrolled in the graph.

    Args:
        stride_fs: stride of the map.
        inner_fs: inner time step. The force constants are trainable, because a coarse inner step
            shifts frequencies (sin(ω'h/2) = ωh/2) and a slightly softer spring undoes it.
        bond, angle: (force constant, equilibrium value) in eV/Å², Å and eV/rad², rad.

    Each row integrates its own molecule (itself and its two partners), so rows mix only by gathers.
    """

    def __init__(
        self, stride_fs: float, inner_fs: float, bond: tuple[float, float], angle: tuple[float, float]
    ) -> None:
        super().__init__()
        self.stride = stride_fs * units.fs
        self.steps = round(stride_fs / inner_fs)
        self.log_constants = nn.Parameter(torch.zeros(4))
        self.register_buffer("reference", torch.tensor([*bond, *angle], dtype=torch.float32))
        with torch.no_grad():
            self.log_constants[0] = 10 * math.log(softening(bond[0] / REDUCED_MASS_OH, inner_fs))

    def constants(self) -> Tensor:
        """Force constant and length of the bonds (eV/Å², Å) and of the angle (eV/rad², rad) [4], as trained."""
        return self.reference * torch.exp(0.1 * self.log_constants)

    def bind(self, graph: Graph) -> Molecules:
        """Find every atom's molecule."""
        return Molecules(graph)

    def intra_mask(self, graph: Graph, bound: Molecules) -> Tensor:
        """True on edges inside a molecule [N, K]."""
        return bound.intra

    def partner_vectors(self, graph: Graph, bound: Molecules, velocity: Tensor) -> Tensor:
        """Vectors [N, 3, 4]: from the oxygen to the row's two hydrogens (its own first), and their rates.

        An oxygen has no hydrogen of its own, and which of them is nearer is chance: it gets the mean of both, twice.
        ``velocity`` [N, 3] in any unit; zero for stray atoms.
        """
        of_molecule = bound.collect(velocity)
        pairs = torch.stack([bound.bonds, of_molecule[:, 1:] - of_molecule[:, :1]], 1) * bound.bonded[:, None]
        mean = pairs.mean(2, keepdim=True).expand_as(pairs)
        return torch.where(bound.oxygen[..., None, None], mean, pairs).flatten(1, 2).transpose(1, 2)

    def fast_forces(self, bound: Molecules, displacement: Tensor) -> Tensor:
        """Bond and angle forces [N, 3] (eV/Å) after ``displacement`` [N, 3] (Å)."""
        return bonded_forces(bound, displacement, self.reference)

    def flow(
        self, graph: Graph, bound: Molecules, modes: Tensor, fractions: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        """Displacements and velocities [N, T, 3] at ``fractions`` of the stride under ``modes`` [N, P, 3].

        The state is kept with the atoms last: bonds [2, 3, N] from the oxygen to both hydrogens and
        their rates, displacement and velocity of the oxygen [1, 3, N].
        """
        h = self.stride / self.steps
        n, p, _ = modes.shape
        at = {round(f * self.steps) for f in fractions}
        # Velocities are kept as h·v and kicks as h²/m·F: two products less per inner step.
        kick = h * h / bound.collect(graph.masses[:, None]).permute(1, 2, 0)
        slow = bound.collect(modes.flatten(1)).permute(1, 2, 0).reshape(3, p, 3, n).transpose(0, 1)
        table = legendre(np.arange(self.steps + 1) / self.steps, p).to(modes)
        slow = (table.T @ slow.reshape(p, -1)).reshape(-1, 3, 3, n) * kick
        kick_o, kick_h = (kick * bound.bonded.permute(1, 2, 0)).split((1, 2))
        slow_o, slow_h = slow.split((1, 2), 1)
        slow_h = slow_h - slow_o
        constants = self.constants()
        velocity = h * bound.collect(graph.momenta / graph.masses.sqrt()[:, None]).permute(1, 2, 0)
        v_o, v_h = velocity.split((1, 2))
        v_h = v_h - v_o
        start = bonds = bound.bonds.permute(1, 2, 0)
        u_o = torch.zeros_like(v_o)

        def kicks(bonds: Tensor, step: int) -> tuple[Tensor, Tensor]:
            on_h = bond_forces(bonds, constants)
            recoil = kick_o * on_h.sum(0, keepdim=True)
            return slow_o[step] - recoil, kick_h * on_h + (slow_h[step] + recoil)

        dv_o, dv_h = kicks(bonds, 0)
        v_o, v_h = v_o + 0.5 * dv_o, v_h + 0.5 * dv_h
        kept = {}
        for step in range(1, self.steps + 1):
            u_o = u_o + v_o
            bonds = bonds + v_h
            dv_o, dv_h = kicks(bonds, step)
            if step in at:
                v, rate = v_o[0] + 0.5 * dv_o[0], v_h[0] + 0.5 * dv_h[0]
                u = torch.where(bound.oxygen.T, u_o[0], u_o[0] + bonds[0] - start[0])
                v = torch.where(bound.oxygen.T, v, v + rate)
                kept[step] = torch.cat([u, v / h]).T
            v_o, v_h = v_o + dv_o, v_h + dv_h
        out = torch.stack([kept[step] for step in sorted(kept)], 1)
        return out[..., :3], out[..., 3:]


def bond_forces(bonds: Tensor, constants: Tensor) -> Tensor:
    """Bond and angle forces (eV/Å) on both hydrogens, [2, 3, N], at bond vectors [2, 3, N] (Å)."""
    k_b, r_0, k_a, theta_0 = constants.unbind()
    length = norm(bonds, 1)
    unit = bonds / length
    other = unit.index_select(0, torch.tensor([1, 0], device=unit.device))
    cosine = (unit * other).sum(1, keepdim=True).clamp(-0.999, 0.999)
    bend = k_a * (torch.acos(cosine) - theta_0) / (torch.sqrt(1 - cosine * cosine) * length)
    return bend * other - (bend * cosine + k_b * (length - r_0)) * unit


def bonded_forces(molecules: Molecules, displacement: Tensor, constants: Tensor) -> Tensor:
    """Bond and angle forces [N, 3] (eV/Å) on each row's own atom after displacements [N, 3] (Å) of the atoms."""
    moved = molecules.collect(displacement)
    bonds = molecules.bonds + moved[:, 1:] - moved[:, :1]
    on_h = bond_forces(bonds.permute(1, 2, 0), constants).permute(2, 0, 1) * molecules.bonded
    return molecules.own(torch.cat([-on_h.sum(1, keepdim=True), on_h], 1))


class Molecules:
    """Partners of each row by distance: (O, own H, other H) on hydrogen rows, (O, H, H) on oxygen rows."""

    def __init__(self, graph: Graph) -> None:
        oxygen = graph.species == 0
        self.oxygen = oxygen[:, None]
        other = gather_rows(graph.species, graph.neighbors) != graph.species[:, None]
        edges = slots_last(graph.edge_vectors)
        d = norm(edges, 1).squeeze(1)
        far = torch.full_like(d, 1e3)
        d = torch.where(other & graph.mask, d, far)
        first = d.argmin(1)
        slots = torch.arange(d.shape[1], device=d.device)[None]
        is_first = slots == first[:, None]
        d2 = torch.where(is_first, far, d)
        second = d2.argmin(1)
        is_second = (slots == second[:, None]) & self.oxygen
        self.is_first, self.is_second = is_first, is_second
        self.first = torch.gather(graph.neighbors, 1, first[:, None]).squeeze(1).long()
        self.second = torch.gather(graph.neighbors, 1, second[:, None]).squeeze(1).long()
        to_first = gather_slot(graph.edge_vectors, first)
        to_second = gather_slot(graph.edge_vectors, second)
        bonded_1 = (d.amin(1) < BOND_LENGTH_MAX_A)[:, None]
        bonded_2 = (d2.amin(1) < BOND_LENGTH_MAX_A)[:, None]
        # On oxygen rows: vectors to both hydrogens. A hydrogen learns of the other one from its oxygen.
        total = torch.where(self.oxygen, to_first + to_second, torch.zeros_like(to_first))
        both = bonded_1 & bonded_2 & self.oxygen
        theirs = gather_rows(torch.cat([total, both.to(total.dtype)], 1), self.first)
        own = torch.where(self.oxygen, to_first, -to_first)
        rest = torch.where(self.oxygen, to_second, theirs[:, :3] + to_first)
        complete = both | (~self.oxygen & (theirs[:, 3:] > 0.5) & bonded_1)
        # A stray atom (no complete molecule) flies under its slow force alone; dummy bonds stay finite.
        dummy = torch.eye(3, dtype=own.dtype, device=own.device)[:2]
        self.bonds = torch.where(complete[..., None], torch.stack([own, rest], 1), dummy)
        self.bonded = complete[..., None].to(own.dtype)
        # The edge to the other hydrogen is the one that equals the difference of the bonds, to 0.01 Å.
        difference = edges - (self.bonds[:, 1] - self.bonds[:, 0])[..., None]
        hh = ((difference * difference).sum(1) < 1e-4) & ~self.oxygen
        self.intra = (is_first | is_second | hh) & complete & graph.mask

    def collect(self, rows: Tensor) -> Tensor:
        """[N, C] of atoms to [N, 3, C] of each row's molecule (O, H, H)."""
        one, two = gather_rows(rows, self.first), gather_rows(rows, self.second)
        pair = torch.where(self.oxygen, one + two, torch.zeros_like(one))
        return torch.stack(
            [
                torch.where(self.oxygen, rows, one),
                torch.where(self.oxygen, one, rows),
                torch.where(self.oxygen, two, gather_rows(pair, self.first) - rows),
            ],
            1,
        )

    def own(self, molecule: Tensor) -> Tensor:
        """[N, 3, C] of each row's molecule to the row's own atom [N, C]."""
        return torch.where(self.oxygen, molecule[:, 0], molecule[:, 1])
