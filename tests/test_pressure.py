"""Volume, density, pressure and stress of a run, against ASE, finite differences and the ideal gas."""

import warnings

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.units import bar, kB

from flashmd_rs import Checkpoint, InputError, Output, Simulation, resume, rollout
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs._engine.settings import Settings
from flashmd_rs.analysis import mean_and_error
from flashmd_rs.describe import run_header, summary
from flashmd_rs.temperature import draw_momenta

from conftest import h5md_tables, make_crystal

ARGON = {"temperature_K": 50.0, "seed": 3, "progress": False, "steps": 6, "interval": 2}
U_PER_A3 = 1.66053904  # g/cm³


def tilted():
    """64 Ar atoms in a sheared cell."""
    atoms = make_crystal()
    atoms.set_cell(atoms.cell.array @ [[1.0, 0, 0], [0.1, 1.05, 0], [-0.05, 0.08, 0.97]], scale_atoms=True)
    return atoms


def slab():
    atoms = make_crystal()
    atoms.pbc = [True, True, False]
    return atoms


def pressures(frames, calculator):
    """By ASE, bar."""
    found = []
    for frame in frames:
        copy = frame.copy()
        copy.calc = calculator
        found.append(-copy.get_stress(include_ideal_gas=True)[:3].mean() / bar)
    return np.array(found)


@pytest.fixture
def argon(models):
    """A run of a crystal with an energy model, given or another calculator."""

    def run(atoms=None, energy="pair_energy", **options):
        energy_model = models(energy) if isinstance(energy, str) else energy
        start = make_crystal() if atoms is None else atoms
        return rollout(start, models("pair_alone"), energy_model=energy_model, **ARGON | options)

    return run


class TestValues:
    @pytest.mark.parametrize("make", [make_crystal, tilted])
    def test_as_ase(self, argon, models, make):
        """Model and calculator, in a cube and a sheared cell; ASE's own formula with all momenta."""
        run = argon(make())
        calculator = models("pair_energy").calculator()
        assert run.pressure_bar == pytest.approx(pressures(run, calculator), rel=1e-9)
        again = argon(make(), calculator)
        assert again.pressure_bar == pytest.approx(run.pressure_bar, rel=1e-9)
        for frame, stress in zip(run, run.stress_eV_per_A3, strict=True):
            copy = frame.copy()
            copy.calc = calculator
            assert stress == pytest.approx(copy.get_stress(voigt=False, include_ideal_gas=True), abs=1e-12)

    def test_as_a_finite_difference(self, argon, models):
        """−dE/dV of the model under scaling, and 2K/3V."""
        run = argon(tilted())
        for frame, found, kinetic in zip(run, run.pressure_bar, run.kinetic_energy, strict=True):
            energies = []
            for factor in (1 - 1e-3, 1 + 1e-3):
                scaled = frame.copy()
                scaled.set_cell(frame.cell * factor ** (1 / 3), scale_atoms=True)
                energies.append(models("pair_energy").energy(scaled))
            volume = frame.get_volume()
            wanted = (2 * kinetic / 3 - (energies[1] - energies[0]) / 2e-3) / volume / bar
            assert found == pytest.approx(wanted, rel=2e-3)

    def test_an_ideal_gas(self, models):
        """P = N·k_B·T/V for the temperature of N free particles; one bar is 6.2415e-7 eV/Å³."""
        rng = np.random.default_rng(2)
        atoms = Atoms("Ar64", positions=rng.uniform(0, 40, (64, 3)), cell=[40] * 3, pbc=True)
        atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=1))
        run = rollout(atoms, models("free_flight"), energy_model=Nothing(), guard="off", **ARGON)
        kelvin = 2 * run.kinetic_energy / (3 * 64 * kB)
        assert run.pressure_bar == pytest.approx(64 * kB * kelvin / 40**3 / 6.2415091e-7, rel=1e-7)
        assert run.pressure_bar.mean() == pytest.approx(41.4, rel=0.3)

    def test_volume_and_density_need_no_energy(self, models):
        run = rollout(tilted(), models("pair_alone"), **ARGON)
        volume = tilted().get_volume()
        assert run.volume_A3 == pytest.approx([volume] * 4)
        assert run.density_g_per_cm3 == pytest.approx([64 * 39.948 / volume * U_PER_A3] * 4, rel=1e-4)
        assert run.pressure_bar is None
        assert run.stress_eV_per_A3 is None

    def test_a_left_handed_cell_has_a_positive_volume(self, argon):
        atoms = make_crystal()
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
        assert argon(atoms).volume_A3[0] == pytest.approx(1000.0)
        assert argon(atoms).pressure_bar[0] == pytest.approx(argon().pressure_bar[0], rel=1e-5)

    def test_what_has_no_volume(self, argon, gas, models, tmp_path):
        for atoms, model, options in (
            (slab(), "pair_alone", {"energy_model": models("pair_energy")}),
            (gas, "free_flight", {"energy_model": Nothing()}),
        ):
            log = tmp_path / "run.log"
            run = rollout(atoms, models(model), logfile=log, guard="off", **ARGON, **options)
            assert (run.volume_A3, run.density_g_per_cm3, run.pressure_bar, run.stress_eV_per_A3) == (None,) * 4
            assert not {"volume_A3", "density_g_per_cm3", "pressure_bar"} & set(run[0].info)
            assert not any(word in log.read_text() for word in ("Volume", "Density", "Pressure", "nan"))
            assert "density" not in summary(run)

    @pytest.mark.parametrize("barostat", ["cell_rescaling", "monte_carlo"])
    def test_under_a_barostat(self, argon, models, barostat):
        """Of each frame's own cell, after the move of the barostat."""
        run = argon(steps=30, interval=5, pressure_bar=2000.0, barostat=barostat)
        assert len(set(run.volume_A3)) > 2
        assert run.volume_A3 == pytest.approx([frame.get_volume() for frame in run])
        assert run.pressure_bar == pytest.approx(pressures(run, models("pair_energy").calculator()), rel=1e-9)
        assert "±" in summary(run) or "too short" in summary(run)

    def test_replicas(self, models):
        starts = [make_crystal(), tilted(), slab()]
        runs = rollout(starts, models("pair_alone"), energy_model=models("pair_energy"), **ARGON)
        calculator = models("pair_energy").calculator()
        for run in runs[:2]:
            assert run.pressure_bar == pytest.approx(pressures(run, calculator), rel=1e-9)
        assert runs[2].pressure_bar is None


class TestEnergies:
    def test_a_calculator_of_a_metal(self, models):
        """EMT, from its stress."""
        atoms = bulk("Al", cubic=True) * 2
        atoms.set_masses([39.948] * len(atoms))
        atoms.symbols[:] = "Ar"
        atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=1))
        run = rollout(atoms, models("free_flight"), energy_model=As("Al"), guard="off", **ARGON)
        assert run.pressure_bar == pytest.approx(pressures(run, As("Al")), rel=1e-9)

    def test_one_without_a_stress(self, argon):
        """Nothing is warned of; header and summary say it."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = argon(energy=Nothing(["energy", "forces"]))
        assert run.potential_energy is not None
        assert run.pressure_bar is None
        assert run.volume_A3 is not None
        assert "not known: Nothing gives no stress" in summary(run)
        assert any("energy model Nothing, without a stress: no pressure" in line for line in run_header(run.report))

    @pytest.mark.parametrize("failure", [PropertyNotImplementedError, NotImplementedError, np.nan])
    def test_one_that_has_promised_more(self, argon, tmp_path, failure):
        """Once, and the run goes on."""
        with pytest.warns(UserWarning, match="Nothing gives no stress") as caught:
            run = argon(energy=Nothing(failure=failure), logfile=tmp_path / "run.log")
        assert len([w for w in caught if "no stress" in str(w.message)]) == 1
        assert run.pressure_bar is None
        assert len(run) == 4
        assert "nan" in (tmp_path / "run.log").read_text()

    def test_what_only_has_an_energy(self, argon):
        run = argon(energy=Bare())
        assert run.potential_energy == pytest.approx([1.0] * 4)
        assert run.pressure_bar is None

    def test_openmm(self, argon):
        import openmm

        system = openmm.System()
        for _ in range(64):
            system.addParticle(39.948)
        context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatform("Reference"))
        run = argon(energy=context)
        assert run.pressure_bar is None
        assert "OpenMM gives no stress" in summary(run)

    def test_only_frames_are_asked_for(self, argon):
        energy = Nothing()
        argon(energy=energy, steps=12, interval=4)
        assert energy.calls == 4


class TestState:
    def test_view(self, models):
        energy = models("pair_energy")
        seen = []
        options = {**ARGON, "observers": [(lambda view: seen.append(view), 1)], "energy_model": energy}
        del options["progress"]
        with Simulation(tilted(), models("pair_alone"), **options) as simulation:
            simulation.step(4)
            state = simulation.state
            assert state.volume_A3 == pytest.approx(tilted().get_volume())
            assert state.density_g_per_cm3 == pytest.approx(64 * 39.948 / state.volume_A3 * U_PER_A3, rel=1e-4)
            wanted = pressures([state.atoms], energy.calculator())[0]
            assert state.pressure_bar == pytest.approx(wanted, rel=1e-9)
            assert -np.trace(state.stress_eV_per_A3) / 3 / bar == pytest.approx(wanted, rel=1e-9)
        assert [view.pressure_bar is None for view in seen] == [True, False, True, False]
        assert seen[0].density_g_per_cm3 == pytest.approx(state.density_g_per_cm3)

    def test_without_volume_or_energy(self, models):
        for atoms, volume in ((slab(), None), (make_crystal(), 1000.0)):
            with Simulation(atoms, models("pair_alone"), temperature_K=50) as simulation:
                simulation.step(1)
                state = simulation.state
                assert state.volume_A3 == (None if volume is None else pytest.approx(volume))
                assert (state.density_g_per_cm3 is None) == (volume is None)
                assert state.pressure_bar is None


class TestFiles:
    @pytest.mark.parametrize("suffix", [".extxyz", ".traj", ".h5md"])
    def test_frames_keep_it(self, argon, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        run = argon(tilted(), trajectory=path)
        if suffix == ".h5md":
            tables = dict(h5md_tables(path))
            assert tables["observables/pressure/value"] == pytest.approx(run.pressure_bar)
            assert "observables/stress/value" not in tables
        else:
            for frames in (ase.io.read(path, ":"), run):
                assert [frame.info["pressure_bar"] for frame in frames] == pytest.approx(run.pressure_bar)
                assert [frame.info["volume_A3"] for frame in frames] == pytest.approx(run.volume_A3)
                density = [frame.info["density_g_per_cm3"] for frame in frames]
                assert density == pytest.approx(run.density_g_per_cm3)
                assert "stress" not in frames[1].calc.results

    @pytest.mark.parametrize("suffix", [".extxyz", ".traj", ".h5md", ".xtc"])
    def test_stress_on_request(self, argon, models, tmp_path, suffix):
        """Frames hold the calculator's, the trajectory and the log all of it."""
        path, log = tmp_path / f"run{suffix}", tmp_path / "run.log"
        run = argon(trajectory=Output(path, stress=True), logfile=log)
        calculator = models("pair_energy").calculator()
        tolerance = 1e-12 if suffix != ".xtc" else 1e-3
        for frame in run:
            copy = frame.copy()
            copy.calc = calculator
            assert frame.get_stress() == pytest.approx(copy.get_stress(), abs=tolerance * 1e4)
        if suffix in (".extxyz", ".traj"):
            read = ase.io.read(path, ":")
            total = [frame.get_stress(voigt=False, include_ideal_gas=True) for frame in read]
            assert total == pytest.approx(run.stress_eV_per_A3, abs=1e-8)
        elif suffix == ".h5md":
            static = dict(h5md_tables(path))["observables/stress/value"]
            assert static[2] == pytest.approx(run[2].get_stress(voigt=False))
        columns = np.loadtxt(log)[:, -6:]
        s = run.stress_eV_per_A3
        wanted = np.stack([s[:, 0, 0], s[:, 1, 1], s[:, 2, 2], s[:, 1, 2], s[:, 0, 2], s[:, 0, 1]], axis=1)
        assert columns == pytest.approx(wanted, rel=1e-5)

    def test_a_stress_there_is_not(self, argon, models, tmp_path):
        wanted = Output(tmp_path / "run.extxyz", stress=True)
        with pytest.raises(InputError, match="stress=True needs an energy that has one, and Nothing has none"):
            argon(energy=Nothing(["energy"]), trajectory=wanted)
        with pytest.raises(InputError, match="stress=True needs a volume"):
            argon(slab(), trajectory=wanted)
        with pytest.raises(InputError, match="stress needs an energy, and pair_alone names no energy model"):
            rollout(make_crystal(), models("pair_alone"), trajectory=wanted, **ARGON)
        assert not wanted.path.exists()

    def test_it_takes_the_reference_of_the_model(self, models, tmp_path):
        run = rollout(
            make_crystal(), models("pair_stride"), trajectory=Output(tmp_path / "run.traj", stress=True), **ARGON
        )
        assert run.report["energy_model"] == "pair_energy"
        assert run.pressure_bar is not None

    def test_the_pressure_of_the_start_is_not_that_of_the_run(self, models):
        atoms = make_crystal()
        atoms.info.update(pressure_bar=123.0, density_g_per_cm3=9.0, volume_A3=1.0)
        run = rollout(atoms, models("pair_alone"), **ARGON)
        assert all("pressure_bar" not in frame.info for frame in run)
        assert run[-1].info["volume_A3"] == pytest.approx(1000.0)

    def test_log(self, argon, tmp_path):
        log = tmp_path / "run.log"
        run = argon(tilted(), logfile=log)
        volume, density, pressure = np.loadtxt(log)[:, -3:].T
        assert volume == pytest.approx(run.volume_A3, abs=1e-3)
        assert density == pytest.approx(run.density_g_per_cm3, abs=1e-5)
        assert pressure == pytest.approx(run.pressure_bar, abs=0.06)

    def test_a_run_that_goes_on(self, argon, models, tmp_path):
        """Files are the bytes of a run that was never stopped, and what was measured goes on too."""
        options = {"pressure_bar": 2000.0, "interval": 3}
        whole = argon(
            steps=30, trajectory=Output(tmp_path / "a.extxyz", stress=True), logfile=tmp_path / "a.log", **options
        )
        argon(
            steps=12,
            trajectory=Output(tmp_path / "b.extxyz", stress=True),
            logfile=tmp_path / "b.log",
            checkpoint=tmp_path / "b.ckpt",
            **options,
        )
        rest = resume(tmp_path / "b.ckpt", steps=30, progress=False)
        assert np.array_equal(rest.pressure_bar, whole.pressure_bar[-len(rest) :])
        assert np.array_equal(rest.stress_eV_per_A3, whole.stress_eV_per_A3[-len(rest) :])
        for name in ("extxyz", "log"):
            assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()

    def test_a_checkpoint_of_before(self, argon, tmp_path):
        """That does not say whether a stress was asked for."""
        argon(checkpoint=tmp_path / "run.ckpt")
        settings = read_checkpoint(tmp_path / "run.ckpt").settings
        stored = settings.as_dict()
        assert stored.pop("stress") is False
        assert Settings.from_dict(stored) == settings

    def test_a_log_goes_on_with_the_columns_it_has(self, argon, tmp_path, monkeypatch):
        """One of a version without the new columns; one whose energy has lost its stress, and the log that number."""
        log, checkpoint = tmp_path / "run.log", tmp_path / "run.ckpt"
        with monkeypatch.context() as before:
            before.setattr("flashmd_rs._engine.recorder._log_columns", lambda *_: [])
            argon(logfile=log, checkpoint=checkpoint)
        resume(checkpoint, steps=10, progress=False)
        assert np.loadtxt(log).shape == (6, 6)
        assert "Volume" not in log.read_text()

        log, checkpoint = tmp_path / "other.log", tmp_path / "other.ckpt"
        argon(energy=Nothing(), logfile=log, checkpoint=checkpoint)
        rest = resume(checkpoint, steps=10, energy_model=Nothing(["energy"]), progress=False)
        table = np.loadtxt(log)
        assert table.shape == (6, 9)
        assert np.isnan(table[:, -1]).tolist() == [False] * 4 + [True] * 2
        assert rest.pressure_bar is None


class TestSummary:
    def test_error_of_a_mean(self):
        """Of a series with a known correlation, 400 times: the spread of the means."""
        rng = np.random.default_rng(4)
        means, errors = [], []
        for _ in range(400):
            noise = rng.standard_normal(2000)
            series = np.empty(2000)
            series[0] = noise[0]
            for k in range(1, 2000):
                series[k] = 0.9 * series[k - 1] + (1 - 0.81) ** 0.5 * noise[k]
            mean, error = mean_and_error(series)
            means.append(mean)
            errors.append(error)
        assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
        assert np.std(means) == pytest.approx((19 / 2000) ** 0.5, rel=0.1)

    def test_what_is_too_short(self):
        assert mean_and_error(np.array([1.0, 2.0, 3.0])) == (2.0, None)
        assert mean_and_error(np.linspace(0, 1, 1000))[1] is None
        assert mean_and_error(np.full(10, 2.0)) == (2.0, 0.0)

    def test_npt(self, argon):
        run = argon(steps=200, interval=1, pressure_bar=1.0)
        text = summary(run)
        assert any(
            line.startswith("density") and "g/cm³, mean of the second half" in line for line in text.splitlines()
        )
        assert any(line.startswith("pressure") and "bar" in line for line in text.splitlines())

    def test_fixed_cell(self, argon):
        density = f"{64 * 39.948 / 1000 * U_PER_A3:.4g}"
        assert any(line.split() == ["density", density, "g/cm³"] for line in summary(argon()).splitlines())


class Nothing(Calculator):
    """Atoms that do not see each other, and how often they were looked at."""

    def __init__(self, properties=("energy", "forces", "stress"), failure=None):
        super().__init__()
        self.implemented_properties, self.failure, self.calls = list(properties), failure, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}
        if "stress" in self.implemented_properties:
            if isinstance(self.failure, type) and "stress" in properties:
                raise self.failure("no stress")
            self.results["stress"] = np.full(6, np.nan if self.failure is np.nan else 0.0)


class Bare:
    """The least that an energy has to have."""

    def get_potential_energy(self, atoms):
        return 1.0


class As(Calculator):
    """EMT with all atoms of another element."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, symbol):
        super().__init__()
        self.symbol = symbol

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        copy = atoms.copy()
        copy.symbols[:] = self.symbol
        copy.calc = EMT()
        self.results = {"energy": copy.get_potential_energy(), "forces": copy.get_forces(), "stress": copy.get_stress()}


class TestLearnedMeanwhile:
    """A run goes on with an energy that it began without, or the other way round."""

    @pytest.mark.parametrize("first", [True, False])
    def test_h5md_keeps_what_is_known_of_each_frame(self, models, tmp_path, first):
        path, checkpoint = tmp_path / "run.h5md", tmp_path / "c"
        options = {"temperature_K": 50, "interval": 1, "seed": 1, "trajectory": path, "progress": False}
        energies = [models("pair_energy"), None] if first else [None, models("pair_energy")]
        for steps, energy in zip((4, 9), energies, strict=True):
            saved = Checkpoint(checkpoint, interval=2)
            rollout(
                make_crystal(),
                models("pair_stride"),
                steps=steps,
                energy_model=energy,
                checkpoint=saved,
                resume="auto",
                rescale_energy=False,
                **options,
            )
        with h5py.File(path) as file:
            known = np.isfinite(file["observables/potential_energy/value"][()])
            assert len(file["observables/pressure/value"]) == len(file["observables/pressure/step"]) == 10
            assert len(file["particles/trajectory/position/value"]) == 10
        np.testing.assert_array_equal(known, np.arange(10) <= 4 if first else np.arange(10) > 4)

    def test_stress_can_be_asked_for_later(self, models, tmp_path):
        options = {"temperature_K": 50, "seed": 1, "progress": False, "energy_model": models("pair_energy")}
        rollout(make_crystal(), models("pair_stride"), steps=2, checkpoint=tmp_path / "c", **options)
        later = Output(tmp_path / "later.extxyz", stress=True)
        go_on = {"steps": 4, "model": models("pair_stride"), "energy_model": models("pair_energy")}
        run = resume(tmp_path / "c", trajectory=later, progress=False, **go_on)
        assert run[-1].calc.results.keys() == {"energy", "stress"}
