"""Options: small frozen classes that check themselves, print themselves, and are stored as they are."""

import json
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pytest

import flashmd_rs
from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    EnergyRescaling,
    Guard,
    InputError,
    Langevin,
    Model,
    MonteCarloBarostat,
    Output,
    Simulation,
    resume,
    rollout,
)
from flashmd_rs import _checks as checks
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs._engine.settings import Settings
from flashmd_rs.describe import run_header
from flashmd_rs.options import BAROSTATS, THERMOSTATS, Option, Scope, restore

from conftest import fixture_model, make_crystal

# Of every class: none of its fields at its default, what it prints, and all its fields.
EXAMPLES = {
    Langevin: (Langevin(50), "Langevin(time_constant_fs=50.0)", {"time_constant_fs": 50.0}),
    Bussi: (Bussi(time_constant_fs=20), "Bussi(time_constant_fs=20.0)", {"time_constant_fs": 20.0}),
    CellRescaling: (
        CellRescaling(500, 3, "anisotropic", 1e-5),
        "CellRescaling(time_constant_fs=500.0, interval=3, coupling='anisotropic', compressibility_per_bar=1e-05)",
        {"time_constant_fs": 500.0, "interval": 3, "coupling": "anisotropic", "compressibility_per_bar": 1e-5},
    ),
    MonteCarloBarostat: (
        MonteCarloBarostat(3, "anisotropic", 1e-5),
        "MonteCarloBarostat(interval=3, coupling='anisotropic', compressibility_per_bar=1e-05)",
        {"interval": 3, "coupling": "anisotropic", "compressibility_per_bar": 1e-5},
    ),
    EnergyRescaling: (
        EnergyRescaling("molecule", "clamp", 0.5),
        "EnergyRescaling(scope='molecule', fallback='clamp', limit=0.5)",
        {"scope": "molecule", "fallback": "clamp", "limit": 0.5},
    ),
    Guard: (
        Guard("collect", 4, 0.25, "odd.extxyz"),
        "Guard(policy='collect', fallback_strides=4, timestep_fs=0.25, violations_file='odd.extxyz')",
        {"policy": "collect", "fallback_strides": 4, "timestep_fs": 0.25, "violations_file": "odd.extxyz"},
    ),
    Checkpoint: (
        Checkpoint("run.ckpt", 7, True),
        "Checkpoint(path='run.ckpt', interval=7, allow_other_model=True)",
        {"path": "run.ckpt", "interval": 7, "allow_other_model": True},
    ),
    Output: (
        Output("run.traj", 7),
        "Output(path='run.traj', interval=7, stress=False)",
        {"path": "run.traj", "interval": 7, "stress": False},
    ),
}
DEFAULTS = {
    Langevin: Langevin(time_constant_fs=100),
    Bussi: Bussi(time_constant_fs=100),
    CellRescaling: CellRescaling(2000, 10, "isotropic", 4.5e-5),
    MonteCarloBarostat: MonteCarloBarostat(10, "isotropic", 4.5e-5),
    EnergyRescaling: EnergyRescaling("global", "stop", 0.25),
    Guard: Guard("warn", 1, 0.5, None),
}
each_class = pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)


def test_every_class_has_its_example():
    own = {option for option in Option.__subclasses__() if option.__module__ == "flashmd_rs.options"}
    assert own == set(EXAMPLES)
    assert all(getattr(flashmd_rs, option.__name__) is option for option in own)
    assert len({option.kind for option in own}) == len(own)


@each_class
def test_it_prints_itself(kind):
    option, text, _ = EXAMPLES[kind]
    assert repr(option) == str(option) == text
    assert eval(text) == option


@each_class
def test_it_equals_what_says_the_same(kind):
    option, _, values = EXAMPLES[kind]
    assert option == kind(**values)
    assert hash(option) == hash(kind(**values))
    for name, value in values.items():
        if name != "policy":  # the file belongs to that one alone
            assert replace(option, **{name: changed(value)}) != option
    assert all(option != other for other, _, _ in EXAMPLES.values() if other is not option)


def changed(value):
    """Another value that is allowed in the same place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"anisotropic": "isotropic", "molecule": "global", "clamp": "stop"}.get(value, f"other-{value}")
    return value + 1 if isinstance(value, int) else value / 2


@each_class
def test_it_cannot_be_changed(kind):
    option, _, values = EXAMPLES[kind]
    for name, value in values.items():
        with pytest.raises(FrozenInstanceError):
            setattr(option, name, value)
    assert replace(option) == option


@each_class
def test_it_comes_back_from_plain_data(kind):
    """Through JSON, as in a checkpoint."""
    option, _, values = EXAMPLES[kind]
    stored = option.as_dict()
    assert stored == {"kind": kind.kind} | values
    assert restore(json.loads(json.dumps(stored))) == option
    assert restore(stored) == kind.from_dict(stored) == option


@pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)
def test_defaults(kind):
    assert kind() == DEFAULTS[kind]
    assert restore(kind().as_dict()) == kind()


def test_paths_are_stored_as_text():
    for option in (
        Checkpoint(Path("a") / "b"),
        Output(Path("a") / "b"),
        Guard("collect", violations_file=Path("a") / "b"),
    ):
        stored = json.loads(json.dumps(option.as_dict()))
        assert "a/b" in stored.values()
        assert restore(stored).as_dict() == stored


def test_numbers_get_their_type():
    """Whole numbers for times, those of numpy."""
    assert isinstance(Langevin(50).time_constant_fs, float)
    assert type(Langevin(np.float32(50)).time_constant_fs) is float
    assert type(CellRescaling(interval=np.int64(3)).interval) is int
    for text in ("50", True):
        with pytest.raises(InputError, match="wanted a positive number of fs"):
            Langevin(text)
    assert json.dumps(CellRescaling(np.float64(500), np.int32(3)).as_dict())


def test_a_kind_that_is_none():
    with pytest.raises(InputError, match=r"option of kind 'nose', wanted one of .*bussi, cell_rescaling"):
        restore({"kind": "nose"})
    with pytest.raises(InputError, match="kind None"):
        restore({})
    with pytest.raises(TypeError):
        restore({"kind": "bussi", "mass": 3})


BAD = [
    (Langevin, {"time_constant_fs": 0}, "time_constant_fs=0, wanted a positive number of fs"),
    (Langevin, {"time_constant_fs": -5}, "time_constant_fs=-5"),
    (Langevin, {"time_constant_fs": float("nan")}, "time_constant_fs=nan"),
    (Langevin, {"time_constant_fs": float("inf")}, "time_constant_fs=inf"),
    (Langevin, {"time_constant_fs": "slow"}, "time_constant_fs='slow'"),
    (Langevin, {"time_constant_fs": None}, "time_constant_fs=None"),
    (Bussi, {"time_constant_fs": 0}, "time_constant_fs=0, wanted a positive number of fs"),
    (CellRescaling, {"time_constant_fs": 0}, "time_constant_fs=0"),
    (CellRescaling, {"interval": 0}, "interval=0, wanted a whole number of strides, at least 1"),
    (CellRescaling, {"interval": 2.5}, "interval=2.5"),
    (CellRescaling, {"interval": 2**64}, "interval beyond"),
    (CellRescaling, {"interval": True}, "interval=True"),
    (CellRescaling, {"coupling": "full"}, "coupling='full', wanted one of 'isotropic', 'anisotropic'"),
    (CellRescaling, {"compressibility_per_bar": 0}, "compressibility_per_bar=0, wanted a positive number of 1/bar"),
    (MonteCarloBarostat, {"interval": 0}, "interval=0"),
    (MonteCarloBarostat, {"coupling": None}, "coupling=None"),
    (MonteCarloBarostat, {"compressibility_per_bar": -1}, "compressibility_per_bar=-1"),
    (EnergyRescaling, {"scope": "atom"}, "scope='atom', wanted one of 'global', 'species', 'molecule'"),
    (EnergyRescaling, {"fallback": "ignore"}, "fallback='ignore', wanted one of 'stop'"),
    (EnergyRescaling, {"limit": 0}, "limit=0"),
    (EnergyRescaling, {"limit": 1.5}, "limit=1.5, wanted a number above 0 and at most 1"),
    (Guard, {"policy": "panic"}, "guard='panic', wanted one of 'warn'"),
    (Guard, {"policy": True}, "guard=True"),
    (Guard, {"fallback_strides": 0}, "fallback_strides=0"),
    (Guard, {"timestep_fs": 0}, "timestep_fs=0"),
    (Guard, {"policy": "collect"}, "go together"),
    (Guard, {"violations_file": "odd.extxyz"}, "go together"),
    (Guard, {"policy": "collect", "violations_file": 3}, "int for violations_file, wanted a path"),
    (Checkpoint, {"path": 3}, "int for checkpoint, wanted a path"),
    (Checkpoint, {"path": None}, "NoneType for checkpoint, wanted a path"),
    (Checkpoint, {"path": "c", "interval": 0}, "interval=0"),
    (Checkpoint, {"path": "c", "allow_other_model": "yes"}, "allow_other_model='yes', wanted True or False"),
    (Output, {"path": 3}, "int for trajectory, wanted a path"),
    (Output, {"path": "run.traj", "interval": -1}, "interval=-1"),
    (Output, {"path": "run.traj", "stress": "all"}, "stress='all', wanted True or False"),
]


@pytest.mark.parametrize(("kind", "values", "message"), BAD)
def test_it_checks_itself(kind, values, message):
    with pytest.raises(InputError, match=message) as caught:
        kind(**values)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@each_class
def test_every_field_has_a_check(kind):
    assert {name for other, values, _ in BAD if other is kind for name in values} == {f.name for f in fields(kind)}


@pytest.fixture
def run(models):
    """A short run, and its report."""

    def call(**options):
        options = {"steps": 2, "temperature_K": 60, "seed": 1, "progress": False, **options}
        return rollout(make_crystal(2), models("pair_stride"), **options).report

    return call


class TestWords:
    @pytest.mark.parametrize("word", THERMOSTATS)
    def test_thermostats(self, run, word):
        assert (
            run(thermostat=word)["thermostat"]
            == THERMOSTATS[word]()
            == run(thermostat=THERMOSTATS[word]())["thermostat"]
        )

    @pytest.mark.parametrize("word", BAROSTATS)
    def test_barostats(self, run, word):
        assert run(barostat=word, pressure_bar=1)["barostat"] == BAROSTATS[word]()

    @pytest.mark.parametrize("scope", get_args(Scope))
    def test_scopes(self, run, scope):
        assert run(rescale_energy=scope)["rescale_energy"] == EnergyRescaling(scope)
        assert run(rescale_energy=True)["rescale_energy"] == EnergyRescaling("global")
        assert run(rescale_energy=False)["rescale_energy"] is None

    @pytest.mark.parametrize("policy", ["warn", "stop", "fallback", "off"])
    def test_guards(self, run, policy):
        assert run(guard=policy)["guard"] == Guard(policy)

    def test_none(self, run):
        report = run(thermostat="none")
        assert (report["thermostat"], report["barostat"], report["pressure_bar"]) == (None, None, None)

    def test_kinds_are_the_words(self):
        assert {word: option.kind for word, option in (THERMOSTATS | BAROSTATS).items()} == {
            word: word for word in ("langevin", "bussi", "cell_rescaling", "monte_carlo")
        }

    def test_a_path_is_a_checkpoint_and_an_output(self, run, tmp_path):
        run(steps=40, checkpoint=tmp_path / "a", trajectory=tmp_path / "a.traj", interval=7)
        run(steps=40, checkpoint=Checkpoint(tmp_path / "b"), trajectory=Output(tmp_path / "b.traj", 7))
        first, second = read_checkpoint(tmp_path / "a"), read_checkpoint(tmp_path / "b")
        assert first.interval == second.interval == 4
        assert first.settings == second.settings
        assert first.settings.interval == 7

    def test_words_and_classes_are_the_same_run(self, models):
        for word, option in (("langevin", Langevin()), ("bussi", Bussi(100))):
            ends = [
                rollout(
                    make_crystal(2), models("pair_stride"), steps=5, seed=1, temperature_K=60, thermostat=thermostat
                )[-1]
                for thermostat in (word, option)
            ]
            np.testing.assert_array_equal(ends[0].positions, ends[1].positions)


STORED = {
    "thermostat": [Langevin(50), Bussi(20)],
    "barostat": [CellRescaling(500, 3, "anisotropic", 1e-5), MonteCarloBarostat(3, "anisotropic", 1e-5)],
    "rescale_energy": [EnergyRescaling("species", "skip", 0.5)],
    "guard": [Guard("fallback", 4, 0.25), Guard("off")],
}


@pytest.mark.parametrize(("name", "option"), [(name, option) for name, all_ in STORED.items() for option in all_])
def test_stored_in_checkpoint_and_report(run, tmp_path, name, option):
    """And used by who goes on, without being given again."""
    pressure = {"pressure_bar": 1.0} if name == "barostat" else {}
    report = run(checkpoint=tmp_path / "c", logfile=tmp_path / "log", **pressure, **{name: option})
    assert report[name] == option
    assert repr(option) in (tmp_path / "log").read_text()
    assert getattr(read_checkpoint(tmp_path / "c").settings, name) == option
    assert resume(tmp_path / "c", steps=3).report[name] == option
    with Simulation.load(tmp_path / "c") as simulation:
        assert simulation.report[name] == option


def test_the_file_of_a_guard_is_found_again(models, tmp_path):
    """Also where the folder has moved: it is stored beside the checkpoint's place."""
    folder = tmp_path / "here"
    folder.mkdir()
    guard = Guard("collect", fallback_strides=3, violations_file=folder / "odd.extxyz")
    options = {"temperature_K": 50, "guard": guard, "checkpoint": folder / "c"}
    rollout(make_crystal(), Model(fixture_model("watched")), steps=2, **options)
    folder.rename(tmp_path / "there")
    found = read_checkpoint(tmp_path / "there" / "c").settings.guard
    assert found == replace(guard, violations_file=str(tmp_path / "there" / "odd.extxyz"))
    assert resume(tmp_path / "there" / "c", steps=3).report["guard"] == found


class TestAnotherClass:
    """A subclass of Option needs no other edit to be stored and shown."""

    @pytest.fixture
    def option(self):
        @dataclass(frozen=True)
        class Andersen(Option):
            """Andersen thermostat.

            Attributes:
                rate_per_ps: Collisions of an atom, 1/ps.
            """

            kind: ClassVar[str] = "andersen"
            rate_per_ps: float = 1.0

            def __post_init__(self):
                self._set(rate_per_ps=checks.positive("rate_per_ps", self.rate_per_ps, "1/ps"))

        return Andersen(3)

    def test_stored_and_shown(self, option, models, tmp_path):
        assert restore(json.loads(json.dumps(option.as_dict()))) == option
        rollout(make_crystal(2), models("pair_stride"), steps=1, temperature_K=60, checkpoint=tmp_path / "c")
        settings = replace(read_checkpoint(tmp_path / "c").settings, thermostat=option)
        assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
        report = Simulation(make_crystal(2), models("pair_stride"), temperature_K=60).report
        header = run_header(report | {"thermostat": option})
        assert f"thermostat {option} at 60 K" in header
        assert repr(option).endswith("Andersen(rate_per_ps=3.0)")

    def test_it_is_a_flag_by_its_docstring(self, option):
        from flashmd_rs.cli.flags import FlagGroup

        group = FlagGroup("thermostat", {"andersen": type(option)})
        flag = group.flags()["rate_per_ps"]
        assert flag.name == "thermostat_rate_per_ps"
        assert "Collisions of an atom, 1/ps." in repr(vars(flag.annotation.__metadata__[0]))
        taken = group.take({"thermostat": "andersen", "thermostat_rate_per_ps": 3.0})
        assert taken == option
