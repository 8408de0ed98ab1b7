"""What `check` says of a data file: true of a good one, and each fault found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import openmm
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin
from numpy.typing import NDArray

from flashmd_rs.reference.checks import Finding, Severity, fastest_period_fs, findings, highest_per_cm
from flashmd_rs.reference.factories import Factory
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.potentials import CalculatorPotential, OpenMMPotential
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System, calculator_potential
from flashmd_rs.reference.trajectory_data import TrajectorySource, store_trajectory

EMT_POTENTIAL = calculator_potential("ase.calculators.emt:EMT", description="EMT")


def alloy() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.numbers[::4] = 79
    atoms.set_masses("defaults")
    return atoms


def made(path: Path, segments: int = 12, **changed: object) -> Path:
    settings = {"temperatures_K": (600.0,), "equilibration_ps": 0.5, "timestep_fs": 2.0, "spacing_fs": 8.0}
    generate(path, Recipe(system=System((alloy(),), EMT_POTENTIAL), **(settings | changed)), segments)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("checks") / "good.h5")


def sentences(found: list[Finding], severity: Severity) -> list[str]:
    chosen = [finding.sentence for finding in found if finding.severity is severity]
    assert not any("\n" in sentence for sentence in chosen)
    return chosen


def test_frames_that_came_from_elsewhere_need_no_temperature(good: Path, tmp_path: Path) -> None:
    """As `label` stores frames that a guard collected: without the chains and the bath of a recipe."""
    path = tmp_path / "labelled.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        file["momenta"][:] *= 2.0
        file["energy"][:] -= 0.5 * (1 - 1 / 4) * (file["momenta"][:] ** 2 / file["masses"][:][:, None]).sum((2, 3))
    assert any("Maxwell" in sentence for sentence in sentences(findings(path), Severity.REFUSAL))
    with h5py.File(path, "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps(
            {k: v for k, v in recipe.items() if k not in ("replicas", "decorrelation_fs")}
        )
    assert sentences(findings(path), Severity.REFUSAL) == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w"), pytest.raises(ValueError, match="is not a file of segments"):
        findings(tmp_path / "other.h5")


class GoldPulledHarder(EMT):
    """Forces on gold are 5 % too large."""

    def calculate(self, *args: object, **kwargs: object) -> None:
        super().calculate(*args, **kwargs)
        self.results["forces"][self.atoms.numbers == 79] *= 1.05


class SinglePrecision(EMT):
    """Energies and forces as a network in single precision gives them, rounded at an energy of a thousand eV."""

    def calculate(self, *args: object, **kwargs: object) -> None:
        super().calculate(*args, **kwargs)
        self.results["energy"] = float(np.float32(self.results["energy"] - 1000.0))
        self.results["forces"] = self.results["forces"].astype(np.float32).astype(float)


def own(name: str, description: str) -> CalculatorPotential:
    """The potential of a calculator of this file."""
    return CalculatorPotential(Factory(f"{__name__}:{name}"), description)


def test_a_good_file_passes(good: Path) -> None:
    assert findings(good, EMT_POTENTIAL) == []


def test_single_precision_passes(good: Path) -> None:
    assert findings(good, own("SinglePrecision", "EMT in single precision")) == []


def test_forces_that_are_no_gradient_are_refused_and_the_species_named(good: Path) -> None:
    refused = sentences(findings(good, own("GoldPulledHarder", "EMT with a fault")), Severity.REFUSAL)
    assert len(refused) == 2
    assert "forces of EMT with a fault are not the gradient of its energy: Au is worst" in refused[0]
    assert refused[1].startswith("the file's forces on Au differ by 4.8 % from those of EMT with a fault")


def test_a_time_step_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "long.h5", timestep_fs=20.0, spacing_fs=20.0, length_fs=160.0)
    refused = sentences(findings(path), Severity.REFUSAL)
    assert len(refused) == 1
    assert "are not NVE" in refused[0]
    assert refused[0].endswith("take a shorter time step")


def test_a_total_energy_that_drifts_is_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "drift.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        file["energy"][:] += 0.003 * 32 * 8e-3 * np.arange(9)
    [refused] = sentences(findings(path), Severity.REFUSAL)
    assert refused.startswith("the total energy at 600 K drifts by +")
    assert float(refused.split()[8]) == pytest.approx(3.0, abs=0.3)
    assert refused.endswith("take a shorter time step")


def test_atoms_that_fell_into_each_other_are_refused(good: Path, tmp_path: Path) -> None:
    """As a fitted potential without repulsion lets them, where its data had no such pairs."""
    path = tmp_path / "fallen.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        cell = file["cell"][:]
        # Through the border of the cell.
        file["positions"][3, -1, 1] = file["positions"][3, -1, 0] + cell[0] + [0.5, 0.0, 0.0]
    [refused] = sentences(findings(path), Severity.REFUSAL)
    assert "atoms have fallen into each other" in refused
    assert "0.50 Å apart at 600 K" in refused


def test_a_thermostatted_trajectory_is_called_so(tmp_path: Path) -> None:
    atoms = alloy()
    atoms.calc = EMT()
    rng = np.random.default_rng(5)
    atoms.set_momenta(rng.normal(size=(32, 3)) * np.sqrt(600 * units.kB * atoms.get_masses())[:, None])
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=600, friction=0.005 / units.fs, fixcm=False, rng=rng)
    frames: list[Atoms] = []

    def keep() -> None:
        frame = atoms.copy()
        frame.info["time_fs"] = 8.0 * len(frames)
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(frame)

    dynamics.attach(keep, interval=4)
    dynamics.run(640)
    write(tmp_path / "nvt.traj", frames)
    store_trajectory(tmp_path / "nvt.h5", TrajectorySource(path=tmp_path / "nvt.traj", spacing_fs=8.0), str)
    refused = sentences(findings(tmp_path / "nvt.h5"), Severity.REFUSAL)
    assert any("are not NVE" in sentence and "simulate without a thermostat" in sentence for sentence in refused)


@pytest.mark.parametrize(("segments", "severity"), [(1, Severity.REFUSAL), (5, Severity.WARNING)])
def test_too_few_frames_are_said(good: Path, tmp_path: Path, segments: int, severity: Severity) -> None:
    path = tmp_path / "few.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        for name in ("positions", "momenta", "forces", "energy", "temperature_K"):
            file[name].resize(segments, axis=0)
    few = [s for s in sentences(findings(path), severity) if "too few frames at 600 K" in s]
    assert few == [
        f"too few frames at 600 K: {segments} segments, wanted 10 or more, a tenth of which validates, and at least 2"
    ]


def harmonic(path: Path, per_cm: NDArray[np.float64], spacing_fs: float, frames: int, forces: bool = True) -> Path:
    """Exact segments of oscillators of these wave numbers, mixed at random as the modes of a crystal are."""
    rng = np.random.default_rng(0)
    omega = 2 * np.pi * per_cm * 2.99792458e-5 / units.fs
    angle = omega * spacing_fs * units.fs * np.arange(frames)[:, None]
    a, b = 0.1 * rng.normal(size=(2, 60, 1, len(omega)))
    mix, _ = np.linalg.qr(rng.normal(size=(len(omega), len(omega))))
    v = (a * np.cos(angle) + b * np.sin(angle)) @ mix
    f = (omega * (b * np.cos(angle) - a * np.sin(angle))) @ mix
    with h5py.File(path, "w") as file:
        file["momenta"], file["temperature_K"] = v.reshape(60, frames, -1, 3).astype("f4"), np.full(60, 300.0)
        file["numbers"], file["masses"] = np.full(len(omega) // 3, 1), np.ones(len(omega) // 3)
        if forces:
            file["forces"] = f.reshape(60, frames, -1, 3).astype("f4")
        file.attrs["recipe"] = json.dumps({"spacing_fs": spacing_fs})
    return path


@pytest.mark.parametrize(("spacing_fs", "frames"), [(1.0, 65), (8.0, 9), (16.0, 5), (32.0, 3)])
def test_the_top_of_a_harmonic_crystals_spectrum_is_found(tmp_path: Path, spacing_fs: float, frames: int) -> None:
    """Against the dispersion of a chain of springs, in segments of 64 fs, a little more than a period."""
    chain = 300 * np.sin(np.linspace(0.02, np.pi / 2, 60))
    found = highest_per_cm(harmonic(tmp_path / "chain.h5", chain, spacing_fs, frames))
    assert found == pytest.approx(300, rel=0.12)
    if spacing_fs <= 16.0:
        found = highest_per_cm(harmonic(tmp_path / "bare.h5", chain, spacing_fs, frames, forces=False))
        assert found == pytest.approx(300, rel=0.15)


def flexible_water() -> tuple[Atoms, openmm.System]:
    """27 molecules of flexible TIP3P far from each other, without their charges."""
    system, bonds, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    positions = []
    for k in range(27):
        at = 20.0 * np.array(np.unravel_index(k, (3, 3, 3)))
        positions += [at, at + np.array([0.9572, 0, 0]), at + np.array([-0.24, 0.9266, 0])]
        for mass in (15.999, 1.008, 1.008):
            system.addParticle(mass)
        for hydrogen in (1, 2):
            bonds.addBond(3 * k, 3 * k + hydrogen, 0.09572, 462750.4)
        angles.addAngle(3 * k + 1, 3 * k, 3 * k + 2, np.radians(104.52), 836.8)
    system.addForce(bonds)
    system.addForce(angles)
    return Atoms("OH2" * 27, positions, masses=[15.999, 1.008, 1.008] * 27), system


@pytest.mark.parametrize("spacing_fs", [2.0, 8.0])
def test_waters_stretch_is_found_in_sparse_frames(tmp_path: Path, spacing_fs: float) -> None:
    """The antisymmetric stretch of a spring of 462750 kJ/mol/nm² at 104.52° and its masses is at 3736 1/cm."""
    atoms, system = flexible_water()
    potential = OpenMMPotential(openmm.XmlSerializer.serialize(system), "flexible TIP3P")
    settings = {"temperatures_K": (300.0,), "equilibration_ps": 0.2, "timestep_fs": 0.25, "spacing_fs": spacing_fs}
    path = tmp_path / "water.h5"
    generate(path, Recipe(system=System((atoms,), potential), **settings), 20)
    masses = 1 / 1.008 + (1 + np.cos(np.radians(180 - 104.52))) / 15.999
    stretch = np.sqrt(462750.4 * masses) / (2 * np.pi * 2.99792458e-2)
    assert stretch == pytest.approx(3736, abs=1)
    assert highest_per_cm(path) == pytest.approx(stretch, rel=0.05)
    assert fastest_period_fs(path) == pytest.approx(8.93, rel=0.05)
    warned = [s for s in sentences(findings(path, potential), Severity.WARNING) if "do not resolve" in s]
    assert len(warned) == (spacing_fs > 4.0)


def test_a_disk_that_fills_leaves_whole_segments_and_says_so(good: Path, tmp_path: Path) -> None:
    """A limit on the size of files, in a process of its own, stands for the disk."""
    path = tmp_path / "full.h5"
    short = {"equilibration_ps": 0.02, "decorrelation_fs": 8.0}
    made(path, 2, **short)
    limit = path.stat().st_size + (1 << 20) + 60_000
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from pathlib import Path\n"
        "from test_checks import made\n"
        f"try:\n    made(Path(sys.argv[1]), 40, **{short})\n"
        "except OSError as error:\n    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    with h5py.File(path) as file:
        kept = len(file["temperature_K"])
        assert 2 < kept < 40
        assert all(len(file[name]) == kept for name in ("positions", "momenta", "forces", "energy"))
        assert np.abs(file["momenta"][-1]).max() > 0
    said = f"{path} holds {kept} whole segments and there is no room for more (File too large): make room and run again"
    assert (run.returncode, run.stdout) == (0, f"{said}\n")
    made(path, kept + 1, **short)
    made(tmp_path / "whole.h5", kept + 1, **short)
    with h5py.File(path) as file, h5py.File(tmp_path / "whole.h5") as whole:
        assert np.array_equal(file["positions"], whole["positions"])
