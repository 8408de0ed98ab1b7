"""What structures carry besides their atoms: labels, arrays, constraints, and what becomes of them in files."""

import math
import random
import warnings

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCom

import flashmd_rs
from flashmd_rs import FlashMDWarning, InputError, rollout
from flashmd_rs._engine.checkpoint import RunDescription, _unpack
from flashmd_rs._engine.recorder import Files, Recorder, left_out_warning
from flashmd_rs._labels import FRAME_INFO
from flashmd_rs._structure import geometry, with_state


def words(text):
    return text.split()


SUFFIXES = (".extxyz", ".traj", ".xyz", ".h5md", ".xtc", ".dcd")
READ_BY_ASE = (".extxyz", ".xyz", ".traj")
# Words that mean something to a format, to ASE, or to the run itself.
KEYS = words(
    "note id key name Lattice Properties pbc cell species pos Z numbers positions momenta masses step time_ps uid "
    "move_mask tags initial_charges initial_magmoms charge spin config_type virial_weight 7 a a0 a1 x x0 calculator "
    "constraints info celldisp symbols comment _JSON version description time.stamp"
)
KEYS += ["two words", "a=b", "a:b", 'quo"te', "it's", "", " ", "[x]", "{y}", "ä", "漢", "line\nbreak", "tab\t", "\\"]
STALE = words(
    "energy free_energy REF_energy dft-energy energy_pbe forces REF_forces mace_forces stress virial virials dipole "
    "magmom charges magmoms energies time E i Time Step timestep vel velo velocities REF_virials dftEnergy"
)
TEXTS = ["", " ", "plain", "two words", "two\nlines", "a\r\nb", 'say "x"', "it's", "a=b", "k=1 l=2", "T", "F", "true"]
TEXTS += ["1", "007", "1.50", "1 2 3", "1,2", "nan", "inf", "None", "{}", "[1]", "(x", "\\", "\\n", "é", "漢字", "\x85"]
TEXTS += ["\u2028", "\x00", "\x0b", "\ud800", "_JSON [1]", "_JSON x", "#", ",", "=", "x" * 10_000, "OW", "HW1", "C A"]
TEXTS += ["\xa0", "\t"]
NUMBERS = [0, 1, -3, 2**31, -(2**40), 10**30, True, False, 0.0, -0.1, 1e-300, 1e300, 0.1 + 0.2, math.nan, math.inf]
NUMBERS += [1 + 2j, np.float32(0.1), np.float64(1 / 3), np.int64(2**62), np.uint8(200), np.bool_(True), np.array(2.5)]


def some_text(rng):
    return rng.choice(TEXTS)


def some_number(rng):
    return rng.choice(NUMBERS)


def some_array(rng, shape):
    numbers = np.random.default_rng(rng.getrandbits(32))
    match rng.randrange(14):
        case 0:
            return numbers.normal(size=shape)
        case 1:
            return numbers.normal(size=shape).astype(np.float32)
        case 2:
            return numbers.integers(-9, 9, shape)
        case 3:
            return numbers.integers(-(2**62), 2**62, shape)
        case 4:
            return numbers.integers(0, 200, shape).astype(np.uint8)
        case 5:
            return numbers.random(shape) < 0.5
        case 6 | 7:
            return np.array([some_text(rng) for _ in range(math.prod(shape))]).reshape(shape)
        case 8:
            return numbers.normal(size=shape) + 1j
        case 9:
            made = np.empty(shape, dtype=object)
            made.flat = [rng.choice([None, 1, "x", 2.5, (1, 2), some_text(rng)]) for _ in range(math.prod(shape))]
            return made
        case 10:
            return np.array([b"ab", b"", b"\xff"])[numbers.integers(0, 3, shape)]
        case 11:
            return np.where(numbers.random(shape) < 0.3, np.nan, 10.0 ** numbers.integers(-12, 12, shape))
        case 12:
            return np.full(shape, np.datetime64("2026-01-01"))
        case _:
            return np.array(["CA", "N", "OXT"])[numbers.integers(0, 3, shape)]


def some_value(rng, depth=2):
    match rng.randrange(9 if depth else 5):
        case 0 | 1:
            return some_text(rng)
        case 2 | 3:
            return some_number(rng)
        case 4:
            return rng.choice([None, b"bytes", {1, 2}, object(), len, range(3), Atoms("H"), 1j, (), [], {}])
        case 5:
            return [some_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        case 6:
            return {rng.choice(["a", "b c", 1, "2", None]): some_value(rng, depth - 1) for _ in range(rng.randrange(3))}
        case 7:
            return tuple(some_value(rng, depth - 1) for _ in range(rng.randrange(3)))
        case _:
            return some_array(rng, rng.choice([(1,), (3,), (9,), (2, 2), (3, 3), (2, 3, 2), (0,), (2, 0)]))


def some_cell(rng):
    """Cell and pbc that a run takes."""
    size = np.random.default_rng(rng.getrandbits(32))
    cell = np.diag(size.uniform(5, 50, 3))
    pbc = np.array([True] * 3)
    match rng.randrange(7):
        case 0:
            return np.zeros((3, 3)), np.array([False] * 3)
        case 1:
            cell += np.tril(size.uniform(-2, 2, (3, 3)), -1)
        case 2:
            cell += size.uniform(-2, 2, (3, 3))
        case 3:
            cell = cell[[1, 0, 2]]  # left-handed
        case 4:
            pbc = size.random(3) < 0.5
            cell[~pbc] = 0.0
        case 5:
            pbc = size.random(3) < 0.5
    return cell, pbc


def some_structure(seed):
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    n = rng.choice([1, 2, 3, 3, 5, 12])
    cell, pbc = some_cell(rng)
    atoms = Atoms(rng.choices(["H", "O", "Al"], k=n), numbers.uniform(-9, 9, (n, 3)), cell=cell, pbc=pbc)
    if rng.random() < 0.7:
        atoms.set_momenta(numbers.normal(size=(n, 3)))
    for _ in range(rng.randrange(4)):
        key = rng.choice(STALE) if rng.random() < 0.2 else rng.choice([*KEYS, rng.choice([3, (1, "a"), None, 2.5])])
        atoms.info[key] = some_value(rng)
    for _ in range(rng.randrange(4)):
        shape = (n, *rng.choice([(), (), (), (1,), (2,), (3,), (0,), (3, 3)]))
        name = rng.choice(STALE) if rng.random() < 0.2 else rng.choice(KEYS)
        if name not in ("numbers", "positions", "momenta", "masses"):
            atoms.arrays[name] = some_array(rng, shape)
    if rng.random() < 0.2:
        atoms.arrays["tags"] = numbers.integers(0, 5, n)
    for name in ("initial_charges", "initial_magmoms"):
        if rng.random() < 0.2:
            atoms.arrays[name] = numbers.normal(size=n)
    if rng.random() < 0.1:
        atoms.set_celldisp([1.0, 0.0, 0.5])
    if n > 1 and rng.random() < 0.3:
        atoms.set_constraint(rng.choice([FixCom(), FixAtoms([0]), [FixAtoms([0]), FixAtoms([0])], FixAtoms([])]))
    if rng.random() < 0.2:
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=np.ones((n, 3)))
    geometry(atoms)
    return atoms


def plain(value):
    """A value as lists of Python's own objects."""
    if isinstance(value, np.ndarray):
        return plain(value.astype(float).tolist() if value.dtype == np.float32 else value.tolist())
    if isinstance(value, np.generic):
        return float(value) if isinstance(value, np.floating) else value.item()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return {key: plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def same(one, other, atol=0.0):
    """Another comparison than the package's own."""
    one, other = plain(one), plain(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair, atol) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], atol) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-7, abs_tol=atol) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


def record(atoms, path):
    """What a run with this trajectory writes: two frames; the recorder."""
    recorder = Recorder(atoms, Files(trajectory=path), [])
    recorder.begin()
    for step in (0, 7):
        positions = atoms.positions + 0.1 * step
        state = {"positions": positions, "momenta": np.full((len(atoms), 3), 0.5), "cell": atoms.cell.array}
        recorder({"step": step, "time_fs": 2.0 * step, **state, "potential_energy": -1.5, "conserved_energy": None})
    recorder.close()
    return recorder


def check_frames(atoms, path, left_out):
    """The file holds the frames, and of the labels all that was not said to be left out."""
    frames = ase.io.read(path, ":", format="traj" if path.suffix == ".traj" else "extxyz")
    kept = with_state(atoms, atoms.positions, None)
    atol = 0.0 if path.suffix == ".traj" else 1e-8
    assert [(frame.info["step"], frame.info["time_ps"]) for frame in frames] == [(0, 0.0), (7, 0.014)]
    for frame, step in zip(frames, (0, 7), strict=True):
        np.testing.assert_allclose(frame.positions, atoms.positions + 0.1 * step, rtol=0, atol=atol)
        np.testing.assert_allclose(frame.get_momenta(), 0.5)
        np.testing.assert_allclose(frame.cell.array, atoms.cell.array, rtol=1e-12)
        np.testing.assert_array_equal(frame.pbc, atoms.pbc)
        np.testing.assert_array_equal(frame.numbers, atoms.numbers)
        assert frame.calc.results == {"energy": -1.5}
        for key in kept.info.keys() - set(FRAME_INFO):
            held = key in frame.info and same(kept.info[key], frame.info[key])
            assert held != (f"info[{key!r}]" in left_out), (key, kept.info[key])
        for name in kept.arrays.keys() - {"numbers", "positions", "momenta"}:
            held = name in frame.arrays and same(kept.arrays[name], frame.arrays[name], atol)
            assert held != (f"arrays[{name!r}]" in left_out), (name, kept.arrays[name])
        assert frame.info.keys() <= kept.info.keys() | set(FRAME_INFO)
        assert frame.arrays.keys() <= kept.arrays.keys() | {"momenta"}
        fixed = {k for c in atoms.constraints if isinstance(c, FixAtoms) for k in c.index}
        back = {k for c in frame.constraints if isinstance(c, FixAtoms) for k in c.index}
        assert back == (set() if "FixAtoms" in left_out else fixed)
        assert any(isinstance(c, FixCom) for c in frame.constraints) == (
            any(isinstance(c, FixCom) for c in atoms.constraints) and "FixCom" not in left_out
        )


def check_structure(seed, folder, suffixes=SUFFIXES):
    """One structure through writers; how many formats refused it, and how many labels were left out."""
    atoms = some_structure(seed)
    refused = dropped = 0
    for suffix in suffixes:
        path = folder / f"run{suffix}"
        if suffix in (".xtc", ".dcd") and is_turned(atoms.cell.array):
            with pytest.raises(InputError, match="cell vector a along x"):
                record(atoms, path)
            refused += 1
            continue
        recorder = record(atoms, path)
        left_out = recorder.left_out[path].names()
        dropped += len(left_out)
        said = left_out_warning([recorder])
        assert all(name in said for name in left_out) if left_out else said is None
        if suffix in READ_BY_ASE:
            check_frames(atoms, path, left_out)
        else:
            back = recorder.frame(0)
            np.testing.assert_allclose(back.positions, atoms.positions, rtol=1e-6, atol=0.0051)
            kept = with_state(atoms, atoms.positions, None)
            labels = {f"info[{key!r}]" for key in kept.info}
            labels |= {f"arrays[{name!r}]" for name in kept.arrays.keys() - {"numbers", "positions", "masses"}}
            assert labels <= set(left_out)
    check_in_checkpoint(atoms)
    return refused, dropped


def is_turned(cell):
    """True for a cell that lengths and angles do not describe."""
    return np.abs(np.triu(cell, 1)).max() > 0.1 or cell.diagonal().min() < 0


def check_in_checkpoint(atoms):
    """The same by way of a checkpoint."""
    options = dict.fromkeys(
        ("settings", "model", "energy", "bias", "files", "interval", "replica", "single", "molecules")
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        [packed] = RunDescription(**options, structures=[atoms])._packed
    said = str(caught[0].message) if caught else ""
    back, kept = _unpack(packed), with_state(atoms, atoms.positions, None)
    for key, value in kept.info.items():
        assert (key in back.info and same(value, back.info[key])) != (f"info[{key!r}]" in said), (key, value)
    for name in kept.arrays.keys() - {"positions"}:
        held = name in back.arrays and same(kept.arrays[name], back.arrays[name])
        assert held != (f"arrays[{name!r}]" in said), (name, kept.arrays[name])


@pytest.mark.parametrize("count", [250, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_structures_with_anything(tmp_path, count):
    """Labels, arrays, cells and constraints at random, through every writer and the checkpoint.

    They read back equal, or are left out or refused by name; nothing else is ever raised.
    """
    totals = np.zeros(2, dtype=int)
    for seed in range(count):
        # Two formats keep labels, so every structure goes through them; in the short run the others take turns.
        suffixes = SUFFIXES if count > 1000 else (".extxyz", ".traj", SUFFIXES[2 + seed % 4])
        try:
            totals += check_structure(seed, tmp_path, suffixes)
        except BaseException as error:
            error.add_note(f"structure of seed {seed}")
            raise
    refused, dropped = totals
    print(f"{count} structures: {refused} refusals, {dropped} labels left out")
    assert refused > count / 20
    assert dropped > count


def h2o():
    atoms = Atoms("OHH", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], cell=[8, 8, 8], pbc=True)
    atoms.set_momenta(np.full((3, 3), 0.05))
    return atoms


def short_run(models, atoms, **options):
    """A run, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = rollout(
            atoms, models("free_flight"), steps=2, temperature_K=300, interval=1, seed=1, progress=False, **options
        )
    return run, [str(w.message) for w in caught if w.category is FlashMDWarning and "left out" in str(w.message)]


class TestWhatAFormatCannotKeep:
    def labelled(self):
        atoms = h2o()
        atoms.pbc = (True, True, False)
        atoms.info.update(note="two\nlines", energy=-77.0, kind="water", ids=[1, 2, 3])
        atoms.set_array("name", np.array(["", "H1", "H2"]))
        atoms.set_array("tensor", np.zeros((3, 3, 3)))
        atoms.set_array("residuenames", np.array(["SO L", "SO L", "   "]))
        atoms.set_array("weights", np.arange(3.0))
        return atoms

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_one_warning_names_it_all(self, models, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        run, said = short_run(models, self.labelled(), trajectory=path)
        labels = {"info['note']", "arrays['name']", "arrays['tensor']", "arrays['residuenames']"}
        if suffix not in (".extxyz", ".xyz"):
            labels.add("arrays['weights']")
        if suffix == ".traj":
            labels.remove("info['note']")
        if suffix not in READ_BY_ASE:
            labels |= {"info['kind']", "info['ids']"}
        assert len(said) == 1
        assert all(label in said[0] for label in labels)
        assert "energy" not in said[0]
        assert run[0].info["note"] == "two\nlines"  # frames in Python keep everything
        if suffix in READ_BY_ASE:
            frames = ase.io.read(path, ":")
            assert len(frames) == 3
            for frame in frames:
                assert frame.pbc.tolist() == [True, True, False]
                assert frame.info["kind"] == "water"
                assert list(frame.info["ids"]) == [1, 2, 3]

    def test_nothing_is_said_where_everything_is_kept(self, models, tmp_path):
        water = flashmd_rs.load_structure("water258")
        for suffix in SUFFIXES:
            path = tmp_path / f"run{suffix}"
            assert Recorder(water, Files(trajectory=path), []).left_out[path].items == ()
        atoms = h2o()
        atoms.set_constraint(FixAtoms([0]))
        atoms.info["note"] = "plain"
        assert short_run(models, atoms, trajectory=tmp_path / "run.extxyz")[1] == []

    def test_several_files_and_replicas_make_one_warning(self, models, tmp_path):
        structures = [h2o(), h2o()]
        structures[0].info["note"] = structures[1].info["other"] = "two\nlines"
        files = {"trajectory": tmp_path / "r{replica}.extxyz", "checkpoint": tmp_path / "c"}
        guard = flashmd_rs.Guard("collect", violations_file=tmp_path / "v{replica}.traj")
        structures[1].info["object"] = object()
        _, said = short_run(models, structures, **files, guard=guard)
        [said] = said
        assert "info['note'], info['other'], info['object'] from .extxyz files" in said
        assert "info['object'] from .traj files" in said

    def test_columns_that_are_one_name(self, models, tmp_path):
        """`x` of two columns and `x0` of one are both `x0` in a file: one of them stays."""
        atoms = h2o()
        atoms.set_array("x", np.ones((3, 2)))
        atoms.set_array("x0", np.zeros(3))
        _, [said] = short_run(models, atoms, trajectory=tmp_path / "run.extxyz")
        assert "arrays['x0']" in said
        assert ase.io.read(tmp_path / "run.extxyz").arrays["x"].tolist() == [[1, 1]] * 3

    def test_an_energy_of_the_users_beside_the_runs(self, models, tmp_path, crystal):
        crystal.info["energy"] = -77.0
        crystal.calc = SinglePointCalculator(crystal, energy=-78.0)
        run = rollout(
            crystal,
            models("pair_stride"),
            energy_model=models("pair_energy"),
            steps=2,
            interval=1,
            trajectory=tmp_path / "run.extxyz",
            progress=False,
        )
        frames = ase.io.read(tmp_path / "run.extxyz", ":")
        assert [frame.get_potential_energy() for frame in frames] == pytest.approx(run.potential_energy.tolist())

    def test_labels_put_on_frames_afterwards(self, models, tmp_path):
        """A frame's own results stay, if the file can hold them beside the energy."""
        run, _ = short_run(models, h2o())
        for frame in run:
            frame.info.update(REF_energy=-1.0, note="two\nlines")
            frame.arrays["REF_forces"] = np.ones((3, 3))
        with pytest.warns(FlashMDWarning, match=r"labelled.extxyz leaves out .*: info\['note'\]$"):
            run.write(tmp_path / "labelled.extxyz")
        frames = ase.io.read(tmp_path / "labelled.extxyz", ":")
        assert [frame.info["REF_energy"] for frame in frames] == [-1.0] * 3
        assert all(frame.arrays["REF_forces"].shape == (3, 3) for frame in frames)

    def test_the_last_good_frame(self, models, tmp_path, crystal):
        crystal.info["note"] = "two\nlines"
        with pytest.raises(flashmd_rs.StabilityError, match=r"without info\['note'\]") as caught:
            rollout(crystal, models("late_nan"), steps=50, interval=1, trajectory=tmp_path / "r.traj", progress=False)
        good = ase.io.read(caught.value.saved_to)
        np.testing.assert_allclose(good.positions, caught.value.last_good.positions, atol=1e-8)

    def test_a_checkpoint(self, models, tmp_path):
        """Also for keys that are no text, and arrays of bytes, which JSON cannot hold."""
        atoms = h2o()
        atoms.info.update({("a", 1): 2, "note": "two\nlines", "set": {1}})
        atoms.set_array("raw", np.array([b"a", b"b", b"c"]))
        names = r"info\[\('a', 1\)\], info\['set'\], arrays\['raw'\]"
        options = {"steps": 2, "temperature_K": 300, "checkpoint": tmp_path / "c", "progress": False}
        with pytest.warns(FlashMDWarning, match=f"a checkpoint cannot keep {names}: "):
            rollout(atoms, models("free_flight"), **options)
        again = flashmd_rs.resume(tmp_path / "c", model=models("free_flight"), steps=4, progress=False)
        assert again[-1].info["note"] == "two\nlines"

    def test_a_frame_shares_nothing_with_its_structure(self, models):
        atoms = h2o()
        atoms.info["list"] = [1, 2]
        run, _ = short_run(models, atoms)
        atoms.info["list"].append(3)
        run[0].info["list"].append(4)
        assert run[1].info["list"] == [1, 2]

    def test_what_becomes_of_the_structure_later(self, models, tmp_path):
        """A run is of the structure as it was given, in its checkpoints too."""
        atoms = h2o()
        atoms.info["note"] = "before"
        with flashmd_rs.Simulation(atoms, models("free_flight"), temperature_K=300, seed=1) as simulation:
            atoms.info["note"] = "after"
            atoms.set_masses([1.0, 1.0, 1.0])
            simulation.step(2)
            simulation.save(tmp_path / "c")
        again = flashmd_rs.Simulation.load(tmp_path / "c", model=models("free_flight"))
        again.step()
        assert again.trajectory[-1].info["note"] == "before"
        np.testing.assert_array_equal(again.trajectory[-1].get_masses(), h2o().get_masses())
        again.close()

    def test_momenta_that_a_file_gave_as_whole_numbers(self, models):
        atoms = h2o()
        atoms.arrays["momenta"] = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
        run, _ = short_run(models, atoms)
        assert not np.array_equal(run[-1].get_momenta(), np.round(run[-1].get_momenta()))


CP2K = """3
i = 7, time = 3.500, E = -17.1643
O 0.0 0.0 0.0
H 0.96 0.0 0.0
H -0.24 0.93 0.0
"""


class TestStaleLabels:
    """What was true of the structure a run starts from is not said of what became of it."""

    STALE_INFO = words(
        "energy free_energy REF_energy dft_energy energy_pbe DFTenergy total_energy REF_virial virials stress "
        "dft-stress dipole REF_dipole magmom time E i Time Timestep step time_ps time_fs e_tot pressure_bar"
    )
    STALE_ARRAYS = words(
        "forces REF_forces mace_forces forces_pbe force charges mulliken_charges charge magmoms energies "
        "local_energies stresses velocities vel velo VELO REF_velocities vx future_positions"
    )
    OWN_INFO = words("note id config_type charge spin total_charge energy_cutoff config_energy_weight temperature")
    OWN_ARRAYS = words("initial_charges initial_magmoms tags atomtypes formal_charges occupancy residuenumbers")

    def labelled(self):
        atoms = h2o()
        atoms.info.update(dict.fromkeys(self.STALE_INFO + self.OWN_INFO, 1.5))
        atoms.info.update(energy_unit="eV", has_forces=True)
        for name in self.STALE_ARRAYS:
            atoms.arrays[name] = np.full((3, 3), 9.0)
        for name in self.OWN_ARRAYS:
            atoms.arrays[name] = np.arange(3.0)
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=np.ones((3, 3)), dipole=np.ones(3))
        return atoms

    def check(self, frame, own_info=("step", "time_ps", "volume_A3", "density_g_per_cm3")):
        assert set(frame.info) == {*self.OWN_INFO, "energy_unit", "has_forces", *own_info}
        assert set(frame.arrays) == {"numbers", "positions", "momenta", *self.OWN_ARRAYS}
        assert frame.calc is None

    def test_frames_in_memory_and_in_files(self, models, tmp_path):
        for path in (None, tmp_path / "run.extxyz"):
            run, said = short_run(models, self.labelled(), trajectory=path)
            assert said == []
            for frame in run:
                self.check(frame)
        for frame in ase.io.read(tmp_path / "run.extxyz", ":"):
            self.check(frame)

    def test_views_strides_and_going_on(self, models, tmp_path):
        atoms = self.labelled()
        self.check(models("free_flight").stride(atoms), own_info=())
        seen = []
        short_run(models, atoms, observers=[(lambda view: seen.append(view.atoms), 1)], checkpoint=tmp_path / "c")
        self.check(seen[-1], own_info=())
        again = flashmd_rs.resume(tmp_path / "c", model=models("free_flight"), steps=4, progress=False)
        self.check(again[-1])

    def test_structures_collected_for_relabelling(self, models, tmp_path, crystal):
        crystal.info["REF_energy"] = -3.0
        crystal.arrays["REF_forces"] = np.ones((len(crystal), 3))
        crystal.info["id"] = "argon-7"
        guard = flashmd_rs.Guard("collect", violations_file=tmp_path / "collected.extxyz")
        crystal.set_momenta(30.0 * crystal.get_momenta())
        with pytest.warns(FlashMDWarning):
            rollout(crystal, models("watched"), steps=3, guard=guard, temperature_K=50, progress=False)
        collected = ase.io.read(tmp_path / "collected.extxyz", ":")
        assert collected
        for frame in collected:
            assert frame.info.keys() == {"id", *FRAME_INFO} - {"pressure_bar"}
            assert frame.arrays.keys() == {"numbers", "positions", "momenta"}
            assert frame.calc is None

    def test_the_last_good_frame(self, models, tmp_path, crystal):
        crystal.info["dft_energy"] = -3.0
        crystal.calc = SinglePointCalculator(crystal, energy=-3.0)
        with pytest.raises(flashmd_rs.StabilityError) as caught:
            rollout(crystal, models("late_nan"), steps=50, trajectory=tmp_path / "r.extxyz", progress=False)
        for good in (caught.value.last_good, ase.io.read(caught.value.saved_to)):
            assert "dft_energy" not in good.info
            assert good.calc is None

    def test_the_comment_of_cp2k(self, models, tmp_path):
        (tmp_path / "water-pos-1.xyz").write_text(CP2K)
        atoms = ase.io.read(tmp_path / "water-pos-1.xyz")
        assert atoms.info.keys() == {"i", "time", "E"}
        run, _ = short_run(models, atoms, trajectory=tmp_path / "run.extxyz")
        assert ase.io.read(tmp_path / "run.extxyz").info.keys() == run[0].info.keys() == {"step", "time_ps"}
