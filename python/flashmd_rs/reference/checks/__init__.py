"""Is a data file fit to train on? What is found is said in sentences: refusals and warnings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import h5py

from flashmd_rs.reference.checks.approach import nearest
from flashmd_rs.reference.checks.forces import force_errors
from flashmd_rs.reference.checks.segments import Temperature, has_chains, measure
from flashmd_rs.reference.checks.spectrum import fastest_period_fs, highest_per_cm, period_fs
from flashmd_rs.reference.potentials import Potential

# Probabilities that a good file is refused, and warned of, for its momenta, over all tests.
REFUSED_BY_CHANCE, WARNED_BY_CHANCE = 1e-4, 0.01
# Standard errors by which a mean must be beyond its bound.
ERRORS = 4.0
# Largest drift of the total energy, meV per atom and ps.
LARGEST_DRIFT = 1.0
# Largest fluctuation of the total energy, as a share of the kinetic energy's: velocity Verlet of a step of a tenth of
# the fastest period stays below 0.05, a bath soon makes more.
LARGEST_ENERGY_SHARE = 0.1
# Largest error of forces as a gradient, and of the file's against the potential's, as a share of the forces.
FORCE_TOLERANCE = 0.01
# From this error on forces are refused as no gradient, below it they are warned of. Networks in single precision are
# found between: CHGNet's forces on phosphorus in Li3PS4 by 2.7 %, in simulations that keep their energy all the same.
REFUSED_FORCE_ERROR = 0.03
# Share of the sum of two covalent radii that no two atoms come to, be they as soft as springs: the shortest bonds are
# as long as 0.85 of it, and atoms that have fallen into a hole are at 0.2 and less.
CLOSEST = 0.3
# Segments at each temperature: one to train on and one to validate on at least; a tenth is kept for validation.
FEWEST_SEGMENTS, SEGMENTS_WANTED = 2, 10


class Severity(StrEnum):
    """What a finding means for a training: refused, or worth knowing."""

    REFUSAL = "refusal"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data file.

    Attributes:
        severity: whether one should not train on it, or should know of it.
        sentence: what is wrong, and what to do.
    """

    severity: Severity
    sentence: str


def findings(path: Path, potential: Potential | None = None) -> list[Finding]:
    """Everything that is wrong with a data file; empty if it is fit to train on.

    Args:
        path: HDF5 file of ``flashmd-train generate``.
        potential: whose forces are tested against its energy and against the file's.

    Raises:
        ValueError: no segments in the file, a number that is not finite, or a potential that does not know its atoms.
    """
    return judge(path, measure(path), potential)


def judge(path: Path, temperatures: list[Temperature], potential: Potential | None = None) -> list[Finding]:
    """As :func:`findings`, of a file that has been measured."""
    found = _amount(temperatures)
    # Frames of a run that was watched are not a sample at a temperature.
    if has_chains(_recipe(path)):
        found += _momenta(temperatures) + _distances(path)
    for temperature in temperatures:
        found += _energy(path, temperature)
    found += _spacing(path)
    return found if potential is None else [*found, *_forces(path, potential)]


def _amount(temperatures: list[Temperature]) -> list[Finding]:
    """Too few segments at a temperature."""
    found = []
    for t in temperatures:
        if t.segments < SEGMENTS_WANTED:
            severity = Severity.REFUSAL if t.segments < FEWEST_SEGMENTS else Severity.WARNING
            sentence = (
                f"too few frames at {t.bath_K:g} K: {t.segments} segments, wanted {SEGMENTS_WANTED} or more, a "
                f"tenth of which validates, and at least {FEWEST_SEGMENTS}"
            )
            found.append(Finding(severity, sentence))
    return found


def _momenta(temperatures: list[Temperature]) -> list[Finding]:
    """Momenta that fail a test at a probability that all tests share (Bonferroni)."""
    tests = sum(len(t.ks_p) for t in temperatures)
    return [
        Finding(
            Severity.REFUSAL if p < REFUSED_BY_CHANCE / tests else Severity.WARNING,
            f"{symbol} at {t.bath_K:g} K: momenta are not Maxwell-Boltzmann at {t.expected_K:.1f} K, "
            f"p = {p:.1e} < {WARNED_BY_CHANCE / tests:.1e}",
        )
        for t in temperatures
        for symbol, p in t.ks_p.items()
        if p < WARNED_BY_CHANCE / tests
    ]


def _distances(path: Path) -> list[Finding]:
    """Atoms that have fallen into each other."""
    worst = nearest(path, CLOSEST)
    if worst is None:
        return []
    sentence = (
        f"atoms have fallen into each other: {'–'.join(worst.symbols)} are {worst.distance_A:.2f} Å apart at "
        f"{worst.bath_K:g} K, {worst.share:.2f} of their covalent radii, wanted {CLOSEST:g} or more; the potential has "
        "a hole at short distances: mend it, or simulate at lower temperatures"
    )
    return [Finding(Severity.REFUSAL, sentence)]


def _energy(path: Path, temperature: Temperature) -> list[Finding]:
    """A total energy that drifts, or fluctuates with the kinetic energy."""
    energy = temperature.energy
    if energy is None:
        return []
    drift, error = energy.drift_meV_per_atom_ps
    beyond = abs(drift) - (ERRORS * error if error == error else 0.0)
    cause = "take a shorter time step"
    if "trajectory_sha256" in _recipe(path):
        cause = "simulate without a thermostat, or with a shorter time step"
    found = []
    if beyond > LARGEST_DRIFT:
        found.append(
            f"the total energy at {temperature.bath_K:g} K drifts by {drift:+.2f} ± {error:.2f} meV per atom and "
            f"ps, more than {LARGEST_DRIFT:g}: {cause}"
        )
    if energy.share_of_kinetic > LARGEST_ENERGY_SHARE:
        found.append(
            f"segments at {temperature.bath_K:g} K are not NVE: their total energy fluctuates by "
            f"{energy.share_of_kinetic:.2f} of the kinetic energy's fluctuation, more than "
            f"{LARGEST_ENERGY_SHARE:g}: {cause}"
        )
    return [Finding(Severity.REFUSAL, sentence) for sentence in found]


def _spacing(path: Path) -> list[Finding]:
    """Frames that do not resolve the fastest vibration."""
    spacing_fs, highest = float(str(_recipe(path)["spacing_fs"])), highest_per_cm(path)
    half = 0.5 * period_fs(highest)
    if spacing_fs < half:
        return []
    sentence = (
        f"frames every {spacing_fs:g} fs do not resolve the fastest vibration, {highest:.0f} 1/cm: a spacing below "
        f"{half:.1f} fs would, and strides that are not longer than that are the easiest to learn"
    )
    return [Finding(Severity.WARNING, sentence)]


def _forces(path: Path, potential: Potential) -> list[Finding]:
    """Forces that are no gradient, or not the file's."""
    found = []
    errors = force_errors(path, potential)
    worst = max(errors, key=lambda error: error.relative - ERRORS * error.uncertain)
    if worst.relative > FORCE_TOLERANCE + ERRORS * worst.uncertain:
        refused = worst.relative > REFUSED_FORCE_ERROR + ERRORS * worst.uncertain
        severity = Severity.REFUSAL if refused else Severity.WARNING
        sentence = (
            f"forces of {potential.description} are not the gradient of its energy: {worst.symbol} is worst, by "
            f"{100 * worst.relative:.1f} % ± {100 * worst.uncertain:.1f} % of its forces, more than "
            f"{100 * FORCE_TOLERANCE:g} %; correct the potential, or no model of it conserves energy"
        )
        found.append(Finding(severity, sentence))
    noisy = max(errors, key=lambda error: error.uncertain)
    if noisy.uncertain > FORCE_TOLERANCE:
        sentence = (
            f"energies of {potential.description} are too noisy to test its forces on {noisy.symbol} to better than "
            f"{100 * noisy.uncertain:.1f} %: compute them in double precision"
        )
        found.append(Finding(Severity.WARNING, sentence))
    for error in errors:
        if error.stored is not None and error.stored > FORCE_TOLERANCE:
            sentence = (
                f"the file's forces on {error.symbol} differ by {100 * error.stored:.1f} % from those of "
                f"{potential.description}: it was made by another potential"
            )
            found.append(Finding(Severity.REFUSAL, sentence))
    return found


def _recipe(path: Path) -> dict[str, object]:
    with h5py.File(path, "r") as file:
        recipe: dict[str, object] = json.loads(file.attrs["recipe"])
    return recipe


__all__ = ["Finding", "Severity", "fastest_period_fs", "findings", "highest_per_cm", "judge", "measure"]
