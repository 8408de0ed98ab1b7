"""What a run returns and writes."""

import io

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from flashmd_rs import InputError, ModelError, rollout
from flashmd_rs.temperature import temperatures
from flashmd_rs.writers import open_frames

from conftest import make_crystal


@pytest.fixture(scope="module")
def run(models):
    atoms = make_crystal(3)
    atoms.info["title"] = "argon"
    return rollout(atoms, models("pair_stride"), steps=20, temperature_K=80, seed=1, energy_model=models("pair_energy"))


def test_is_a_sequence(run):
    assert len(run) == 21
    assert [frame.info["step"] for frame in run] == list(range(21))
    assert run[-1] is run.frames[20]
    assert len(run[2:5]) == 3
    assert repr(run) == "<flashmd_rs.Trajectory: 21 frames, 0.04 ps, seed 1>"


def test_temperatures_per_species(models, gas):
    run = rollout(gas, models("free_flight"), steps=5, temperature_K=60)
    assert list(run.temperature_K) == ["total", "H", "O"]
    symbols = np.array(gas.get_chemical_symbols())
    expected = temperatures(run[3].get_momenta(), gas.get_masses(), symbols)
    assert {name: values[3] for name, values in run.temperature_K.items()} == expected


def test_energies(run):
    assert run.total_energy == pytest.approx(run.potential_energy + run.kinetic_energy)
    assert run.kinetic_energy[4] == pytest.approx(run[4].get_kinetic_energy())
    assert run.conserved_energy.shape == run.times_ps.shape


def test_frames_are_unwrapped(models, gas):
    gas.set_cell([5, 5, 5])
    gas.set_pbc(True)
    gas.positions = 1.25 * np.mgrid[:4, :4, :4].reshape(3, -1).T[: len(gas)]
    gas.positions += 12.5
    start = gas.positions.copy()
    run = rollout(gas, models("free_flight"), steps=3, temperature_K=60)
    assert np.abs(run[-1].positions - start).max() < 1.0


@pytest.mark.parametrize(("suffix", "atol"), [(".extxyz", 1e-8), (".xyz", 1e-8), (".traj", 0.0)])
def test_round_trip(run, tmp_path, suffix, atol):
    """Extended XYZ keeps eight decimals, .traj every bit."""
    path = tmp_path / f"run{suffix}"
    run.write(path)
    back = ase.io.read(path, ":")
    assert len(back) == len(run)
    for mine, theirs in zip(run, back, strict=True):
        np.testing.assert_allclose(theirs.positions, mine.positions, rtol=0, atol=atol)
        np.testing.assert_allclose(theirs.get_momenta(), mine.get_momenta(), rtol=0, atol=atol)
        np.testing.assert_allclose(theirs.cell.array, mine.cell.array, atol=1e-8)
        assert theirs.info["step"] == mine.info["step"]
        assert theirs.info["time_ps"] == pytest.approx(mine.info["time_ps"])
        assert theirs.info["title"] == "argon"
        assert theirs.get_potential_energy() == pytest.approx(mine.get_potential_energy(), abs=1e-7)
        assert np.array_equal(theirs.numbers, mine.numbers)
        assert np.array_equal(theirs.pbc, mine.pbc)


@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_streamed_file_equals_the_returned_frames(models, tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    path.write_text("something older")
    run = rollout(make_crystal(2), models("pair_stride"), steps=9, temperature_K=80, trajectory=path)
    back = ase.io.read(path, ":")
    assert len(back) == 10
    np.testing.assert_allclose(back[-1].positions, run[-1].positions, atol=1e-8)


def test_an_old_file_survives_a_run_that_never_starts(models, tmp_path):
    path = tmp_path / "run.extxyz"
    path.write_text("precious")
    with pytest.raises(InputError):
        rollout(make_crystal(2), models("pair_stride"), steps=9, temperature_K=-1, trajectory=path)
    assert path.read_text() == "precious"
    wrong = make_crystal(2)
    wrong.symbols[0] = "Xe"
    with pytest.raises(ModelError):
        rollout(
            wrong, models("pair_stride"), steps=9, temperature_K=80, trajectory=path, logfile=path.with_suffix(".l")
        )
    assert path.read_text() == "precious"
    assert not path.with_suffix(".l").exists()
    other = tmp_path / "new.extxyz"
    with pytest.raises(InputError):
        rollout(make_crystal(2), models("pair_stride"), steps=9, temperature_K=-1, trajectory=other)
    assert not other.exists()


@pytest.mark.parametrize("change", ["nothing", "masses", "tags", "charges", "constraints", "one_atom", "stress"])
def test_extended_xyz_is_what_ase_writes(tmp_path, crystal, change):
    """The same numbers in the same columns, whatever the structure carries."""
    crystal.info.update(step=3, title="with spaces", time_ps=0.25)
    if change == "masses":
        crystal.set_masses([40.0] * 64)
    elif change == "tags":
        crystal.set_tags(range(64))
    elif change == "charges":
        crystal.set_initial_charges(np.linspace(-1, 1, 64))
    elif change == "constraints":
        crystal.set_constraint(FixAtoms([1, 2]))
    elif change == "one_atom":
        crystal = crystal[:1]
    elif change == "stress":
        crystal.calc = SinglePointCalculator(crystal, energy=-1.5, stress=np.arange(6.0))
    writer = open_frames(tmp_path / "mine.extxyz")
    writer.write(crystal)
    writer.close()
    ase.io.write(tmp_path / "theirs.extxyz", crystal)
    mine, theirs = ((tmp_path / name).read_text().split("\n") for name in ("mine.extxyz", "theirs.extxyz"))
    assert [line.split() for line in mine] == [line.split() for line in theirs]


def test_half_a_frame_is_cut_off_again(tmp_path, crystal):
    """A disk that fills up in the middle of a frame: the file ends after the last whole one."""
    path = tmp_path / "run.extxyz"
    writer = open_frames(path)
    writer.write(crystal)
    whole = path.read_bytes()

    class FullDisk(io.FileIO):
        room = 100

        def write(self, data):
            if self.room == 0:
                raise OSError(28, "No space left on device")
            taken, self.room = min(self.room, len(data)), 0
            return super().write(bytes(data)[:taken])

    writer._file._file = FullDisk(path, "ab")
    with pytest.raises(OSError, match="No space left"):
        writer.write(crystal)
    writer.close()
    assert path.read_bytes() == whole
    assert len(ase.io.read(path, ":")) == 1


def test_log(models, tmp_path, capsys):
    path = tmp_path / "run.log"
    options = {"steps": 5, "temperature_K": 80, "seed": 3, "energy_model": models("pair_energy")}
    run = rollout(make_crystal(2), models("pair_stride"), logfile=path, **options)
    text = path.read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    for wanted in (
        models("pair_stride").sha256,
        models("pair_energy").sha256,
        "seed 3",
        "thermostat Langevin(time_constant_fs=100.0) at 80 K",
        "onnxruntime",
    ):
        assert any(wanted in line for line in header), wanted
    names = "Time[ps] Etot[eV] Epot[eV] Ekin[eV] T[K] T_Ar[K] Volume[A3] Density[g/cm3] Pressure[bar]"
    assert header[-1].split()[1:] == names.split()
    table = np.loadtxt(path)
    np.testing.assert_allclose(table[:, 0], run.times_ps, atol=1e-5)
    np.testing.assert_allclose(table[:, 1], run.total_energy, atol=1e-3)
    np.testing.assert_allclose(table[:, 4], run.temperature_K["total"], atol=0.1)

    rollout(make_crystal(2), models("pair_alone"), steps=2, temperature_K=80, logfile="-")
    printed = capsys.readouterr().out
    assert "Time[ps]" in printed
    assert "nan" in printed


def test_plot(run, tmp_path):
    figure = run.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 2
