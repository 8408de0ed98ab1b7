"""A potential of methanol that is bonds and angles alone, independent of the code that is tested with it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


class Bonded(Calculator):
    """The energy of methanol's bonds and angles, with forces by central differences."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        q, h = self.atoms.positions, 1e-4
        forces = np.zeros_like(q)
        for index in np.ndindex(q.shape):
            ends = []
            for sign in (1, -1):
                moved = q.copy()
                moved[index] += sign * h
                ends.append(methanol_energy(moved))
            forces[index] = -(ends[0] - ends[1]) / (2 * h)
        self.results = {"energy": methanol_energy(q), "forces": forces}


def methanol_energy(q: np.ndarray) -> float:
    """Of ASE's methanol: C, O, then H of carbon, H of oxygen, and two more of carbon."""
    carbon, oxygen, on_carbon, on_oxygen = 0, 1, (2, 4, 5), 3

    def angle(a: int, b: int, c: int) -> float:
        one, other = q[a] - q[b], q[c] - q[b]
        return float(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))

    def length(a: int, b: int) -> float:
        return float(np.linalg.norm(q[a] - q[b]))

    def morse(k: float, a: float, stretch: float) -> float:
        return k / (2 * a**2) * float(1 - np.exp(-a * stretch)) ** 2

    energy = morse(25.0, 1.8, length(carbon, oxygen) - 1.41) + morse(45.0, 2.2, length(oxygen, on_oxygen) - 0.96)
    energy += 0.5 * 4.0 * (angle(carbon, oxygen, on_oxygen) - 1.88) ** 2
    for number, h in enumerate(on_carbon):
        energy += morse(31.0, 1.7, length(carbon, h) - 1.09) + 0.5 * 3.6 * (angle(oxygen, carbon, h) - 1.92) ** 2
        for other in on_carbon[:number]:
            energy += 0.5 * 3.0 * (angle(h, carbon, other) - 1.9) ** 2
    return float(energy)
