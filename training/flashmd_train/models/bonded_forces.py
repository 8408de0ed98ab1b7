"""Bonds and angles of any molecule: their forces, and the motion under them.

E = Σ ½ k (r − r₀)², or Morse's k/2a² (1 − exp(−a (r − r₀)))², + Σ ½ k_θ (θ − θ₀)². The constants are trainable: tenths
of the logarithms of factors on what the settings give.

===========  ================================================  ==========
r            length of a bond                                  Å
θ            angle between the two arms of an angle            rad
k, k_θ       force constants, by kind                          eV/Å², eV/rad²
r₀, θ₀       rest lengths and angles, by kind                  Å, rad
a            steepness of a Morse bond, by kind; 0: harmonic   1/Å
===========  ================================================  ==========
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from ase import units
from torch import Tensor, nn

from flashmd_train.graph.bonded import BondedAtoms
from flashmd_train.graph.distances import norm
from flashmd_train.graph.nef import Graph
from flashmd_train.models.config import BondedConfig
from flashmd_train.models.kick_drift_kick import kick_drift_kick, verlet_share

# Beyond it the sine of an angle is taken as that of this cosine, as in the runtime.
STRAIGHTEST = 0.999


class Terms(NamedTuple):
    """Constants of every bond, each [B, 1], and of every angle, each [A, 1]; symbols as above.

    Attributes:
        k, length, a: of bonds; a is 1 of harmonic ones.
        morse: True of the others.
        bend, rest: k_θ and θ₀.
    """

    k: Tensor
    length: Tensor
    a: Tensor
    morse: Tensor
    bend: Tensor
    rest: Tensor


class BondedForces(nn.Module):
    """Forces of bonds and angles.

    Args:
        config: kinds, and the constants to begin with.
        inner_timestep_fs: time step of velocity Verlet under them, fs.
    """

    def __init__(self, config: BondedConfig, inner_timestep_fs: float) -> None:
        super().__init__()
        self.config, self.timestep = config, inner_timestep_fs * units.fs
        bonds = [(b.constant_eV_per_A2, b.length_A, b.morse_per_A) for b in config.bonds]
        angles = [(a.constant_eV_per_rad2, a.angle_rad) for a in config.angles]
        self.register_buffer("bond_reference", torch.tensor(bonds, dtype=torch.float32))
        self.register_buffer("angle_reference", torch.tensor(angles, dtype=torch.float32).reshape(-1, 2))
        self.log_bonds = nn.Parameter(torch.zeros(len(bonds), 3))
        self.log_angles = nn.Parameter(torch.zeros(len(angles), 2))

    def bond_constants(self) -> Tensor:
        """k, r₀, a of each kind of bond [T, 3], as trained."""
        return self.bond_reference * torch.exp(0.1 * self.log_bonds)

    def angle_constants(self) -> Tensor:
        """k_θ, θ₀ of each kind of angle [T, 2], as trained."""
        return self.angle_reference * torch.exp(0.1 * self.log_angles)

    def trained(self) -> BondedConfig:
        """The kinds with the constants as trained, seven digits."""

        def rounded(row: list[float]) -> list[float]:
            return [float(f"{value:.7g}") for value in row]

        bonds = [
            kind.model_copy(update=dict(zip(("constant_eV_per_A2", "length_A", "morse_per_A"), rounded(row))))
            for kind, row in zip(self.config.bonds, self.bond_constants().tolist())
        ]
        angles = [
            kind.model_copy(update=dict(zip(("constant_eV_per_rad2", "angle_rad"), rounded(row))))
            for kind, row in zip(self.config.angles, self.angle_constants().tolist())
        ]
        return BondedConfig(bonds=tuple(bonds), angles=tuple(angles))

    def terms(self, atoms: BondedAtoms) -> Terms:
        """The constants of these bonds and angles, which many steps are taken with."""
        k, length, a = self.bond_constants()[atoms.bond_kinds].unsqueeze(-1).unbind(1)
        bend, rest = self.angle_constants()[atoms.angle_kinds].unsqueeze(-1).unbind(1)
        return Terms(k, length, torch.where(a > 0, a, 1.0), a > 0, bend, rest)

    def forward(self, atoms: BondedAtoms) -> Tensor:
        """Forces on the atoms [N, 3], eV/Å."""
        return atoms.to_atoms(gradient(atoms, atoms.vectors, self.terms(atoms)))

    def energies(self, graph: Graph) -> Tensor:
        """Energies of the bonds and angles, of each at its first atom [N], eV."""
        atoms = known_bonds(graph)
        terms, r = self.terms(atoms), norm(atoms.vectors)
        stretch = r - terms.length
        decay = torch.exp(-terms.a * stretch)
        stretched = torch.where(
            terms.morse, 0.5 * terms.k * ((1 - decay) / terms.a).square(), 0.5 * terms.k * stretch.square()
        )
        energies = stretched.new_zeros(len(atoms.joined)).index_add(0, atoms.pairs[:, 0], stretched[:, 0])
        if not len(atoms.arms):
            return energies
        bent = 0.5 * terms.bend * (torch.acos(cosines(atoms, atoms.vectors / r)) - terms.rest).square()
        return energies.index_add(0, atoms.pairs[atoms.arms[:, 0], 0], bent[:, 0])

    def forces(self, graph: Graph, displacement: Tensor, terms: Terms | None = None) -> Tensor:
        """Forces on the atoms [N, 3] (eV/Å) after ``displacement`` [N, 3] (Å); ``terms`` are those of its bonds."""
        atoms = known_bonds(graph)
        return atoms.to_atoms(gradient(atoms, atoms.moved(displacement), terms or self.terms(atoms)))

    def steps(self, time: float) -> int:
        """Time steps in ``time`` (Å √(u/eV)), halves rounded up as in the runtime."""
        return max(1, math.floor(time / self.timestep + 0.5))

    def advance(self, graph: Graph, u: Tensor, p: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Displacements [N, 3] (Å) and momenta [N, 3] (√(eV·u)) after ``time`` (Å √(u/eV)) under these forces."""
        steps = self.steps(time)
        step_time, mass, terms = time / steps, graph.masses[:, None], self.terms(known_bonds(graph))

        def kick(u: Tensor, p: Tensor, step: int) -> Tensor:
            return p + verlet_share(step, steps) * step_time * self.forces(graph, u, terms)

        def drift(u: Tensor, p: Tensor, _: int) -> tuple[Tensor, Tensor]:
            return u + step_time * p / mass, p

        return kick_drift_kick(u, p, steps, kick, drift)


def gradient(atoms: BondedAtoms, vectors: Tensor, terms: Terms) -> Tensor:
    """∂E/∂vectors [B, 3] (eV/Å) of bonds that are ``vectors`` [B, 3] (Å) now."""
    r = norm(vectors)
    along, stretch = vectors / r, r - terms.length
    decay = torch.exp(-terms.a * stretch)
    slope = torch.where(terms.morse, terms.k / terms.a * (1 - decay) * decay, terms.k * stretch)
    if not len(atoms.arms):
        return slope * along
    signs = atoms.signs[..., None]
    arms, cosine = signs * along[atoms.arms], cosines(atoms, along)
    bend = terms.bend * (torch.acos(cosine) - terms.rest) / torch.sqrt(1 - cosine * cosine)
    on_ends = -signs * (bend[:, None] / r[atoms.arms]) * (arms.flip(1) - cosine[:, None] * arms)
    return (slope * along).index_add(0, atoms.arms.flatten(), on_ends.flatten(0, 1))


def cosines(atoms: BondedAtoms, along: Tensor) -> Tensor:
    """Of the angles [A, 1] between bonds in the directions ``along`` [B, 3]."""
    arms = atoms.signs[..., None] * along[atoms.arms]
    return arms.prod(1).sum(1, keepdim=True).clamp(-STRAIGHTEST, STRAIGHTEST)


def known_bonds(graph: Graph) -> BondedAtoms:
    """The bonds of a graph.

    Raises:
        ValueError: nobody has looked for them.
    """
    if graph.bonded is None:
        raise ValueError("the graph knows no bonds: give the data those of the model, Dataset.find_bonds")
    return graph.bonded
