"""Structures from files: what ASE reads and passes over, labels, units, frames, and trajectories beside a topology."""

import bz2
import gzip
import lzma
import os
import shutil
import threading

import ase.io
import h5py
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units

import flashmd_rs
from flashmd_rs import FlashMDWarning, InputError, read_structure, rollout
from flashmd_rs.structure_files.elements import element_of, element_of_mass
from flashmd_rs.temperature import draw_momenta


def waters(count=3, seed=1):
    """Waters in a cell, at 300 K."""
    atoms = flashmd_rs.load_structure("water258")[: 3 * count]
    atoms.set_masses([15.999, 1.008, 1.008] * count)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed))
    return atoms


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(name, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(name, **options)
    assert "\n" not in str(caught.value)


class TestSources:
    @pytest.mark.parametrize("index", [0, 1, -1, -3])
    def test_frames(self, folder, index):
        frames = [waters(seed=seed) for seed in (1, 2, 3)]
        for name in ("a.extxyz", "a.traj", "a@1.extxyz"):
            ase.io.write(folder / "a.tmp", frames, format="traj" if name.endswith("traj") else "extxyz")
            os.rename("a.tmp", name)
            for read in (read_structure(f"{name}@{index}"), read_structure(name, index=index)):
                np.testing.assert_allclose(read.get_momenta(), frames[index].get_momenta(), atol=1e-7)
        np.testing.assert_allclose(read_structure("a.traj").get_momenta(), frames[-1].get_momenta())

    @pytest.mark.parametrize(
        "name", ["a.extxyz@7", "a.extxyz@-4", "a.traj@-4", "a.xyz@3", "a.gro@1", "a.data@2", "a.pdb@5"]
    )
    def test_no_such_frame(self, folder, name):
        path, _, index = name.partition("@")
        if path.endswith(("gro", "data")):
            ase.io.write(path, waters(), format="lammps-data" if path.endswith("data") else None)
            count = "1 structure"
        else:
            ase.io.write(path, [waters()] * 3)
            count = "3 structures"
        refused(name, f"holds {count}: got the index {index}")

    def test_no_index(self, folder):
        waters().write("a.extxyz")
        refused("a.extxyz@0:2", "'0:2'.*wanted the whole number of one frame")
        refused("a.extxyz@0", "index twice", index=1)
        refused("a.extxyz", "True", index=True)

    @pytest.mark.parametrize("pack", [gzip, bz2, lzma])
    def test_compressed(self, folder, pack):
        name = {gzip: "a.traj.gz", bz2: "a.gro.bz2", lzma: "a.extxyz.xz"}[pack]
        inner = name.rpartition(".")[0]
        waters().write(inner)
        with pack.open(name, "wb") as file:
            file.write((folder / inner).read_bytes())
        os.remove(inner)
        assert len(read_structure(name)) == 9
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
        refused(name, "cannot be unpacked")
        (folder / name).write_bytes(b"not packed at all")
        refused(name, "cannot be unpacked")

    def test_nothing_in_it(self, folder):
        (folder / "a.xyz").touch()
        refused("a.xyz", "a.xyz is empty")
        (folder / "b.xyz").write_text("\n\n")
        refused("b.xyz", "holds no structure")
        (folder / "c.gro").write_text("\n")
        refused("c.gro", "holds no structure")
        (folder / "d.pdb").write_text("REMARK nothing\nEND\n")
        refused("d.pdb", "holds no structure")
        with gzip.open("e.xyz.gz", "w"):
            pass
        refused("e.xyz.gz", "is empty")
        refused(".", "is a folder")

    def test_formats(self, folder):
        waters().write("water", format="vasp")
        assert len(read_structure("water", format="vasp")) == 9
        refused("water", "give format")
        waters().write("water", format="proteindatabank")
        assert len(read_structure("water", format="pdb")) == 9
        refused("water", "the format 'nonsense', which is none of ASE's", format="nonsense")
        refused("water", "not a structure that ASE can read", format="gro")
        refused("water", "not a structure that ASE can read", format="json")

    def test_pipe(self, folder):
        """As a shell's `<(zcat …)` gives it."""
        waters().write("a.extxyz")
        os.mkfifo("pipe")
        writer = threading.Thread(target=lambda: (folder / "pipe").write_bytes((folder / "a.extxyz").read_bytes()))
        writer.start()
        assert len(read_structure("pipe", format="extxyz")) == 9
        writer.join()

    def test_bundled_and_missing(self):
        assert len(read_structure("water258")) == 774
        with pytest.raises(FileNotFoundError, match="no structure file 'missing', nor a bundled one"):
            read_structure("missing")


LABELS = {
    "OW": ("O", "O"),
    "HW1": ("H", "H"),
    "1HB": ("H", "H"),
    "CA": ("C", "Ca"),
    "HO": ("H", "Ho"),
    "NA": ("N", "Na"),
    "NA+": ("N", "Na"),
    "Na": ("Na", "Na"),
    "SOD": ("S", "Na"),
    "CL1": ("Cl", "Cl"),
    "MG": ("Mg", "Mg"),
    "DW": ("D", "D"),
    "TI1": ("Ti", "Ti"),
    "MW": (None, None),
    "EP": (None, None),
    "LP1": (None, None),
    "M": (None, None),
    "X": (None, None),
    "DUM": (None, None),
    "?": (None, None),
}


@pytest.mark.parametrize("label", LABELS)
def test_element_of_a_label(label):
    """In a molecule, and alone as ions are."""
    assert (element_of(label, alone=False), element_of(label, alone=True)) == LABELS[label]


def test_element_of_a_mass():
    masses = {1.0: "H", 1.008: "H", 2.014: "H", 3.024: "H", 4.0026: "He", 15.9994: "O", 58.69: "Ni", 58.933: "Co"}
    assert {mass: element_of_mass(mass) for mass in masses} == masses
    assert [element_of_mass(mass) for mass in (0.0, 1e-10, 15.035, 72.0)] == [None] * 4


GRO = """four atoms
    4
    1SOL     OW    1   0.100   0.200   0.300  0.1000  0.2000  0.3000
    1SOL    HW1    2   0.196   0.200   0.300  0.4000 -0.5000  0.6000
    1SOL    HW2    3   0.076   0.293   0.300 -0.7000  0.8000 -0.9000
{last}   0.510   0.510   0.500  0.1000  0.1000  0.1000
   0.80000   0.80000   0.80000
"""


class TestGro:
    @pytest.mark.parametrize(("last", "symbol"), [("    2NA      NA    4", "Na"), ("    1SOL     NA    4", "N")])
    def test_sodium_and_nitrogen(self, folder, last, symbol):
        """And velocities are those of the atom, whatever ASE took it for."""
        (folder / "a.gro").write_text(GRO.format(last=last))
        atoms = read_structure("a.gro")
        assert atoms.get_chemical_symbols() == ["O", "H", "H", symbol]
        assert atoms.arrays["atomtypes"][3] == "NA"
        nm_per_ps = units.nm / (1000 * units.fs)
        np.testing.assert_allclose(atoms.get_velocities()[1], [0.4 * nm_per_ps, -0.5 * nm_per_ps, 0.6 * nm_per_ps])
        np.testing.assert_allclose(atoms.get_velocities()[3], [0.1 * nm_per_ps] * 3)

    @pytest.mark.parametrize("label", ["MW", "LP1", "EPW", "M"])
    def test_sites_without_mass(self, folder, label):
        (folder / "a.gro").write_text(GRO.format(last=f"    1SOL{label:>7}    4"))
        refused("a.gro", f"atom 3 of a.gro is '{label}', a site without mass.*leave such sites out")

    def test_deuterium(self, folder):
        (folder / "a.gro").write_text(GRO.format(last="    2DOD     DW    4"))
        atoms = read_structure("a.gro")
        assert (atoms.symbols[3], round(atoms.get_masses()[3], 3)) == ("H", 2.014)
        np.testing.assert_allclose(atoms.get_velocities()[3] / units.nm * 1000 * units.fs, 0.1)

    def test_frames_and_decimals(self, folder):
        """ASE reads one frame, and takes columns for three decimals."""
        text = GRO.format(last="    2CL      CL    4")
        (folder / "a.gro").write_text(text + text.replace("0.100   0.200", "0.110   0.200") + "\n")
        assert read_structure("a.gro@0").positions[0, 0] == pytest.approx(1.0)
        assert read_structure("a.gro").positions[0, 0] == pytest.approx(1.1)
        (folder / "a.gro").write_text(text[:200])
        refused("a.gro", "ends within a frame")
        line = "    1SOL     OW    1" + 3 * "   0.100000"
        (folder / "a.gro").write_text(f"fine\n1\n{line}\n   0.8 0.8 0.8\n")
        refused("a.gro", "has 6 decimals")

    def test_a_name_that_could_be_another_element(self, folder):
        (folder / "a.gro").write_text(GRO.format(last="    1MOL     CA    4").replace("SOL", "MOL"))
        with pytest.warns(FlashMDWarning, match="names atoms, not elements: CA of MOL as C"):
            read_structure("a.gro")


PDB = """CRYST1    8.000    8.000    8.000  90.00  90.00  90.00 P 1           1
MODEL        1
ATOM      1  OW  HOH     1       0.000   0.000   0.000  1.00  0.00
ATOM      2  HW1 HOH     1       0.960   0.000   0.000  1.00  0.00
ATOM      3  HO  HOH     1      -0.240   0.930   0.000  1.00  0.00
ATOM      4 CA    CA     2       4.000   4.000   4.000  1.00  0.00
ENDMDL
MODEL        2
ATOM      1  OW  HOH     1       0.000   0.000   1.000  1.00  0.00
ATOM      2  HW1 HOH     1       0.960   0.000   1.000  1.00  0.00
ATOM      3  HO  HOH     1      -0.240   0.930   1.000  1.00  0.00
ATOM      4 CA    CA     2       4.000   4.000   5.000  1.00  0.00
ENDMDL
END
"""


def with_element(text, columns):
    """PDB lines with elements in columns 77 and 78."""
    atom = iter(columns * 2)
    lines = [f"{line:<76}{next(atom):>2}" if line.startswith("ATOM") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


class TestPdb:
    def test_models_and_their_cell(self, folder):
        """As OpenMM writes them: one cell for all, and an END behind the last."""
        (folder / "a.pdb").write_text(PDB)
        for index, z in ((0, 0.0), (1, 1.0), (-1, 1.0)):
            atoms = read_structure("a.pdb", index=index)
            assert atoms.get_chemical_symbols() == ["O", "H", "H", "Ca"]
            assert atoms.cell.lengths().tolist() == [8, 8, 8]
            assert atoms.positions[0, 2] == z

    def test_elements_are_believed(self, folder):
        (folder / "a.pdb").write_text(with_element(PDB, ["O", "H", "HO", "C"]))
        assert read_structure("a.pdb").get_chemical_symbols() == ["O", "H", "Ho", "C"]

    def test_elements_of_some(self, folder):
        """A name is looked at where no element is written."""
        (folder / "a.pdb").write_text(with_element(PDB, ["O", "", "H", "N"]).replace(" CA ", " ?? "))
        assert read_structure("a.pdb").get_chemical_symbols() == ["O", "H", "H", "N"]

    def test_deuterium(self, folder):
        (folder / "a.pdb").write_text(with_element(PDB, ["O", "D", "D", "T"]))
        atoms = read_structure("a.pdb")
        assert atoms.get_chemical_symbols() == ["O", "H", "H", "H"]
        np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.014, 2.014, 3.016], atol=1e-3)

    def test_alternate_locations(self, folder):
        (folder / "a.pdb").write_text(PDB.replace(" HW1 HOH", " HW1AHOH").replace(" HO  HOH", " HW1BHOH"))
        refused("a.pdb", "alternate locations: HW1 of HOH 1 at A and B: keep one")

    def test_partly_occupied(self, folder):
        (folder / "a.pdb").write_text(PDB.replace("4.000  1.00", "4.000  0.50").replace("5.000  1.00", "5.000  0.50"))
        with pytest.warns(FlashMDWarning, match=r"partly occupied sites.*CA of CA 2, occupancy 0\.5"):
            read_structure("a.pdb")

    def test_sites_without_mass(self, folder):
        (folder / "a.pdb").write_text(PDB.replace("CA    CA", " MW  HOH"))
        refused("a.pdb", "'MW', a site without mass")


class TestXyz:
    def write(self, *lines, comment=""):
        with open("a.xyz", "w") as file:
            file.write("\n".join([str(len(lines)), comment, *lines]) + "\n")

    @pytest.mark.parametrize(("label", "mass"), [("D", 2.014), ("T", 3.016)])
    def test_isotopes(self, folder, label, mass):
        self.write("O 0 0 0", f"{label} 0.96 0 0", f"  {label} -.24 9.3e-1 0")
        atoms = read_structure("a.xyz")
        assert atoms.get_chemical_symbols() == ["O", "H", "H"]
        np.testing.assert_allclose(atoms.get_masses(), [15.999, mass, mass], atol=1e-3)
        refused("a.xyz@5", "holds 1 structure")

    def test_isotopes_keep_momenta(self, folder):
        atoms = waters(1)
        atoms.write("a.xyz")
        text = (folder / "a.xyz").read_text()
        (folder / "a.xyz").write_text(text.replace("\nH ", "\nD "))
        read = read_structure("a.xyz")
        np.testing.assert_allclose(read.get_momenta(), atoms.get_momenta(), atol=1e-7)
        np.testing.assert_allclose(read.get_masses(), atoms.get_masses())  # those of its column

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ("OW", "line 3 of a.xyz has 'OW', which is no chemical symbol: write O"),
            ("MW", "line 3 of a.xyz has 'MW', a site without mass"),
            ("X", "atom 0 of a.xyz is X, a site without mass"),
            ("8", "has '8', which is no chemical symbol: write O if it is an atomic number"),
            ("?", r"has '\?', which is no chemical symbol"),
        ],
    )
    def test_labels(self, folder, label, message):
        self.write(f"{label} 0 0 0", "H 0.96 0 0")
        refused("a.xyz", message)

    def test_columns_without_names(self, folder):
        """As DFTB+ writes charges and velocities."""
        self.write("O 0 0 0 -.8 1 2 3", "H 0.96 0 0 .8 1 2 3")
        with pytest.warns(FlashMDWarning, match="has 8 columns without names"):
            read_structure("a.xyz")

    @pytest.mark.parametrize(("name", "unit"), [("real", units.fs), ("metal", 1000 * units.fs), ("ASE", 1.0)])
    @pytest.mark.parametrize("column", ["vel", "velocities", "velo", "Velocity"])
    def test_units_of_velocities(self, folder, name, unit, column):
        atoms = waters()
        momenta = atoms.arrays.pop("momenta")
        atoms.set_array(column, momenta / atoms.get_masses()[:, None] * unit)
        atoms.write("a.extxyz")
        read = read_structure("a.extxyz", units=name)
        np.testing.assert_allclose(read.get_momenta(), momenta, atol=1e-5)
        assert column not in read.arrays
        assert column in read_structure("a.extxyz").arrays

    def test_units_of_components(self, folder):
        atoms = waters()
        velocities = atoms.get_velocities() * units.fs
        del atoms.arrays["momenta"]
        for k, name in enumerate(("vx", "vy", "vz")):
            atoms.set_array(name, velocities[:, k])
        atoms.write("a.extxyz")
        np.testing.assert_allclose(
            read_structure("a.extxyz", units="real").get_velocities() * units.fs, velocities, atol=1e-7
        )

    def test_units_of_nothing(self, folder):
        waters().write("a.extxyz")
        refused("a.extxyz", "has momenta, whose unit is ASE's", units="real")
        Atoms("H", positions=[[0, 0, 0]]).write("a.extxyz")
        refused("a.extxyz", "has 0 columns of velocities", units="real")
        refused("a.extxyz", "units='lj'", units="lj")
        waters().write("a.gro")
        refused("a.gro", "whose format, gromacs, has its own", units="real")


DATA = """{comment}

3 atoms
2 atom types
0 8 xlo xhi
0 8 ylo yhi
0 8 zlo zhi

{masses}Atoms # full

1 1 1 -.8 0 0 0
2 1 2 .4 .96 0 0
3 1 2 .4 -.24 .93 0

Velocities

1 .0001 .002 .003
2 .01 -.002 .003
3 -.011 .002 -.03
"""
MASSES = "Masses\n\n1 {}\n2 {}\n\n"
DUMP = """{units}ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS pp pp pp
0 8
0 8
0 8
ITEM: ATOMS id type {column}x y z vx vy vz
3 2 {hydrogen}-.24 .93 0 -.011 .002 -.03
1 1 {oxygen}0 0 0 .0001 .002 .003
2 2 {hydrogen}0.96 0 0 .01 -.002 .003
"""
VELOCITIES = np.array([[0.0001, 0.002, 0.003], [0.01, -0.002, 0.003], [-0.011, 0.002, -0.03]])


def write_data(name="a.data", comment="water", masses=(15.9994, 1.008)):
    with open(name, "w") as file:
        file.write(DATA.format(comment=comment, masses=MASSES.format(*masses) if masses else ""))


def write_dump(name="a.dump", stated=None, column="element", oxygen="O", hydrogen="H"):
    lines = f"ITEM: UNITS\n{stated}\n" if stated else ""
    words = {"column": f"{column} ", "oxygen": f"{oxygen} ", "hydrogen": f"{hydrogen} "} if column else {}
    with open(name, "w") as file:
        file.write(DUMP.format(units=lines, **{"column": "", "oxygen": "", "hydrogen": ""} | words))


class TestLammps:
    @pytest.mark.parametrize(
        "name", ["a.lmp", "a.lammps", "a.data", "data.water", "a.lammpsdata", "a.lammps-data", "a"]
    )
    def test_data_under_any_name(self, folder, name):
        write_data(name, comment="LAMMPS data file, timestep = 0, units = real")
        atoms = read_structure(name)
        assert atoms.get_chemical_symbols() == ["O", "H", "H"]
        np.testing.assert_allclose(atoms.get_velocities() * units.fs, VELOCITIES, rtol=1e-6)

    def test_rounded_and_odd_masses(self, folder):
        """ASE takes a mass of 1.0 for a dummy, and a united atom for an oxygen."""
        write_data(masses=(16.0, 1.0), comment="units = real")
        assert read_structure("a.data").get_chemical_symbols() == ["O", "H", "H"]
        write_data(masses=(15.035, 1.0))
        refused("a.data", "type 1 of a.data has a mass of 15.035 u, which is no element's")
        write_data(masses=(15.999, 1e-10))
        refused("a.data", "type 2 of a.data has a mass of 1e-10 u, a site without mass")
        write_data(masses=None)
        refused("a.data", "which elements type 1 and type 2 are: add its section Masses")

    def test_labels_of_types(self, folder):
        write_data(masses=None)
        text = (folder / "a.data").read_text()
        for first, second, fits in (("O", "H", True), ("OW", "HW", False)):
            labels = f"Atom Type Labels\n\n1 {first}\n2 {second}\n\nAtoms"
            (folder / "a.data").write_text(text.replace("Atoms", labels))
            if fits:
                assert read_structure("a.data").get_chemical_symbols() == ["O", "H", "H"]
            else:
                refused("a.data", "add its section Masses")

    def test_units(self, folder):
        write_data()
        write_dump()
        for name in ("a.data", "a.dump"):
            for system, unit in ((None, 1000 * units.fs), ("metal", 1000 * units.fs), ("real", units.fs)):
                velocities = read_structure(name, units=system).get_velocities()
                np.testing.assert_allclose(velocities * unit, VELOCITIES, rtol=1e-6)
            refused(name, "wanted one of 'ASE', 'real'", units="lj")
        write_data(comment="x, units = real")
        write_dump(stated="real")
        for name in ("a.data", "a.dump"):
            np.testing.assert_allclose(read_structure(name).get_velocities() * units.fs, VELOCITIES, rtol=1e-6)
            refused(name, "states units real, got units='metal'", units="metal")

    def test_types_of_a_dump(self, folder):
        """ASE takes type 1 for hydrogen and type 2 for helium."""
        write_dump(stated="real", column=None)
        refused("a.dump", "which elements type 1 and type 2 are: .*dump_modify ID element O H.*topology")
        write_data()
        read = read_structure("a.dump", topology="a.data")
        assert read.get_chemical_symbols() == ["O", "H", "H"]
        np.testing.assert_allclose(read.get_velocities() * units.fs, VELOCITIES, rtol=1e-6)
        write_dump(stated="real", column="mass", oxygen="15.9994", hydrogen="1.008")
        assert read_structure("a.dump").get_chemical_symbols() == ["O", "H", "H"]
        write_dump(stated="real", oxygen="OW")
        refused("a.dump", "has 'OW', which is no chemical symbol: write O")

    def test_columns_of_charges(self, folder):
        write_data()
        text = (folder / "a.data").read_text().replace("# full", "")
        (folder / "a.data").write_text(text.replace("1 1 1 -.8", "1 1 -.8").replace(" 1 2 .4", " 2 .4"))
        refused("a.data", "atom_style cannot be guessed.*name the style behind its section, as in `Atoms # charge`")


PSF = "PSF\n\n       1 !NTITLE\n REMARKS water\n\n{count:8d} !NATOM\n{lines}\n\n       0 !NBOND: bonds\n\n"


def write_psf(name, count, masses=(15.9994, 1.008, 1.008)):
    lines = "\n".join(
        f"{k + 1:8d} W    {k // 3 + 1:<4d} TIP3 {('OH2', 'H1', 'H2')[k % 3]:<4} OT   {-0.8:10.6f}  {masses[k % 3]:8.4f}"
        f" {0:11d}"
        for k in range(count)
    )
    with open(name, "w") as file:
        file.write(PSF.format(count=count, lines=lines))


class TestTrajectories:
    @pytest.fixture
    def frames(self, folder, models):
        """Of a run, in every format it writes."""
        start = waters()
        start.write("start.extxyz")
        write_psf("start.psf", len(start))
        for suffix in ("xtc", "dcd", "h5md"):
            options = {"steps": 4, "interval": 1, "seed": 1, "guard": "off", "temperature_K": 300, "progress": False}
            run = rollout(start, models("free_flight"), trajectory=f"run.{suffix}", **options)
        return list(run)

    def test_own(self, frames, folder):
        before = sorted(os.listdir())
        for name in ("run.xtc", "run.dcd", "run.h5md"):
            assert len(read_structure(name, topology="start.extxyz")) == 9
            for topology in ("start.extxyz", "start.psf"):
                for index in (0, 2, -1):
                    read = read_structure(name, index=index, topology=topology)
                    np.testing.assert_allclose(read.positions, frames[index].positions, atol=0.006)
                    np.testing.assert_allclose(read.cell.array, frames[index].cell.array, atol=1e-4)
                    assert read.get_chemical_symbols() == ["O", "H", "H"] * 3
                    assert read.pbc.all()
                    assert read.has("momenta") == (name == "run.h5md")
            refused(f"{name}@9", "holds 5 structures", topology="start.psf")
        assert sorted(os.listdir()) == before

    def test_own_h5md_is_whole(self, frames):
        read = read_structure("run.h5md@2")
        np.testing.assert_array_equal(read.positions, frames[2].positions)
        np.testing.assert_allclose(read.get_momenta(), frames[2].get_momenta(), rtol=1e-12)
        np.testing.assert_array_equal(read.get_masses(), frames[2].get_masses())

    def test_other_h5md(self, frames):
        with h5py.File("run.h5md", "a") as file:
            file["h5md/creator"].attrs["name"] = "another program"
        refused("run.h5md", "does not say its elements: give")
        read = read_structure("run.h5md", topology="start.psf")
        np.testing.assert_allclose(read.get_velocities(), frames[-1].get_velocities(), rtol=1e-4, atol=1e-5)

    def test_without_or_with_another_topology(self, frames):
        refused("run.xtc", "does not say its elements")
        refused("start.psf", "holds no positions")
        write_psf("other.psf", 6)
        for name in ("run.xtc", "run.dcd", "run.h5md", "start.extxyz"):
            refused(name, "9 atoms, the topology 6|topology of 6 atoms", topology="other.psf")

    def test_damaged(self, frames, folder, recwarn):
        for name in ("a.xtc", "a.dcd", "a.trr", "a.nc"):
            (folder / name).write_bytes(b"none of that" * 20)
            refused(name, "cannot be read with a topology of 9 atoms", topology="start.psf")
        assert not recwarn.list
        (folder / "a.h5md").write_text("nothing")
        refused("a.h5md", "not a whole H5MD file")
        (folder / "a.psf").write_text("nothing")
        refused("run.xtc", "not a topology that MDAnalysis can read", topology="a.psf")

    def test_velocities_of_gromacs(self, frames):
        """TRR has them, in nm/ps."""
        universe = MDAnalysis.Universe("start.psf", "run.xtc")
        with MDAnalysis.Writer("run.trr", 9) as writer:
            for step, frame in zip(universe.trajectory, frames, strict=True):
                step.velocities = frame.get_velocities() * 1000 * units.fs
                writer.write(universe.atoms)
        read = read_structure("run.trr@1", topology="start.psf")
        np.testing.assert_allclose(read.get_velocities(), frames[1].get_velocities(), rtol=1e-4, atol=1e-5)

    def test_positions_of_ase_beside_a_topology(self, frames):
        frames[0].write("start.pdb")
        read = read_structure("start.pdb", topology="start.psf")
        assert read.arrays["atomtypes"].tolist() == ["OH2", "H1", "H2"] * 3
        np.testing.assert_allclose(read.positions, frames[0].positions, atol=1e-3)

    def test_repartitioned_masses(self, frames):
        write_psf("heavy.psf", 9, masses=(11.9994, 3.024, 3.024))
        assert read_structure("run.dcd", topology="heavy.psf").get_chemical_symbols()[1] == "H"

    def test_missing_libraries_name_the_command(self, frames, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "MDAnalysis", None)
        refused("run.xtc", "pip install MDAnalysis", topology="start.extxyz")
        refused("start.extxyz", "pip install MDAnalysis", topology="start.psf")
        monkeypatch.setitem(sys.modules, "h5py", None)
        refused("run.h5md", "pip install h5py")

    def test_a_copy_elsewhere_is_the_same(self, frames, tmp_path_factory):
        target = tmp_path_factory.mktemp("read_only") / "run.xtc"
        shutil.copy("run.xtc", target)
        target.parent.chmod(0o555)
        try:
            assert len(read_structure(target, topology="start.psf")) == 9
        finally:
            target.parent.chmod(0o755)
