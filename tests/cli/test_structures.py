"""Structures of the command: frames, formats, units, topologies and momenta; one clear line where they are not fit."""

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from typer.testing import CliRunner

from flashmd_rs.cli import app
from flashmd_rs.temperature import draw_momenta

from conftest import fixture_model, one_clear_error

FREE = (
    "--model",
    fixture_model("free_flight"),
    "--steps",
    2,
    "--interval",
    1,
    "--seed",
    1,
    "--guard",
    "off",
    "--threads",
    1,
)


def water(seed=1):
    atoms = Atoms("OHH", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], cell=[8, 8, 8], pbc=True)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed))
    return atoms


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command in an empty folder, in this process; 300 K unless ``temperature`` is False."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, temperature=True, stdin=None):
        bath = ("--temperature-k", 300) if temperature else ()
        command = ["run", *arguments, *FREE, *bath, "--trajectory", "out.traj"]
        return CliRunner().invoke(app, list(map(str, command)), input=stdin)

    return call


def momenta_of(result):
    """The line of the summary that says where momenta came from."""
    assert result.exit_code == 0, result.output
    return next(line.partition(" ")[2].strip() for line in result.stdout.splitlines() if line.startswith("momenta"))


def refused(result, *words):
    assert result.exit_code == 1, result.output
    assert one_clear_error(result.stderr), result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


class TestFrames:
    @pytest.mark.parametrize(
        ("name", "index"), [("a.extxyz@0", None), ("a.traj@-2", None), ("a.traj", 1), ("a.traj", None)]
    )
    def test_of_a_file(self, run, name, index):
        frames = [water(seed) for seed in (1, 2, 3)]
        ase.io.write(name.partition("@")[0], frames)
        options = () if index is None else ("--index", index)
        assert momenta_of(run(name, *options)).startswith("from the structure")
        wanted = frames[int(name.partition("@")[2] or (-1 if index is None else index))]
        np.testing.assert_allclose(ase.io.read("out.traj@0").get_momenta(), wanted.get_momenta(), atol=1e-7)

    def test_standard_input(self, run):
        text = io.StringIO()
        ase.io.write(text, [water(1), water(2)], format="extxyz")
        for index, seed in ((-1, 2), (0, 1)):
            result = run("-", "--format", "extxyz", "--index", index, stdin=text.getvalue())
            assert momenta_of(result).startswith("from the structure")
            start = ase.io.read("out.traj@0")
            np.testing.assert_allclose(start.get_momenta(), water(seed).get_momenta(), atol=1e-7)
        assert run("-", stdin=text.getvalue()).exit_code == 0
        refused(run("-", stdin=""), "standard input is empty")

    def test_not_fit(self, run, tmp_path):
        water().write("a.extxyz")
        refused(run("a.extxyz@3"), "holds 1 structure: got the index 3")
        refused(run("a.extxyz", "--index", -4), "holds 1 structure: got the index -4")
        refused(run("a.extxyz@:"), "the whole number of one frame")
        refused(run("a.extxyz", "--format", "nonsense"), "'nonsense', which is none of ASE's")
        refused(run("a.extxyz", "--format", "gromacs"), "not a structure that ASE can read")
        refused(run(tmp_path), "is a folder")
        refused(run("missing.xyz"), "no structure file 'missing.xyz'")
        (tmp_path / "none.xyz").touch()
        refused(run("none.xyz"), "none.xyz is empty")

    def test_not_onto_what_is_read(self, run, tmp_path):
        water().write("out.traj")
        refused(run("out.traj@0"), "would replace the structure it starts from")
        water().write("a.gro")
        refused(run("a.gro", "--topology", "out.traj"), "would replace the structure it starts from")
        refused(run("a.gro", "--logfile", "a.gro"), "the log would replace the structure it starts from")


class TestMomenta:
    def test_chosen(self, run):
        water().write("a.extxyz")
        assert momenta_of(run("a.extxyz")).startswith("from the structure")
        assert momenta_of(run("a.extxyz", "--momenta", "structure")).startswith("from the structure")
        assert momenta_of(run("a.extxyz", "--momenta", "draw")) == "drawn at 300 K"
        Atoms("OHH", positions=water().positions).write("bare.xyz")
        assert momenta_of(run("bare.xyz")) == "drawn at 300 K"
        refused(run("bare.xyz", "--momenta", "structure"), "momenta='structure' needs momenta")

    @pytest.mark.parametrize("column", ["vel", "velocities"])
    def test_columns(self, run, column):
        atoms = water()
        atoms.set_array(column, atoms.get_velocities() * units.fs)
        momenta = atoms.arrays.pop("momenta")
        atoms.write("a.extxyz")
        result = run("a.extxyz")
        assert momenta_of(result) == "drawn at 300 K"
        assert f"warning: the structure has no momenta: they are drawn at 300 K; its column '{column}'" in result.stderr
        assert "--units" in result.stderr
        refused(run("a.extxyz", temperature=False), f"its column '{column}'")
        assert momenta_of(run("a.extxyz", "--units", "real")).startswith("from the structure")
        np.testing.assert_allclose(ase.io.read("out.traj@0").get_momenta(), momenta, atol=1e-5)

    def test_gro_of_ase_without_velocities(self, run):
        """ASE writes zeros."""
        atoms = water()
        del atoms.arrays["momenta"]
        atoms.write("a.gro")
        result = run("a.gro")
        assert momenta_of(result).startswith("drawn at 300 K")
        assert "all zero" in result.stderr

    def test_lammps_units(self, run):
        ase.io.write("water.lmp", water(), format="lammps-data", units="real", velocities=True, masses=True)
        result = run("water.lmp")
        assert "0.000" in momenta_of(result)
        assert "a thousand times too slow" in result.stderr
        assert "--units real" in result.stderr
        assert result.stderr.count("warning: momenta") == 1
        result = run("water.lmp", "--units", "real")
        assert momenta_of(result).startswith("from the structure")
        assert "momenta" not in result.stderr


class TestLabels:
    """What a file calls an atom that is refused."""

    def test_elements(self, run, tmp_path):
        atoms = Atoms("OHHS", positions=[*water().positions, [5, 5, 5]], cell=[8, 8, 8], pbc=True)
        atoms.set_array("atomtypes", np.array(["OW", "HW1", "HW2", "NA"]))
        for residues, symbol in ((["SOL"] * 4, "N"), (["SOL"] * 3 + ["NA"], "Na")):
            atoms.set_array("residuenames", np.array(residues))
            atoms.write("a.gro")
            refused(run("a.gro"), f"atom 3 is {symbol},", "its file calls it 'NA'")

    def test_types(self, run):
        atoms = Atoms("NaCl", positions=[[0, 0, 0], [3, 0, 0]], cell=[8, 8, 8], pbc=True)
        ase.io.write("a.data", atoms, format="lammps-data", specorder=["Cl", "Na"], masses=True)
        refused(run("a.data"), "atom 0 is Na,", "its file calls it type 2")

    def test_deuterium(self, run, tmp_path):
        (tmp_path / "a.xyz").write_text("3\n\nO 0 0 0\nD .96 0 0\nD -.24 .93 0\n")
        refused(run("a.xyz"), "atom 1 (H) has a mass of 2.01", "trained with 1.008 u", "it is deuterium")

    def test_sites_without_mass(self, run, tmp_path):
        (tmp_path / "a.xyz").write_text("2\n\nO 0 0 0\nMW .1 0 0\n")
        refused(run("a.xyz"), "line 4 of a.xyz has 'MW', a site without mass", "leave such sites out")


def test_topology(run, tmp_path):
    water().write("a.extxyz")
    first = ["run", "a.extxyz", *FREE, "--temperature-k", 300]
    for suffix in ("xtc", "dcd", "h5md"):
        command = [*first, "--trajectory", f"run.{suffix}"]
        assert CliRunner().invoke(app, list(map(str, command))).exit_code == 0
    for suffix in ("xtc", "dcd"):
        assert momenta_of(run(f"run.{suffix}", "--topology", "a.extxyz")) == "drawn at 300 K"
        refused(run(f"run.{suffix}"), "does not say its elements: give")
    assert momenta_of(run("run.h5md@1")).startswith("from the structure")
