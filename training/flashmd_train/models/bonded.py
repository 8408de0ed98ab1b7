"""Bonds and angle of flexible water: their forces, and their constants for an inner time step.

The energy of a molecule is ½ k_b Σ (r − r₀)² + ½ k_a (θ − θ₀)².

=====  =====================================  =========
r      length of an O–H bond                  Å
θ      angle H–O–H                            rad
k_b    force constant of the bonds            eV/Å²
r₀     their length at rest                   Å
k_a    force constant of the angle            eV/rad²
θ₀     the angle at rest                      rad
=====  =====================================  =========
"""

from __future__ import annotations

import math

import torch
from ase import units
from torch import Tensor

from flashmd_train.graph.distances import norm
from flashmd_train.models.molecules import Molecules

# The species whose bonds are known, in this order.
WATER = ("O", "H")
# Harmonic terms of OpenMM's tip3p.xml: eV/Å² and Å; eV/rad² and rad; together (k_b, r₀, k_a, θ₀).
TIP3P_BOND = (462750.4 * 0.01 * units.kJ / units.mol, 0.9572)
TIP3P_ANGLE = (836.8 * units.kJ / units.mol, 1.82421813418)
TIP3P = (*TIP3P_BOND, *TIP3P_ANGLE)
REDUCED_MASS_OH = 15.99943 * 1.007947 / (15.99943 + 1.007947)  # u


def check_bonded_species(species: tuple[str, ...]) -> None:
    """Raise ValueError unless ``species`` are those whose bonds are known."""
    if species != WATER:
        raise ValueError(f"prior 'bonded' knows {WATER}, got {species}; use prior 'free'")


def softening(omega2: float, inner_timestep_fs: float, reference_timestep_fs: float = 0.25) -> float:
    """Factor on a spring so that velocity Verlet gives it the same frequency at either time step.

    Velocity Verlet with step h moves a mode of frequency ω at ω' = (2/h) asin(ωh/2).

    Args:
        omega2: square of the spring's frequency, in ASE's units of time.
        inner_timestep_fs: of the integration that takes the softened spring, fs.
        reference_timestep_fs: of the integration with the spring as it is, fs.
    """
    h, h_reference = inner_timestep_fs * units.fs, reference_timestep_fs * units.fs
    frequency = 2 / h_reference * math.asin(0.5 * h_reference * math.sqrt(omega2))
    return (2 / h * math.sin(0.5 * h * frequency)) ** 2 / omega2


def bond_forces(bonds: Tensor, constants: Tensor) -> Tensor:
    """Bond and angle forces on both hydrogens [2, 3, N] (eV/Å).

    Args:
        bonds: vectors from the oxygen [2, 3, N], Å.
        constants: k_b, r₀, k_a, θ₀ [4].
    """
    k_b, r_0, k_a, theta_0 = constants.unbind()
    length = norm(bonds, 1)
    unit = bonds / length
    other = unit.index_select(0, torch.tensor([1, 0], device=unit.device))
    cosine = (unit * other).sum(1, keepdim=True).clamp(-0.999, 0.999)
    bend = k_a * (torch.acos(cosine) - theta_0) / (torch.sqrt(1 - cosine * cosine) * length)
    return bend * other - (bend * cosine + k_b * (length - r_0)) * unit


def bonded_forces(molecules: Molecules, displacement: Tensor, constants: Tensor) -> Tensor:
    """Bond and angle forces on each row's own atom [N, 3] (eV/Å).

    Args:
        molecules: of the graph.
        displacement: of the atoms since then [N, 3], Å.
        constants: k_b, r₀, k_a, θ₀ [4].
    """
    displaced = molecules.collect(displacement)
    bonds = molecules.bonds + displaced[:, 1:] - displaced[:, :1]
    on_h = bond_forces(bonds.permute(1, 2, 0), constants).permute(2, 0, 1) * molecules.bonded
    return molecules.own(torch.cat([-on_h.sum(1, keepdim=True), on_h], 1))
