"""Free runs of a direct model: what many strides without a thermostat do to its energy and its temperatures.

======  ===========================================================================================  ============
K_k     kinetic energy of group k of species, of internal momenta, mean over the strides of a run    eV
f_k     degrees of freedom of the group (:func:`flashmd_rs.temperature.degrees_of_freedom`)
θ_k     Σ 2K_k / Σ f_k k_B T, sums over runs: temperature of the group over that of the start
θ       likewise of all atoms
ε       Σ ΔE / (n Σ f k_B T): total energy gained in a run of n strides, by the reference
r       residuals (ε, θ_1 − θ, …, θ_{G−1} − θ), zero of a model that keeps energy and equipartition
======  ===========================================================================================  ============
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from ase import units
from numpy.typing import NDArray

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.explosion import hottest_K
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.temperature import degrees_of_freedom, draw_momenta, internal_momenta
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.references import reference_of
from flashmd_train.models.stride import Stride

F64 = NDArray[np.float64]

# Largest relative standard error of the temperature of a group's start momenta over all runs: from some 20 atoms in 40
# runs. Momenta renew themselves within a run, so its mean temperature is known several times better.
RESOLUTION = 0.03
# A run that gets hotter than this much times its start has exploded; of few atoms, than chance makes it.
EXPLODED = 5.0


class FreeRun(NamedTuple):
    """One run.

    Attributes:
        gained: total energy, eV.
        twice_kinetic: 2K_k by group [G], eV.
        thermal: f_k k_B T by group [G], eV.
    """

    gained: float
    twice_kinetic: F64
    thermal: F64


def resolved_groups(atoms: NDArray[np.int_], masses: tuple[float, ...]) -> list[list[int]]:
    """Species by group, from light to heavy: each group's temperature is known to :data:`RESOLUTION`.

    n start momenta, drawn anew for each run, have a temperature of relative standard error √(2/3n). While that of the
    smallest group is larger, it joins the group next to it in mass, whose errors are the most alike.

    Args:
        atoms: of each species in all runs together [S].
        masses: of the species [S], u.
    """
    found = [[int(s)] for s in np.argsort(masses)]

    def mass(group: list[int]) -> float:
        return float(np.mean([masses[s] for s in group]))

    while len(found) > 1:
        sizes = [int(atoms[group].sum()) for group in found]
        k = int(np.argmin(sizes))
        if 3 * sizes[k] * RESOLUTION**2 >= 2:
            break
        beside = [j for j in (k - 1, k + 1) if 0 <= j < len(found)]
        j = min(beside, key=lambda j: abs(mass(found[j]) - mass(found[k])))
        found[min(j, k) : max(j, k) + 1] = [found[min(j, k)] + found[max(j, k)]]
    return found


@dataclass
class FreeRuns:
    """Runs from held-out boxes, one after the other, with momenta drawn anew: so a box can start several.

    Attributes:
        model: makes the strides.
        validation: held-out pairs, of equilibrium.
        potential: of the data; it is asked for the energy at the two ends of a run.
        groups: species by group.
    """

    model: Stride
    validation: StridePairs
    potential: Potential
    groups: list[list[int]]
    _references: dict[int, Reference] = field(default_factory=dict)
    _start_energies: dict[tuple[int, int], float] = field(default_factory=dict)

    @torch.no_grad()
    def run(self, k: int, strides: int) -> FreeRun:
        """The ``k``-th run.

        Raises:
            FloatingPointError: it explodes.
        """
        f, segment = (int(x) for x in self.validation.index[k % len(self.validation.index)])
        file, species = self.validation.data.files[f], self.validation.data.species[f]
        masses, kT = file.masses.astype(float), units.kB * float(file.temperature_K[segment])
        root, members = np.sqrt(masses)[:, None], [np.isin(species, group) for group in self.groups]
        names = np.select(members, [str(g) for g in range(len(members))], "")
        freedom = degrees_of_freedom(masses, names)
        thermal = kT * np.array([freedom.get(str(g), 0.0) for g in range(len(members))])

        q = file.positions[segment, 0].astype(float)
        p = draw_momenta(masses, kT / units.kB, seed=k)
        # At the temperature of the bath to the last digit, so that runs differ less.
        for member, wanted in zip(members, thermal):
            p[member] *= np.sqrt(wanted / (p[member] ** 2 / masses[member, None]).sum())
        p = internal_momenta(p, masses)
        kinetic, each = np.zeros(len(members)), (p**2 / masses[:, None]).sum(1)
        before = self._start_energy(f, segment, q) + each.sum() / 2
        for number in range(strides):
            stride = self.model.predict(self.validation.data.graph(f, q, p, self.validation.cutoff))
            moved = stride.displacement.numpy() / root
            # As in the runtime, the total momentum stays zero and the centre of mass where it is.
            q = q + moved - (masses[:, None] * moved).sum(0) / masses.sum()
            p = internal_momenta(stride.momenta.numpy() * root, masses)
            each = (p**2 / masses[:, None]).sum(1)
            # Written so that NaN is an explosion as well.
            if not each.sum() < hottest_K(1.0, len(masses), EXPLODED) * thermal.sum():
                raise FloatingPointError(
                    f"a free run from {kT / units.kB:g} K exploded after {number + 1} strides of "
                    f"{self.model.config.stride_fs:g} fs: train the model further, or with a shorter stride"
                )
            kinetic += [each[member].sum() for member in members]
        after = self._reference(f).energy(q) + each.sum() / 2
        return FreeRun(after - before, kinetic / strides, thermal)

    def _reference(self, f: int) -> Reference:
        if f not in self._references:
            self._references[f] = reference_of(self.validation.data.files[f], self.potential)
        return self._references[f]

    def _start_energy(self, f: int, segment: int, q: F64) -> float:
        if (f, segment) not in self._start_energies:
            self._start_energies[f, segment] = self._reference(f).energy(q)
        return self._start_energies[f, segment]


def residuals(runs: list[FreeRun], strides: int) -> F64:
    """r [G] of the runs together."""
    thermal, kinetic = (sum(values) for values in ([r.thermal for r in runs], [r.twice_kinetic for r in runs]))
    gained = sum(run.gained for run in runs) / (strides * thermal.sum())
    departures = kinetic / thermal - kinetic.sum() / thermal.sum()
    return np.array([gained, *departures[:-1]])


def standard_errors(runs: list[FreeRun], strides: int) -> F64:
    """Standard errors of the residuals [G], by jackknife over the runs."""
    without = np.array([residuals(runs[:k] + runs[k + 1 :], strides) for k in range(len(runs))])
    return np.sqrt((len(runs) - 1) * without.var(0))
