"""Runs from a file of options, planned runs, summaries for programs, and help under headings."""

import json
import re
import tomllib

import pytest
import typer

from flashmd_rs.cli.app import app
from flashmd_rs.cli.grouped_help import HEADINGS, heading

from conftest import fixture_model, make_crystal

COMMANDS = typer.main.get_command(app).commands


@pytest.fixture
def start(tmp_path):
    make_crystal(2).write(tmp_path / "start.extxyz")
    return ("start.extxyz", "--model", fixture_model("pair_stride"), "--threads", 1)


class TestConfig:
    def test_flags_and_file_do_the_same(self, shell, start, tmp_path):
        """What a command was given, saved and run again, writes the same bytes."""
        thermostat = ("--thermostat", "langevin", "--thermostat-time-constant-fs", 50)
        options = ("--steps", 12, "--temperature-k", 60, "--seed", 5, *thermostat)
        first = shell("run", *start, *options, "--trajectory", "run.extxyz", "--save-config", "run.toml")
        assert first.returncode == 0, first.stderr
        before = (tmp_path / "run.extxyz").read_bytes()
        (tmp_path / "run.extxyz").unlink()
        again = shell("run", "--config", "run.toml")
        assert again.returncode == 0, again.stderr
        assert (tmp_path / "run.extxyz").read_bytes() == before

    def test_file_has_what_was_given_and_no_default(self, shell, start, tmp_path):
        shell("run", *start, "--steps", 2, "--guard", "off", "--no-progress", "--dry-run", "--save-config", "run.toml")
        found = tomllib.loads((tmp_path / "run.toml").read_text())
        assert found == {
            "structure": "start.extxyz",
            "model": str(fixture_model("pair_stride")),
            "steps": 2,
            "guard": "off",
            "progress": False,
            "threads": 1,
        }

    def test_a_saved_file_holds_what_came_from_another(self, shell, start, tmp_path):
        shell("run", *start, "--steps", 2, "--dry-run", "--save-config", "one.toml")
        shell("run", "--config", "one.toml", "--steps", 3, "--dry-run", "--save-config", "two.toml")
        one, two = (tomllib.loads((tmp_path / f"{name}.toml").read_text()) for name in ("one", "two"))
        assert two == one | {"steps": 3}

    def test_flags_win(self, shell, start, tmp_path):
        (tmp_path / "run.toml").write_text("steps = 3\ntemperature_K = 60\nrandom-rotation = 'off'\n")
        result = shell("run", *start, "--config", "run.toml", "--steps", 5, "--json", "--no-progress")
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)["report"]
        assert (report["steps"], report["temperature_K"], report["random_rotation"]) == (5, 60.0, False)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("temprature_k = 3", "has 'temprature_k', which is no option of run: did you mean temperature_k?"),
            ("colour = 3", "has 'colour', which is no option of run"),
            ("config = 'other.toml'", "which is no option of run"),
            ("[thermostat]\nname = 'langevin'", "one entry per option"),
            ("steps = 'many'", "--steps"),
            ("guard = 'sometimes'", "'sometimes' is not one of"),
            ("steps = = 3", "is not TOML"),
            ("steps = '\udcff'", "is not TOML"),
        ],
    )
    def test_bad_files(self, shell, start, tmp_path, text, message):
        (tmp_path / "run.toml").write_bytes(text.encode(errors="surrogateescape"))
        result = shell("run", *start, "--config", "run.toml")
        assert result.returncode == 2
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr

    def test_missing_file(self, shell, start):
        result = shell("run", *start, "--config", "none.toml")
        assert result.returncode == 2
        assert "No such file or directory: none.toml" in result.stderr


class TestDryRun:
    def test_says_what_would_run_and_writes_nothing(self, shell, start, tmp_path):
        files = ("--trajectory", "run.extxyz", "--checkpoint", "run.ckpt", "--logfile", "run.log")
        result = shell("run", *start, "--steps", 1000, "--interval", 10, *files, "--dry-run")
        assert result.returncode == 0, result.stderr
        assert "1000 strides, 2 ps" in result.stdout
        assert "101, every 10 strides" in result.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["start.extxyz"]

    def test_disk_is_what_the_run_takes(self, shell, start, tmp_path):
        options = ("--steps", 300, "--interval", 1, "--trajectory", "run.extxyz")
        said = shell("run", *start, *options, "--dry-run").stdout
        shell("run", *start, *options)
        megabytes = float(re.search(r"about ([\d.]+) MB of trajectory", said)[1])
        assert megabytes == pytest.approx((tmp_path / "run.extxyz").stat().st_size / 1e6, rel=0.1)

    def test_keeps_the_file_of_violations(self, shell, tmp_path):
        make_crystal(temperature_K=3000.0).write(tmp_path / "hot.extxyz")
        (tmp_path / "violations.extxyz").write_text("mine")
        guard = ("--guard", "collect", "--guard-violations-file", "violations.extxyz")
        result = shell("run", "hot.extxyz", "--model", fixture_model("watched"), "--steps", 20, *guard, "--dry-run")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "violations.extxyz").read_text() == "mine"

    def test_says_what_is_left(self, shell, start):
        options = ("--checkpoint", "run.ckpt", "--resume", "auto")
        shell("run", *start, "--steps", 20, *options)
        assert "30 strides of 50 are left" in shell("run", *start, "--steps", 50, *options, "--dry-run").stdout

    def test_wants_a_length(self, shell, start):
        result = shell("run", *start, "--dry-run")
        assert result.returncode == 1
        assert "give exactly one of steps" in result.stderr

    def test_finds_what_is_wrong(self, shell, start, tmp_path):
        result = shell("run", *start, "--steps", 10, "--trajectory", "none/run.extxyz", "--dry-run")
        assert result.returncode == 1
        assert "none/run.extxyz" in result.stderr
        result = shell("run", *start, "--steps", 10, "--barostat", "monte_carlo", "--pressure-bar", 1, "--dry-run")
        assert result.returncode == 1


def test_json_summary(shell, start):
    """One JSON document on standard output, the text on standard error."""
    result = shell("run", *start, "--steps", 200, "--interval", 2, "--temperature-k", 60, "--json", "--no-progress")
    found = json.loads(result.stdout)
    assert found["report"]["steps"] == 200
    assert found["report"]["thermostat"]["time_constant_fs"] == 100.0
    assert found["frames"] == 101
    assert set(found["means"]["T_total_K"]) == {"mean", "standard_error"}
    assert "ns/day" in result.stderr


def test_log_and_json_are_not_mixed(shell, start):
    result = shell("run", *start, "--steps", 2, "--json", "--logfile", "-")
    assert result.returncode == 1
    assert "both write to standard output" in result.stderr


def test_saved_options_do_not_replace_the_structure(shell, start, tmp_path):
    before = (tmp_path / "start.extxyz").read_bytes()
    result = shell("run", *start, "--steps", 2, "--save-config", "start.extxyz")
    assert result.returncode == 1
    assert (tmp_path / "start.extxyz").read_bytes() == before


class TestHelp:
    @pytest.mark.parametrize("command", ["run", "resume"])
    def test_every_option_has_a_heading(self, command):
        context = typer.Context(COMMANDS[command], info_name=command)
        for parameter in COMMANDS[command].get_params(context):
            assert heading(parameter) in ("Arguments", *HEADINGS), parameter.name

    def test_no_heading_of_nothing(self):
        known = {str(parameter.name) for name in ("run", "resume") for parameter in COMMANDS[name].params} | {"help"}
        assert {option for options in HEADINGS.values() for option in options} <= known

    def test_headings_are_shown(self, shell):
        text = shell("run", "--help").stdout
        places = [text.index(f"\n{name}:\n") for name in HEADINGS]
        assert places == sorted(places)

    def test_completion(self, shell):
        result = shell(
            "-c",
            "from flashmd_rs.cli import app; app(prog_name='flashmd-rs')",
            module=False,
            env={
                "_FLASHMD_RS_COMPLETE": "complete_bash",
                "COMP_WORDS": "flashmd-rs run --temp",
                "COMP_CWORD": "2",
            },
        )
        assert "--temperature-k" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [(["evalute"], "Did you mean 'evaluate'?"), (["run", "a.extxyz", "--temprature-k", 3], "--temperature-k")],
    )
    def test_suggestions(self, shell, arguments, hint):
        result = shell(*arguments)
        assert result.returncode == 2
        assert hint in result.stderr
