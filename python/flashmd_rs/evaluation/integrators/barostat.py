"""Monte Carlo barostat for references, of which only energies are needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import units

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference

# Time between two trial moves.
TRIAL_FS = 100.0
# The trial step is adjusted to accept half of the first moves, and then stays: an adjusted one has no equilibrium.
ADJUSTED_MOVES = 100
FIRST_STEP, ADJUSTMENT = 0.01, 1.1


class MonteCarloBarostat:
    """Uniform trial moves of ln V that scale the centres of mass of molecules, accepted by the enthalpy.

    Source: Chow and Ferguson, Comput. Phys. Commun. 91, 283 (1995).

    Args:
        in_cell: the reference in another cell [3, 3], Å, at positions and momenta [A, 3].
        temperature_K: temperature, K.
        pressure_bar: pressure, bar.
    """

    def __init__(
        self, in_cell: Callable[[F64, F64, F64], Reference], temperature_K: float, pressure_bar: float
    ) -> None:
        self._in_cell = in_cell
        self._thermal, self._pressure = units.kB * temperature_K, pressure_bar * units.bar
        self._step, self._moves = FIRST_STEP, 0

    def move(self, reference: Reference, rng: np.random.Generator) -> Reference:
        """One trial move; the reference as it was, or one in the new cell."""
        frame, cell = reference.get(), reference.cell
        change = self._step * rng.uniform(-1, 1)
        factor = np.exp(change / 3)
        positions = frame.positions + (factor - 1) * _centres(frame.positions, reference)
        volume = abs(np.linalg.det(cell))
        work = self._pressure * volume * (np.exp(change) - 1)
        molecules = reference.molecules.max() + 1
        enthalpy = reference.energy(positions, factor * cell) - frame.energy + work
        accepted = rng.random() < np.exp(min(0.0, (molecules + 1) * change - enthalpy / self._thermal))
        if self._moves < ADJUSTED_MOVES:
            self._step *= ADJUSTMENT if accepted else 1 / ADJUSTMENT
        self._moves += 1
        if accepted:
            return self._in_cell(factor * cell, positions, frame.momenta)
        reference.set(frame.positions, frame.momenta)
        return reference


def _centres(positions: F64, reference: Reference) -> F64:
    """Centre of mass of each atom's molecule [A, 3]."""
    mass = np.bincount(reference.molecules, reference.masses)
    centres = [np.bincount(reference.molecules, reference.masses * x) / mass for x in positions.T]
    return np.stack(centres, axis=1)[reference.molecules]
