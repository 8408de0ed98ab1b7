"""Priors: the map of one stride under given slow forces, before anything is learned.

A prior turns the slow force of each atom, a polynomial of time whose coefficients a backbone predicts, into
displacements and velocities. :class:`FreeFlight` is Newton's second law alone. :class:`NoPrior` is not even that: the
network gives the end of the stride itself, as published FlashMD's does. :class:`BondedFlow` adds to free flight the
harmonic bonds and the angle of flexible water too and integrates every molecule with a small inner time step inside
the graph, so that the network is left with the smooth, intermolecular part: the O–H stretch (period 9.5 fs) need not
be learned at any stride.

=======  ==========================================================  ===========  ============
F(s)     slow force, Σ_p L_p(s) F_p                                  eV/Å         [N, 3]
F_p      its Legendre coefficients                                   eV/Å         [N, P, 3]
L_p      Legendre polynomial of order p
s        time inside the stride, from −1 to 1
Δ        stride                                                      Å √(u/eV)
h        inner time step, Δ / steps                                  Å √(u/eV)
u        displacement since the start of the stride                  Å            [N, T, 3]
v        velocity                                                    √(eV/u)      [N, T, 3]
=======  ==========================================================  ===========  ============
"""

from __future__ import annotations

import math

import numpy as np
import torch
from ase import units
from torch import Tensor, nn

from flashmd_train.graph.nef import Graph
from flashmd_train.models.bonded import REDUCED_MASS_OH, TIP3P, bond_forces, bonded_forces, softening
from flashmd_train.models.kick_drift_kick import kick_drift_kick, verlet_share
from flashmd_train.models.molecules import Molecules

Pair = tuple[Tensor, Tensor]


def legendre(fractions: np.ndarray, orders: int) -> Tensor:
    """L_p at times given as fractions of the stride: [T] to [orders, T]."""
    table = np.polynomial.legendre.legvander(2 * np.asarray(fractions) - 1, orders - 1).T
    return torch.tensor(table, dtype=torch.float32)


class WithoutBonds(nn.Module):
    """What all priors that know no bonds say of them."""

    def bind(self, graph: Graph) -> Graph:
        """The graph itself: no molecules are known."""
        return graph

    def intra_mask(self, bound: Graph) -> Tensor:
        """False on all edges [N, K]: no molecules are known."""
        return torch.zeros_like(bound.mask)

    def partner_vectors(self, bound: Graph, velocity: Tensor) -> Tensor:
        """Zeros [N, 3, 4]: no bonds are known."""
        return torch.zeros_like(velocity)[..., None].expand(-1, -1, 4)

    def known_forces(self, bound: Graph, displacement: Tensor) -> Tensor:
        """Zeros [N, 3]: no forces are known."""
        return torch.zeros_like(displacement)


class FreeFlight(WithoutBonds):
    """Motion under the slow force alone, integrated exactly: u = v₀ t + ∬F/m, v = v₀ + ∫F/m.

    Args:
        stride_fs: fs.
        orders: largest number P of Legendre coefficients.
    """

    def __init__(self, stride_fs: float, orders: int) -> None:
        super().__init__()
        self.stride = stride_fs * units.fs
        polynomials = [np.polynomial.legendre.Legendre.basis(p) for p in range(orders)]
        self.once = [p.integ(lbnd=-1) for p in polynomials]
        self.twice = [p.integ(2, lbnd=-1) for p in polynomials]

    def flow(self, graph: Graph, bound: Graph, coefficients: Tensor, fractions: tuple[float, ...]) -> Pair:
        """Displacements and velocities [N, T, 3] at T fractions of the stride, from coefficients [N, P, 3]."""
        v0 = (graph.momenta / graph.masses.sqrt()[:, None])[:, None]
        a = coefficients / graph.masses[:, None, None]
        s = 2 * np.asarray(fractions) - 1
        half = 0.5 * self.stride
        p = coefficients.shape[1]
        once = coefficients.new_tensor(np.array([f(s) for f in self.once[:p]]).T * half)
        twice = coefficients.new_tensor(np.array([f(s) for f in self.twice[:p]]).T * half**2)
        t = coefficients.new_tensor(np.asarray(fractions) * self.stride)[None, :, None]
        return v0 * t + twice @ a, v0 + once @ a


class NoPrior(WithoutBonds):
    """No prior: the network's two vectors per atom are u and p', or p' − p, each in one unit per species.

    The outputs of FlashMD (arXiv 2505.19350, section 3) and the scales that metatrain puts on them.

    Args:
        kinds: number of species.
        momenta_as_difference: if the second vector is p' − p.

    Attributes:
        position_unit: of u [S], Å; set before training.
        momentum_unit: of p' or p' − p [S], √(eV·u); set before training.
    """

    def __init__(self, kinds: int, momenta_as_difference: bool) -> None:
        super().__init__()
        self.momenta_as_difference = momenta_as_difference
        self.register_buffer("position_unit", torch.ones(kinds))
        self.register_buffer("momentum_unit", torch.ones(kinds))

    def flow(self, graph: Graph, bound: Graph, coefficients: Tensor, fractions: tuple[float, ...]) -> Pair:
        """Displacements and velocities [N, 1, 3] at the end of the stride, from the network's vectors [N, 2, 3]."""
        species, root = graph.species.long(), graph.masses.sqrt()[:, None]
        displacement, change = coefficients.unbind(1)
        momenta = change * self.momentum_unit[species][:, None] / root
        if self.momenta_as_difference:
            momenta = graph.momenta + momenta
        return (displacement * self.position_unit[species][:, None])[:, None], (momenta / root)[:, None]


class BondedFlow(nn.Module):
    """Velocity Verlet of each water under bonds, angle and slow forces, unrolled in the graph.

    Each row integrates its own molecule (itself and its two partners), so rows mix only by gathers. The force constants
    are trainable factors on TIP3P's. The bonds' starts softened, since a coarse inner time step raises frequencies:
    velocity Verlet moves a mode of frequency ω at ω', sin(ω'h/2) = ωh/2.

    Args:
        stride_fs: stride of the map, fs.
        inner_timestep_fs: inner time step, fs; the stride is divided into the nearest whole number of steps.
    """

    def __init__(self, stride_fs: float, inner_timestep_fs: float) -> None:
        super().__init__()
        self.stride = stride_fs * units.fs
        self.steps = round(stride_fs / inner_timestep_fs)
        # Tenths of the logarithms of factors on k_b, r₀, k_a, θ₀.
        self.log_constants = nn.Parameter(torch.zeros(4))
        self.register_buffer("reference", torch.tensor(TIP3P, dtype=torch.float32))
        with torch.no_grad():
            self.log_constants[0] = 10 * math.log(softening(TIP3P[0] / REDUCED_MASS_OH, inner_timestep_fs))

    def constants(self) -> Tensor:
        """k_b, r₀ (eV/Å², Å) of the bonds and k_a, θ₀ (eV/rad², rad) of the angle [4], as trained."""
        return self.reference * torch.exp(0.1 * self.log_constants)

    def bind(self, graph: Graph) -> Molecules:
        """Find every atom's molecule."""
        return Molecules(graph)

    def intra_mask(self, bound: Molecules) -> Tensor:
        """True on edges inside a molecule [N, K]."""
        return bound.intra

    def partner_vectors(self, bound: Molecules, velocity: Tensor) -> Tensor:
        """Vectors [N, 3, 4]: from the oxygen to the row's two hydrogens (its own first), and their rates.

        An oxygen has no hydrogen of its own, and which of its two is nearer may change at any time: it gets the mean of
        both, twice. ``velocity`` [N, 3] in any unit; zero for atoms without a molecule.
        """
        of_molecule = bound.collect(velocity)
        vectors = torch.stack([bound.bonds, of_molecule[:, 1:] - of_molecule[:, :1]], 1) * bound.bonded[:, None]
        mean = vectors.mean(2, keepdim=True).expand_as(vectors)
        return torch.where(bound.oxygen[..., None, None], mean, vectors).flatten(1, 2).transpose(1, 2)

    def known_forces(self, bound: Molecules, displacement: Tensor) -> Tensor:
        """Bond and angle forces [N, 3] (eV/Å) after ``displacement`` [N, 3] (Å), with TIP3P's own constants."""
        return bonded_forces(bound, displacement, self.reference)

    def flow(self, graph: Graph, bound: Molecules, coefficients: Tensor, fractions: tuple[float, ...]) -> Pair:
        """Displacements and velocities [N, T, 3] at T fractions of the stride, from coefficients [N, P, 3].

        The state is kept with the atoms last: positions are (u of the oxygen [1, 3, N], bonds to both hydrogens
        [2, 3, N]), and velocities are their rates times h, which saves two products per inner step.
        """
        h = self.stride / self.steps
        # The exporter follows the size of an input, but not that of every intermediate.
        n, p = graph.masses.shape[0], coefficients.shape[1]
        wanted = {round(fraction * self.steps) for fraction in fractions}
        # h²/m of the molecule's three atoms: an impulse h F/m, times h as velocities are.
        impulse = h * h / bound.collect(graph.masses[:, None]).permute(1, 2, 0)
        slow = bound.collect(coefficients.flatten(1)).permute(1, 2, 0).reshape(3, p, 3, n).transpose(0, 1)
        table = legendre(np.arange(self.steps + 1) / self.steps, p).to(coefficients)
        slow = (table.T @ slow.reshape(p, -1)).reshape(-1, 3, 3, n) * impulse
        impulse_o, impulse_h = (impulse * bound.bonded.permute(1, 2, 0)).split((1, 2))
        slow_o, slow_h = slow.split((1, 2), 1)
        slow_h = slow_h - slow_o
        constants = self.constants()
        velocity = h * bound.collect(graph.momenta / graph.masses.sqrt()[:, None]).permute(1, 2, 0)
        v_o, v_h = velocity.split((1, 2))
        v_h = v_h - v_o
        start = bound.bonds.permute(1, 2, 0)
        kept: dict[int, Tensor] = {}

        def changes(bonds: Tensor, step: int) -> Pair:
            """What a whole time step's forces change the velocities of oxygen and bonds by."""
            on_h = bond_forces(bonds, constants)
            recoil = impulse_o * on_h.sum(0, keepdim=True)
            return slow_o[step] - recoil, impulse_h * on_h + (slow_h[step] + recoil)

        def own_motion(u_o: Tensor, bonds: Tensor, v_o: Tensor, v_h: Tensor) -> Tensor:
            """Displacement and velocity [N, 6] of the row's own atom."""
            u = torch.where(bound.oxygen.T, u_o, u_o + bonds - start[0])
            v = torch.where(bound.oxygen.T, v_o, v_o + v_h)
            return torch.cat([u, v / h]).T

        def kick(q: Pair, v: Pair, step: int) -> Pair:
            (u_o, bonds), (v_o, v_h) = q, v
            dv_o, dv_h = changes(bonds, step)
            if step and step in wanted:  # here velocities and positions belong to one time
                kept[step] = own_motion(u_o[0], bonds[0], v_o[0] + 0.5 * dv_o[0], v_h[0] + 0.5 * dv_h[0])
            if verlet_share(step, self.steps) != 1.0:
                dv_o, dv_h = 0.5 * dv_o, 0.5 * dv_h
            return v_o + dv_o, v_h + dv_h

        def drift(q: Pair, v: Pair, step: int) -> tuple[Pair, Pair]:
            return (q[0] + v[0], q[1] + v[1]), v

        kick_drift_kick((torch.zeros_like(v_o), start), (v_o, v_h), self.steps, kick, drift)
        out = torch.stack([kept[step] for step in sorted(kept)], 1)
        return out[..., :3], out[..., 3:]
