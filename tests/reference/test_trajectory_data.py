"""Trajectories of other programs: cut into segments as they are, or refused in one sentence."""

from __future__ import annotations

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
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY
from flashmd_rs.reference.potentials import OpenMMPotential
from flashmd_rs.reference.system import calculator_potential
from flashmd_rs.reference.trajectory_data import TrajectorySource, store_trajectory
from flashmd_rs.reference.velocity_offset import velocity_offset
from flashmd_rs.writers.h5md import H5mdSegment

SPACING_FS = 4.0
EMT_POTENTIAL = calculator_potential("ase.calculators.emt:EMT")


@pytest.fixture(scope="module")
def run() -> list[Atoms]:
    """A velocity Verlet run of a hot copper-gold crystal by ASE, unwrapped, with times, energies and forces."""
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.numbers[::4] = 79
    atoms.set_masses("defaults")
    atoms.calc = EMT()
    thermalize_momenta(atoms, 1200.0, rng=np.random.default_rng(1))
    Stationary(atoms)
    frames: list[Atoms] = []

    def keep() -> None:
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, momenta=atoms.get_momenta())
        frame.info["time_fs"] = SPACING_FS * len(frames)
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(frame)

    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(keep, interval=2)
    dynamics.run(200)
    return frames


def changed(frames: list[Atoms], **changes: object) -> list[Atoms]:
    """Copies with other positions, momenta or cells, given as functions of the number of the frame and its values."""
    copies = []
    for k, frame in enumerate(frames):
        copy = frame.copy()
        results = dict(frame.calc.results)
        for name, change in changes.items():
            getattr(copy, f"set_{name}")(change(k, getattr(copy, f"get_{name}")()))
        copy.calc = SinglePointCalculator(copy, **results)
        copies.append(copy)
    return copies


def stored(tmp_path: Path, name: str = "md.extxyz", **options: object) -> h5py.File:
    said: list[str] = []
    store_trajectory(tmp_path / "md.h5", TrajectorySource(path=tmp_path / name, **options), said.append)
    assert len(said) == 1
    return h5py.File(tmp_path / "md.h5")


def refused(tmp_path: Path, match: str, name: str = "md.extxyz", **options: object) -> None:
    with pytest.raises(ValueError, match=match) as error:
        store_trajectory(tmp_path / "md.h5", TrajectorySource(path=tmp_path / name, **options), str)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "md.h5").exists()


def assert_same_run(file: h5py.File, run: list[Atoms], places: float = 1e-6) -> None:
    """The segments of the file, one after the other, are the run."""
    segments, frames = file["positions"].shape[:2]
    assert (segments, frames) == ((len(run) - 1) // (frames - 1), frames)
    for s in range(segments):
        own = run[s * (frames - 1) : s * (frames - 1) + frames]
        truth = np.array([atoms.positions for atoms in own])
        apart = file["positions"][s] - truth
        assert np.abs(apart - apart[0]).max() < 10 * places  # whole lattice vectors are the same in every frame
        boxes = apart[0] @ np.linalg.inv(own[0].cell)
        assert np.abs(boxes - np.round(boxes)).max() < places
        assert np.abs(file["momenta"][s] - [atoms.get_momenta() for atoms in own]).max() < 10 * places


def test_segments_are_the_run(run: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "md.extxyz", run)
    with stored(tmp_path) as file:
        assert_same_run(file, run)
        forces = np.array([atoms.calc.results["forces"] for atoms in run[:17]])
        assert np.abs(file["forces"][0] - forces).max() < 1e-6
        assert np.allclose(file["energy"][1], [atoms.get_potential_energy() for atoms in run[16:33]], atol=1e-7)
        kinetic = np.mean([atoms.get_kinetic_energy() for atoms in run])
        assert file["temperature_K"][0] == pytest.approx(2 * kinetic / (3 * len(run[0]) - 3) / units.kB, abs=0.051)
        assert '"spacing_fs": 4.0' in file.attrs["recipe"]
        assert '"reference": "trajectory md.extxyz"' in file.attrs["recipe"]


def test_a_rerun_leaves_the_file_and_another_trajectory_is_refused(run: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "md.extxyz", run)
    stored(tmp_path).close()
    before = (tmp_path / "md.h5").read_bytes()
    stored(tmp_path).close()
    assert (tmp_path / "md.h5").read_bytes() == before
    write(tmp_path / "md.extxyz", run[16:])
    with pytest.raises(ValueError, match="made by another recipe"):
        stored(tmp_path)


def test_jumps_over_the_box_are_mended(run: list[Atoms], tmp_path: Path) -> None:
    wrapped = changed(run)
    for frame in wrapped:
        frame.wrap()
    assert np.abs(np.diff([frame.positions for frame in wrapped], axis=0)).max() > 3.0
    write(tmp_path / "md.extxyz", wrapped)
    with stored(tmp_path) as file:
        assert_same_run(file, run)


def test_without_energies_there_are_none_and_a_potential_labels(run: list[Atoms], tmp_path: Path) -> None:
    bare = [frame.copy() for frame in run]
    write(tmp_path / "md.extxyz", bare)
    with stored(tmp_path) as file:
        assert "forces" not in file
        assert "energy" not in file
        assert_same_run(file, run)
    (tmp_path / "md.h5").unlink()
    with stored(tmp_path, potential=EMT_POTENTIAL) as file:
        assert np.abs(file["forces"][0, 3] - run[3].calc.results["forces"]).max() < 1e-5
        assert file["energy"][0, 3] == pytest.approx(run[3].calc.results["energy"], abs=1e-6)


def test_times_without_a_point(run: list[Atoms], tmp_path: Path) -> None:
    whole = changed(run)
    for frame in whole:
        frame.info["time_fs"] = int(frame.info["time_fs"])
    write(tmp_path / "md.extxyz", whole)
    assert "time_fs=4 " in (tmp_path / "md.extxyz").read_text()
    with stored(tmp_path) as file:
        assert_same_run(file, run)


def test_formats_of_several_programs(run: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "md.traj", [frame.copy() for frame in run])
    own = H5mdSegment(tmp_path / "md.h5md")
    for frame in run:
        frame.info["time_ps"] = frame.info["time_fs"] / 1000
        own.write(frame)
    own.close()
    write(tmp_path / "top.extxyz", run[0])
    _write_trr(tmp_path / "md.trr", run)
    _write_dump(tmp_path / "md.lammpstrj", run)
    for name, options, places in (
        ("md.traj", {"spacing_fs": SPACING_FS}, 1e-6),
        ("md.h5md", {}, 1e-6),
        ("md.trr", {"topology": tmp_path / "top.extxyz"}, 1e-5),
        ("md.lammpstrj", {"spacing_fs": SPACING_FS, "units": "real"}, 1e-5),
    ):
        with stored(tmp_path, name, **options) as file:
            assert_same_run(file, run, places)
            assert ("energy" in file) == (name == "md.h5md")
        (tmp_path / "md.h5").unlink()


def _write_trr(path: Path, run: list[Atoms]) -> None:
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(len(run[0]), trajectory=True, velocities=True)
    with mda.Writer(str(path), len(run[0])) as writer:
        for frame in run:
            universe.atoms.positions = frame.positions
            universe.atoms.velocities = frame.get_velocities() * 1000 * units.fs
            universe.dimensions = frame.cell.cellpar()
            universe.trajectory.ts.time = frame.info["time_fs"] / 1000
            writer.write(universe.atoms)


def _write_dump(path: Path, run: list[Atoms]) -> None:
    """As LAMMPS' `dump custom` of unwrapped positions in units real, Å/fs."""
    lines = []
    for k, frame in enumerate(run):
        lines += ["ITEM: TIMESTEP", str(2 * k), "ITEM: NUMBER OF ATOMS", str(len(frame)), "ITEM: BOX BOUNDS pp pp pp"]
        lines += [f"0.0 {length:.10f}" for length in frame.cell.lengths()]
        lines += ["ITEM: ATOMS id element xu yu zu vx vy vz"]
        rows = zip(frame.symbols, frame.positions, frame.get_velocities() * units.fs, strict=True)
        for i, (symbol, q, v) in enumerate(rows, 1):
            lines += [" ".join([str(i), symbol, *(f"{x:.10f}" for x in (*q, *v))])]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("spacing", [0.3, 2.0, 9.0, 40.0])
@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.25])
def test_the_offset_of_oscillators_is_found_whatever_the_spacing(offset: float, spacing: float) -> None:
    """Against exact harmonic motion of periods of 8 to 60 fs, of two masses."""
    rng = np.random.default_rng(2)
    atoms, frames = 200, 300
    masses = rng.choice([1.008, 40.0], atoms)
    omega = 2 * np.pi / rng.uniform(8, 60, (atoms, 3)) / units.fs
    phase = rng.uniform(0, 2 * np.pi, (atoms, 3))
    amplitude = np.sqrt(2 * 0.025 / masses)[:, None]

    def angle(shift: float) -> np.ndarray:
        return omega * (np.arange(frames)[:, None, None] * spacing + shift) * units.fs + phase

    positions = amplitude / omega * np.sin(angle(0.0))
    found = velocity_offset(positions, masses[:, None] * amplitude * np.cos(angle(offset)), masses, spacing)
    assert abs(found.fs - offset) < 0.05 * abs(offset) + 5 * found.error_fs
    assert found.error_fs < 0.05
    assert found.is_none == (offset == 0.0)


def argon() -> tuple[Atoms, openmm.System]:
    atoms = bulk("Ar", cubic=True, a=5.4).repeat(3)
    system, pairs = openmm.System(), openmm.NonbondedForce()
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    pairs.setCutoffDistance(0.8)
    pairs.setUseSwitchingFunction(True)
    pairs.setSwitchingDistance(0.6)
    pairs.setUseDispersionCorrection(False)
    for mass in atoms.get_masses():
        system.addParticle(mass)
        pairs.addParticle(0.0, 0.34, 0.996)
    system.addForce(pairs)
    system.setDefaultPeriodicBoxVectors(*(atoms.cell.array * 0.1))
    return atoms, system


def test_velocities_of_openmms_leapfrog_are_refused_and_synchronised_by_forces(tmp_path: Path) -> None:
    """`VerletIntegrator` of 10 fs: velocities from 5 fs before; v(t) = v(t − h/2) + h F/2m is velocity Verlet's."""
    atoms, system = argon()
    integrator = openmm.VerletIntegrator(0.010)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(atoms.positions * 0.1)
    context.setVelocitiesToTemperature(100.0, 3)
    integrator.step(200)
    frames, synchronous = [], []
    for k in range(121):
        state = context.getState(positions=True, velocities=True, forces=True)
        frame = atoms.copy()
        frame.positions = state.getPositions(asNumpy=True)._value * 10
        frame.set_velocities(state.getVelocities(asNumpy=True)._value / NM_PS_PER_ASE_VELOCITY)
        forces = state.getForces(asNumpy=True)._value * 0.1 * units.kJ / units.mol
        synchronous.append(frame.get_momenta() + 5.0 * units.fs * forces)
        frame.info["time_fs"] = 10.0 * k
        frames.append(frame)
        integrator.step(1)
    write(tmp_path / "md.extxyz", frames)
    refused(tmp_path, r"velocities of md\.extxyz are from (4\.99\d|5\.00\d) ± .* fs before its positions.*OpenMM")
    refused(tmp_path, "give --synchronize and a potential", synchronize=True)
    potential = OpenMMPotential(openmm.XmlSerializer.serialize(system), "argon")
    with stored(tmp_path, synchronize=True, potential=potential) as file:
        momenta = file["momenta"][0]
        was = np.array([frame.get_momenta() for frame in frames[: len(momenta)]])
        truth = np.array(synchronous[: len(momenta)])
        assert np.abs(momenta - truth).max() < 2e-3 * np.abs(was - truth).max()


def test_the_temperature_is_that_of_synchronised_momenta(tmp_path: Path) -> None:
    """Leapfrog of springs, whose velocities half a step off are hotter by 1/(1 − (ω h/2)²), here 9 %."""
    rng, atoms, constant, step = np.random.default_rng(0), 60, 40.0, units.fs
    sites = rng.uniform(0, 50, (atoms, 3))
    mass = Atoms(f"H{atoms}").get_masses()[:, None]
    positions = sites + rng.normal(size=(atoms, 3)) * np.sqrt(units.kB * 300 / constant)
    velocities = rng.normal(size=(atoms, 3)) * np.sqrt(units.kB * 300 / mass)
    frames, kelvin = [], []
    for k in range(800):
        forces = -constant * (positions - sites)
        if k % 4 == 0:
            frame = Atoms(f"H{atoms}", positions)
            frame.set_momenta(mass * velocities)
            frame.info["time_fs"] = float(k)
            frame.calc = SinglePointCalculator(frame, forces=forces)
            frames.append(frame)
            internal = velocities + 0.5 * step * forces / mass
            internal = internal - internal.mean(0)
            kelvin.append((mass * internal**2).sum() / (3 * atoms - 3) / units.kB)
        velocities = velocities + step * forces / mass
        positions = positions + step * velocities
    write(tmp_path / "md.extxyz", frames)
    with stored(tmp_path, synchronize=True) as file:
        assert file["temperature_K"][0] == pytest.approx(np.mean(kelvin), rel=1e-3)


def test_velocities_of_ases_velocity_verlet_are_not_off(run: list[Atoms]) -> None:
    positions, momenta = (np.array([getattr(a, f"get_{name}")() for a in run]) for name in ("positions", "momenta"))
    found = velocity_offset(positions, momenta, run[0].get_masses(), SPACING_FS)
    assert found.is_none
    assert abs(found.fs) < 0.01


def test_what_is_wrong_with_a_trajectory_is_said_in_one_sentence(run: list[Atoms], tmp_path: Path) -> None:
    def bad(frames: list[Atoms], match: str, **options: object) -> None:
        for frame in frames:
            frame.set_masses(frame.get_masses())
        write(tmp_path / "md.extxyz", frames, columns=["symbols", "positions", "momenta", "masses"])
        refused(tmp_path, match, **options)

    bad(changed(run, momenta=lambda k, p: 0 * p), r"frame 0 of md\.extxyz has no momenta: write velocities")
    bad(run, "temperature_K must be positive, got -4", temperature_K=-4.0)
    bad([frame[:1] for frame in run], "has 1 atoms, wanted two or more")
    bad(run[:2], "too few frames, 2: wanted at least 3")
    bad(run[:10], r"too few frames, 10: a segment of 64 fs every 4 fs needs 17", length_fs=64.0)
    bad([*run[:20], *run[21:]], "not evenly spaced: 8 fs from frame 19 to 20, 4 fs elsewhere")
    untimed = changed(run)
    for frame in untimed:
        frame.info.clear()
    bad(untimed, r"does not say the times of its frames: give their spacing \(--spacing-fs\)")
    bad(changed(run, cell=lambda k, c: c * (1 + 1e-3 * k)), "frame 1 of .* has another cell than the first")
    bad(changed(run, momenta=lambda k, p: p * (np.nan if k == 7 else 1)), "frame 7 of .* is not finite")
    bad(changed(run, momenta=lambda k, p: p / 10), r"move (9.9|10).* times as far between frames as their velocities")
    bad(run, r"move 0\.\d+ times as far", spacing_fs=400.0)
    bad(run, "length_fs = 30 fs is not a multiple of the 4 fs between frames", length_fs=30.0)
    heavy = changed(run, masses=lambda k, m: m * np.where(np.arange(len(m)) == 1, 1.1, 1.0))
    bad(heavy, "Cu has masses of 63.546 and 69.9006 u in md.extxyz")
    fewer = changed(run)
    del fewer[5][0]
    for frame in fewer:
        frame.calc = None
    bad(fewer, "frame 5 of .* has other atoms than the first")


def test_positions_wrapped_beyond_mending_are_refused(tmp_path: Path) -> None:
    """Ballistic atoms that cross 0.4 of the box between frames, wrapped."""
    rng = np.random.default_rng(0)
    start = Atoms("Ar20", rng.uniform(0, 10, (20, 3)), cell=[10.0] * 3, pbc=True)
    velocities = rng.choice([-1.0, 1.0], (20, 3)) * 4.0 / (100 * units.fs)
    frames = []
    for k in range(30):
        frame = start.copy()
        frame.positions += k * 100 * units.fs * velocities
        frame.set_velocities(velocities)
        frame.wrap()
        frames.append(frame)
    write(tmp_path / "md.extxyz", frames)
    refused(tmp_path, r"atoms move by 0\.40 of it between frames, too far to tell how", spacing_fs=100.0)
