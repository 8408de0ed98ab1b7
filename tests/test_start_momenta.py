"""Where momenta of a run come from: said in report, header and summary, and chosen."""

import warnings

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms

import flashmd_rs
from flashmd_rs import FlashMDWarning, InputError, ModelError, Simulation, read_structure, resume, rollout
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs.describe import summary
from flashmd_rs.temperature import draw_momenta, temperatures


def waters(temperature_K=266.0, count=30):
    """Waters of the model's masses at just that temperature, or without momenta."""
    atoms = flashmd_rs.load_structure("water258")[: 3 * count]
    atoms.set_masses([15.999, 1.008, 1.008] * count)
    del atoms.arrays["momenta"]
    if temperature_K is not None:
        momenta, masses = draw_momenta(atoms.get_masses(), 300.0, seed=1), atoms.get_masses()
        found_K = temperatures(momenta, masses, np.array(atoms.get_chemical_symbols()))["total"]
        atoms.set_momenta(momenta * np.sqrt(temperature_K / found_K))
    return atoms


@pytest.fixture
def run(models):
    """Two strides of free flight; warnings are errors unless they are asked for."""

    def call(atoms, **options):
        options = {"steps": 2, "interval": 1, "temperature_K": 300, "seed": 2, "guard": "off", **options}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return rollout(atoms, models("free_flight"), progress=False, **options)

    return call


@pytest.fixture
def warned(models):
    """The same; the run, and the one warning that matches."""

    def call(message, atoms, **options):
        options = {"steps": 2, "interval": 1, "temperature_K": 300, "seed": 2, "guard": "off", **options}
        with pytest.warns(FlashMDWarning, match=message) as caught:
            result = rollout(atoms, models("free_flight"), progress=False, **options)
        assert len(caught) == 1
        return result

    return call


class TestChoice:
    def test_auto(self, run):
        own = waters()
        assert run(own).report["momenta"] == "from the structure, 266 K"
        drawn = run(waters(None))
        assert drawn.report["momenta"] == "drawn at 300 K"
        np.testing.assert_array_equal(drawn[0].get_momenta(), draw_momenta(own.get_masses(), 300.0, 2))

    def test_draw(self, run):
        again = run(waters(), momenta="draw")
        assert again.report["momenta"] == "drawn at 300 K"
        np.testing.assert_array_equal(again[0].get_momenta(), run(waters(None))[0].get_momenta())

    def test_structure(self, run):
        own = waters()
        kept = run(own, momenta="structure")
        assert kept.report["momenta"] == "from the structure, 266 K"
        with pytest.raises(InputError, match="momenta='structure' needs momenta on the structure, which has none"):
            run(waters(None), momenta="structure")

    def test_nonsense(self, run):
        with pytest.raises(InputError, match="momenta='drawn', wanted one of 'auto', 'structure', 'draw'"):
            run(waters(), momenta="drawn")
        with pytest.raises(InputError, match="momenta='draw' draws them at a temperature: give temperature_K"):
            run(waters(), momenta="draw", temperature_K=None)

    def test_replicas(self, run):
        runs = run([waters(), waters(None)], temperature_K=[300, 250])
        assert [run.report["momenta"] for run in runs] == ["from the structure, 266 K", "drawn at 250 K"]

    def test_said_everywhere(self, run, tmp_path):
        result = run(waters(), logfile=tmp_path / "log", checkpoint=tmp_path / "c")
        assert "# momenta from the structure, 266 K\n" in (tmp_path / "log").read_text()
        assert "momenta" in summary(result)
        assert "from the structure, 266 K" in summary(result)

    def test_stored(self, run, tmp_path):
        run(waters(), momenta="draw", checkpoint=tmp_path / "c")
        assert read_checkpoint(tmp_path / "c").settings.momenta == "draw"
        assert resume(tmp_path / "c", steps=3).report["momenta"] == "from the checkpoint, step 2"
        with Simulation.load(tmp_path / "c") as simulation:
            assert simulation.report["momenta"] == "from the checkpoint, step 3"
        same = run(waters(None), steps=4, checkpoint=tmp_path / "c", resume=True)
        assert same.report["momenta"] == "from the checkpoint, step 3"


class TestColumns:
    @pytest.mark.parametrize("name", ["vel", "velocities", "velo", "velocity", "Velocity", "md_velocities", "v"])
    def test_said_by_name(self, warned, name):
        atoms = waters(None)
        atoms.set_array(name, waters().get_velocities() * units.fs)
        run = warned(rf"they are drawn at 300 K; its column '{name}'.*set momenta.*real \(Å/fs\) 266 K", atoms)
        assert run.report["momenta"] == "drawn at 300 K"

    def test_components(self, warned):
        atoms = waters(None)
        for k, name in enumerate(("vx", "vy", "vz")):
            atoms.set_array(name, waters().get_velocities()[:, k] * 1000 * units.fs)
        warned(r"column 'vx, vy, vz'.*metal \(Å/ps\) 266 K", atoms)

    def test_needed(self, run):
        """Where nothing can be drawn, the sentence names the column too."""
        atoms = waters(None)
        atoms.set_array("velo", waters().get_velocities())
        for options in ({"temperature_K": None}, {"momenta": "structure"}):
            with pytest.raises(InputError, match=r"momenta.*column 'velo'.*ASE"):
                run(atoms, **options)

    def test_drawn_by_choice(self, run):
        atoms = waters(None)
        atoms.set_array("velo", waters().get_velocities())
        assert run(atoms, momenta="draw").report["momenta"] == "drawn at 300 K"

    def test_stale(self, warned, run):
        """Momenta win; the same velocities in another unit are not stale."""
        atoms = waters()
        atoms.set_array("vel", atoms.get_velocities() * units.fs)
        assert run(atoms).report["momenta"] == "from the structure, 266 K"
        atoms.arrays["vel"][3] *= 2
        result = warned("has momenta, and other velocities in 'vel': the momenta are used", atoms)
        np.testing.assert_array_equal(result[0].get_momenta(), atoms.get_momenta())

    def test_other_columns(self, run):
        atoms = waters(None)
        atoms.set_array("level", np.zeros((len(atoms), 3)))
        atoms.set_array("velocities", np.array(["text"] * len(atoms)))
        atoms.set_array("vx", np.ones(len(atoms)))
        atoms.set_array("vel", np.zeros((len(atoms), 3)))
        atoms.set_array("velo", np.full((len(atoms), 3), np.nan))
        run(atoms)


class TestTemperature:
    def test_at_rest(self, warned, run, models):
        atoms = waters()
        atoms.set_momenta(np.zeros((len(atoms), 3)))
        result = warned("momenta are all zero: others are drawn at 300 K", atoms)
        assert result.report["momenta"].startswith("drawn at 300 K")
        assert result.temperature_K["total"][0] > 100
        for options in ({"momenta": "structure", "temperature_K": 0}, {"temperature_K": 0}):
            assert run(atoms, **options).report["momenta"] == "from the structure, 0 K"
        with pytest.warns(FlashMDWarning, match="NVE with"):
            cold = rollout(atoms, models("free_flight"), steps=1, progress=False)
        assert cold.report["momenta"] == "from the structure, 0 K"

    def test_at_rest_but_for_fixed_atoms(self, warned):
        atoms = waters()
        momenta = np.zeros((len(atoms), 3))
        momenta[0] = 1.0
        atoms.set_momenta(momenta)
        atoms.set_constraint(FixAtoms([0]))
        warned("are all zero", atoms)

    @pytest.mark.parametrize(("found_K", "words"), [(0.5, "0.5 K"), (20.0, "20 K"), (3300.0, "3300 K")])
    def test_far(self, warned, found_K, words):
        result = warned(rf"from the structure, {words} \(300 K asked for\)", waters(found_K))
        assert result.report["momenta"] == f"from the structure, {words} (300 K asked for)"

    @pytest.mark.parametrize(("factor", "speed", "system"), [(1e-3, "slow", "real"), (1e3, "fast", "metal")])
    @pytest.mark.parametrize("thermostat", ["langevin", "none"])
    def test_mistaken_unit(self, models, factor, speed, system, thermostat):
        """Also where no temperature says what they should be."""
        atoms = waters()
        atoms.set_momenta(atoms.get_momenta() * factor)
        temperature_K = 300 if thermostat == "langevin" else None
        message = f"momenta from the structure.* a thousand times too {speed}.*--units {system}"
        with pytest.warns(FlashMDWarning, match=message):
            Simulation(atoms, models("free_flight"), temperature_K=temperature_K, thermostat=thermostat)

    @pytest.mark.parametrize("found_K", [50.0, 1000.0])
    def test_said(self, run, found_K):
        """A structure that is to be warmed or cooled is nothing to warn of."""
        words = f"from the structure, {found_K:.0f} K (300 K asked for)"
        assert run(waters(found_K)).report["momenta"] == words

    @pytest.mark.parametrize("found_K", [220.0, 330.0, 560.0])
    def test_near(self, run, found_K):
        run(waters(found_K))

    def test_far_by_chance(self, run):
        """Of one molecule, a tenth of the temperature is nothing odd."""
        run(waters(30.0, count=1))

    def test_lone_atom(self, run):
        """Nothing that a thermostat could heat."""
        with pytest.raises(InputError, match="single atom"):
            run(waters(count=1)[:1])


def rigid(atoms, constraint, seed=3):
    """Momenta at 300 K of molecules that only move and turn, or whose angle moves as well."""
    rng, masses = np.random.default_rng(seed), atoms.get_masses()
    momenta = np.zeros((len(atoms), 3))
    pairs = {"water": [(0, 1), (0, 2), (1, 2)], "bonds": [(0, 1), (0, 2)]}[constraint]
    for first in range(0, len(atoms), 3):
        m, x = masses[first : first + 3], atoms.positions[first : first + 3]
        scaled = rng.normal(size=9) * np.sqrt(units.kB * 300.0)
        rows = np.zeros((len(pairs), 3, 3))
        for row, (i, j) in zip(rows, pairs, strict=True):
            row[i], row[j] = x[i] - x[j], x[j] - x[i]
        weighted = (rows / np.sqrt(m)[None, :, None]).reshape(len(pairs), 9)
        basis, _ = np.linalg.qr(weighted.T)
        momenta[first : first + 3] = (scaled - basis @ (basis.T @ scaled)).reshape(3, 3) * np.sqrt(m)[:, None]
    return momenta


class TestRigid:
    @pytest.mark.parametrize(("constraint", "counts"), [("water", "177 of 267"), ("bonds", "207 of 267")])
    def test_said(self, warned, constraint, counts):
        atoms = waters(None)
        atoms.set_momenta(rigid(atoms, constraint))
        result = warned(f"hold no heat along the bonds of hydrogens.* whose {counts} degrees of freedom are at", atoms)
        assert 170 < float(result.report["momenta"].split()[3]) < 270

    def test_from_gromacs(self, warned, tmp_path):
        """With the digits that a GRO file keeps, wrapped into the cell."""
        atoms = waters(None)
        atoms.set_momenta(rigid(atoms, "water"))
        atoms.wrap()
        atoms.write(tmp_path / "a.gro")
        read = read_structure(tmp_path / "a.gro")
        read.set_masses(atoms.get_masses())
        warned("177 of 267 degrees of freedom are at", read)

    def test_flexible(self, run):
        for seed in range(5):
            atoms = waters(None)
            atoms.set_momenta(draw_momenta(atoms.get_masses(), 200.0, seed))
            run(atoms)


class TestRefusedAtoms:
    """Of structures that the program was given: what their file called an atom, and what it is."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: a.set_masses([15.999, 2.014, 2.014]), "trained with 1.008 u.*; it is deuterium"),
            (lambda a: a.set_masses([15.999, 3.024, 3.024]), "trained with 1.008 u.* to 1.008$"),
            (lambda a: a.set_chemical_symbols("XHH"), "atom 0 is X, .*it is a site without mass.*leave such sites out"),
            (lambda a: (a.set_chemical_symbols("WHH"), a.set_array("atomtypes", np.array(["MW", "H", "H"]))),
             "atom 0 is W, .*its file calls it 'MW', a site without mass"),
            (lambda a: (a.set_chemical_symbols("SHH"), a.set_array("type", np.array([7, 1, 1]))),
             "atom 0 is S, .*its file calls it type 7"),
        ],
    )  # fmt: skip
    def test_named(self, run, change, message):
        atoms = waters(None, count=1)
        change(atoms)
        with pytest.raises(ModelError, match=message) as caught:
            run(atoms)
        assert caught.value.fault in ("UnknownElement", "WrongMass")
