"""Flags of `run` are the arguments of `rollout` and the fields of its options, and say the same."""

import inspect
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import flashmd_rs
from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    EnergyRescaling,
    Guard,
    InputError,
    Langevin,
    MonteCarloBarostat,
    Output,
    rollout,
)
from flashmd_rs.cli.app import app
from flashmd_rs.cli.flags import GROUPS, field_help
from flashmd_rs.options import Option

from conftest import fixture_model, make_crystal, one_clear_error

COMMANDS = typer.main.get_command(app).commands
FLAGS = {parameter.name: parameter for parameter in COMMANDS["run"].params}
# Arguments by the flag that is spelled otherwise.
SPELLED = {"temperature_k": "temperature_K", "wall_time": "wall_time_s"}
# Flags by the field of an option that has none of its group.
ELSEWHERE = {(Output, "interval"): "interval"}
FIELDS = [
    (group, option, field.name)
    for group in GROUPS
    for option in dict.fromkeys(group.classes.values())
    for field in fields(option)
    if field.name not in group.left_out
]


def test_words_of_a_field_are_listed():
    result = CliRunner().invoke(app, ["run", "start.extxyz", "--model", "water", "--barostat-coupling", "full"])
    assert result.exit_code == 2
    assert "'full' is not one of 'isotropic', 'anisotropic'" in result.output


def test_what_is_left_out_is_a_flag_elsewhere():
    """Going on with another model is left to the command ``resume``. The interval is the run's."""
    left_out = {(group.argument, name) for group in GROUPS for name in group.left_out}
    assert left_out == {("checkpoint", "allow_other_model"), ("trajectory", "interval")}
    resume = typer.main.get_command(app).commands["resume"]
    assert "--allow-other-model" in {spelling for parameter in resume.params for spelling in parameter.opts}


def options_of_the_package():
    return [option for option in Option.__subclasses__() if option.__module__ == "flashmd_rs.options"]


def names_of_rollout():
    return set(inspect.signature(rollout).parameters)


def test_every_option_is_in_a_group():
    grouped = {option for group in GROUPS for option in group.classes.values()}
    assert grouped == set(options_of_the_package())
    assert {group.argument for group in GROUPS} <= names_of_rollout()


@pytest.mark.parametrize(
    ("group", "option", "field"), FIELDS, ids=lambda x: x if isinstance(x, str) else getattr(x, "__name__", "")
)
def test_every_field_is_a_flag(group, option, field):
    """With the help of its docstring and its default."""
    name = group.argument if field == group.word else f"{group.argument}_{field}"
    flag = FLAGS[name]
    assert flag.opts == [f"--{name.replace('_', '-')}"]
    if field != group.word:
        helps = [field_help(other)[field] for other in group.classes.values() if field in field_help(other)]
        assert flag.help in helps
        assert flag.help
        assert not flag.default


@pytest.mark.parametrize("option", options_of_the_package(), ids=lambda option: option.__name__)
def test_every_field_has_its_help(option):
    texts = field_help(option)
    assert list(texts) == [field.name for field in fields(option)]
    assert all(text.endswith(".") and "  " not in text and "`" not in text for text in texts.values())


def test_fields_that_have_a_flag_elsewhere():
    for (option, field), flag in ELSEWHERE.items():
        assert field in {f.name for f in fields(option)}
        assert flag in FLAGS


def test_every_argument_of_rollout_is_a_flag():
    """But what a command line cannot say: callables."""
    flags = {SPELLED.get(name, name) for name in FLAGS} | {"atoms"}
    assert names_of_rollout() - flags == {"observers"}
    made = {f"{group.argument}_{field}" for group, _, field in FIELDS}
    files = {"format", "index", "units", "topology"}
    command = {"config", "save_config", "dry_run", "json_summary", "report"}
    assert flags - names_of_rollout() - made == {"structure", "device", "threads", "kernels"} | files | command
    assert set(inspect.signature(flashmd_rs.Model).parameters) - {"path_or_name"} <= flags


def test_every_argument_of_resume_is_a_flag():
    flags = {SPELLED.get(parameter.name, parameter.name) for parameter in COMMANDS["resume"].params}
    assert set(inspect.signature(flashmd_rs.resume).parameters) - flags == {"observers"}
    assert flags - set(inspect.signature(flashmd_rs.resume).parameters) == {"device", "threads", "kernels"}


def test_defaults_are_those_of_rollout():
    defaults = {name: p.default for name, p in inspect.signature(rollout).parameters.items()}
    for name, flag in FLAGS.items():
        name = SPELLED.get(name, name)
        if name in defaults and name not in ("model", "resume"):
            assert (flag.default, type(flag.default)) == (defaults[name], type(defaults[name])), name


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the command; returns what `rollout` was given, or the one line of the error."""
    monkeypatch.chdir(tmp_path)
    make_crystal(2).write("start.extxyz")

    def call(*flags):
        taken = {}

        def take(atoms, model, **options):
            taken.update(options)
            raise InputError("taken")

        monkeypatch.setattr(sys.modules["flashmd_rs.rollout"], "rollout", take)
        command = ["run", "start.extxyz", "--model", fixture_model("pair_stride"), "--steps", 2, *flags]
        result = CliRunner().invoke(app, list(map(str, command)))
        assert result.exit_code == 1, result.output
        assert one_clear_error(result.stderr)
        return taken if result.stderr == "error: taken\n" else result.stderr

    return call


TAKEN = {
    "nothing": (
        "",
        {
            "thermostat": None,
            "barostat": None,
            "rescale_energy": "auto",
            "guard": "warn",
            "checkpoint": None,
            "trajectory": Output(None),
            "progress": True,
            "metropolis": False,
            "random_rotation": "auto",
            "resume": False,
            "wall_time_s": None,
        },
    ),
    "thermostat": ("--thermostat bussi", {"thermostat": "bussi"}),
    "no_thermostat": ("--thermostat none", {"thermostat": "none"}),
    "thermostat_field": ("--thermostat bussi --thermostat-time-constant-fs 20", {"thermostat": Bussi(20)}),
    "default_thermostat": ("--thermostat-time-constant-fs 20", {"thermostat": Langevin(20)}),
    "default_barostat": ("--barostat-interval 3", {"barostat": CellRescaling(interval=3)}),
    "barostat": (
        "--barostat cell_rescaling --barostat-time-constant-fs 500 --barostat-coupling anisotropic",
        {"barostat": CellRescaling(time_constant_fs=500, coupling="anisotropic")},
    ),
    "other_barostat": (
        "--barostat monte_carlo --barostat-interval 2 --barostat-compressibility-per-bar 1e-5",
        {"barostat": MonteCarloBarostat(interval=2, compressibility_per_bar=1e-5)},
    ),
    "rescaling_on": ("--rescale-energy on", {"rescale_energy": "global"}),
    "rescaling_on_with_a_limit": (
        "--rescale-energy on --rescale-energy-limit 0.1",
        {"rescale_energy": EnergyRescaling("global", limit=0.1)},
    ),
    "rescaling_off": ("--rescale-energy off", {"rescale_energy": False}),
    "rescaling": (
        "--rescale-energy molecule --rescale-energy-limit 0.1 --rescale-energy-fallback clamp",
        {"rescale_energy": EnergyRescaling("molecule", "clamp", 0.1)},
    ),
    "guard": ("--guard stop", {"guard": "stop"}),
    "default_guard": ("--guard-timestep-fs 0.2", {"guard": Guard(timestep_fs=0.2)}),
    "fallback": (
        "--guard fallback --guard-fallback-strides 4",
        {"guard": Guard("fallback", fallback_strides=4)},
    ),
    "collect": (
        "--guard collect --guard-violations-file odd.extxyz",
        {"guard": Guard("collect", violations_file=Path("odd.extxyz"))},
    ),
    "checkpoint": ("--checkpoint c", {"checkpoint": Path("c")}),
    "checkpoint_fields": (
        "--checkpoint c --checkpoint-interval 5",
        {"checkpoint": Checkpoint(Path("c"), interval=5)},
    ),
    "requeued": ("--checkpoint c --resume auto", {"checkpoint": Path("c"), "resume": "auto"}),
    "the_rest": (
        "--temperature-k 300 --pressure-bar 2 --metropolis --energy-model e --random-rotation off --seed 3 --replica 4 "
        "--trajectory t.traj --interval 7 --logfile - --stride-fs 2 --no-progress",
        {
            "temperature_K": 300.0,
            "pressure_bar": 2.0,
            "metropolis": True,
            "energy_model": "e",
            "random_rotation": False,
            "seed": 3,
            "replica": 4,
            "trajectory": Path("t.traj"),
            "interval": 7,
            "logfile": "-",
            "stride_fs": 2.0,
            "progress": False,
        },
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_rollout_is_given(run, case):
    flags, expected = TAKEN[case]
    taken = run(*flags.split())
    assert {name: taken[name] for name in expected} == expected
    assert set(taken) <= names_of_rollout()


REFUSED = {
    "another_thermostat": (
        "--thermostat none --thermostat-time-constant-fs 5",
        "got --thermostat-time-constant-fs with --thermostat none: wanted langevin or bussi",
    ),
    "field_of_the_other_barostat": (
        "--barostat monte_carlo --barostat-time-constant-fs 5",
        "got --barostat-time-constant-fs with --barostat monte_carlo",
    ),
    "rescaling_is_off": (
        "--rescale-energy off --rescale-energy-limit 0.1",
        "got --rescale-energy-limit with --rescale-energy off: wanted",
    ),
    "guard_is_off": ("--guard off --guard-timestep-fs 1", "got --guard-timestep-fs with --guard off: wanted warn or"),
    "no_checkpoint": (
        "--checkpoint-interval 5",
        "got --checkpoint-interval with --checkpoint not given: wanted a file",
    ),
    "wall_time_without_a_checkpoint": ("--wall-time 10", "--wall-time needs a checkpoint"),
    "no_wall_time": ("--wall-time 23h --checkpoint c", "as Slurm writes them"),
    "zero_time_constant": ("--thermostat-time-constant-fs 0", "got time_constant_fs=0, wanted a positive number of fs"),
    "zero_interval": ("--barostat-interval 0", "got interval=0, wanted a whole number of strides"),
    "collect_without_a_file": ("--guard collect --guard-timestep-fs 1", "give --guard-violations-file"),
    "a_file_without_collect": ("--guard-violations-file odd.extxyz", "'collect'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(run, case):
    flags, message = REFUSED[case]
    answer = run(*flags.split())
    assert isinstance(answer, str), f"rollout was called with {answer}"
    assert message in answer
