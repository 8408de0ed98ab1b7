"""The command, as a person types it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import ase.io
import pytest

from flashmd_rs import _runtime_library as library
from flashmd_rs._engine.checkpoint import read_checkpoint

from conftest import fixture_model, make_crystal, one_clear_error


@pytest.fixture
def structure(tmp_path):
    path = tmp_path / "start.extxyz"
    make_crystal(2).write(path)
    return path


def test_run(shell, structure, tmp_path):
    result = shell(
        *("run", structure, "--model", fixture_model("pair_stride"), "--time-ps", 0.05, "--temperature-k", 60),
        *(
            "--thermostat",
            "langevin",
            "--thermostat-time-constant-fs",
            50,
            "--seed",
            3,
            "--interval",
            5,
            "--threads",
            1,
        ),
        *("--trajectory", "run.extxyz", "--logfile", "run.log", "--energy-model", fixture_model("pair_energy")),
        *("--rescale-energy", "off", "--random-rotation", "off", "--device", "cpu", "--stride-fs", 2),
    )
    assert result.returncode == 0, result.stderr
    for words in ("strides", "25", "0.05 ps", "ns/day", "T all", "T Ar", "target 60 K", "conserved energy", "seed"):
        assert words in result.stdout, words
    assert len(ase.io.read(tmp_path / "run.extxyz", ":")) == 6
    assert "seed 3" in (tmp_path / "run.log").read_text()
    assert result.stderr == ""


def test_same_seed_same_file(shell, structure, tmp_path):
    for name in ("one.extxyz", "two.extxyz"):
        options = ("--steps", 9, "--temperature-k", 60, "--seed", 3, "--threads", 1, "--trajectory", name)
        shell("run", structure, "--model", fixture_model("pair_stride"), *options)
    assert (tmp_path / "one.extxyz").read_bytes() == (tmp_path / "two.extxyz").read_bytes()


def test_log_on_standard_output_stays_clean(shell, structure):
    arguments = ["run", structure, "--model", fixture_model("pair_alone"), "--steps", 3, "--temperature-k", 60]
    result = shell(*arguments, "--logfile", "-")
    lines = result.stdout.splitlines()
    assert sum(not line.startswith("#") for line in lines) == 4
    assert "ns/day" in result.stderr


def test_warnings_are_one_line(shell, structure):
    result = shell("run", structure, "--model", fixture_model("pair_alone"), "--steps", 3)
    assert result.returncode == 0
    assert result.stderr.startswith("warning: NVE with pair_alone")
    assert len(result.stderr.strip().splitlines()) == 1


def test_instability_is_one_line_and_names_the_file(shell, tmp_path, gas):
    gas.write(tmp_path / "gas.extxyz")
    result = shell("run", "gas.extxyz", "--model", fixture_model("explodes"), "--steps", 999, "--temperature-k", 300,
                   "--trajectory", "run.traj", "--guard", "off")  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "run.last_good.extxyz" in result.stderr
    assert (tmp_path / "run.last_good.extxyz").exists()


def test_ctrl_c(structure, tmp_path):
    """A terminal's Ctrl-C: exit code 130, one word, whole frames."""
    command = [sys.executable, "-m", "flashmd_rs", "run", str(structure), "--model", str(fixture_model("pair_stride"))]
    command += ["--steps", "100000000", "--temperature-k", "60", "--interval", "10", "--trajectory", "run.extxyz"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    target = tmp_path / "run.extxyz"
    deadline = time.monotonic() + 60
    while not (target.exists() and target.stat().st_size > 10_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert all(len(frame) == 8 for frame in ase.io.read(target, ":"))


def test_progress_bar_on_a_terminal(structure, tmp_path):
    """On a real (pseudo-)terminal: ps done, ns/day, time left, temperature."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "flashmd_rs", "run", str(structure), "--model", str(fixture_model("pair_stride"))]
    command += ["--steps", "20000", "--temperature-k", "60", "--interval", "20000"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=slave, stdout=subprocess.PIPE)
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 4096)
        except OSError:
            break
        if not block:
            break
        shown += block
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    for words in ("40.000/40.000 ps", "ns/day", "T ", " K]", "100%"):
        assert words in text, words


def test_resume_on_a_device_and_threads(shell, structure, tmp_path):
    command = ("run", structure, "--model", fixture_model("pair_stride"), "--temperature-k", 60, "--threads", 1)
    assert shell(*command, "--steps", 5, "--checkpoint", "c").returncode == 0
    result = shell("resume", "c", "--steps", 8, "--device", "cpu", "--threads", 2)
    assert result.returncode == 0, result.stderr
    assert read_checkpoint(tmp_path / "c").model["threads"] == 2
    result = shell("resume", "c", "--steps", 9, "--threads", 0)
    assert one_clear_error(result.stderr)
    assert "threads=0" in result.stderr


def test_info(shell):
    result = shell("info", fixture_model("pair_alone"))
    assert result.returncode == 0
    for words in ("stride      2 fs", "cutoff      4.5 Å", "nve drift", "-1.25 eV/ps", "SHA-256", "39.948 u"):
        assert " ".join(words.split()) in " ".join(result.stdout.split()), words


def test_bench(shell, structure, tmp_path):
    """Every contender in a row: the reference, and each model with kernels and without."""
    system = tmp_path / "argon.yaml"
    system.write_text("structure: start.extxyz\ncalculator: ase.calculators.lj:LennardJones\n")
    models = [flag for name in ("pair_stride", "pair_energy") for flag in ("--model", fixture_model(name))]
    quick = ("--threads", 1, "--rounds", 3, "--seconds", 0.01)
    result = shell("bench", structure, *models, *quick, "--config", system, "--timestep-fs", 2)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[3:]]
    assert [float(row[-1]) for row in rows[:1]] == [1.0]
    assert len(rows) == 5
    for *_, step_fs, ms, ns_per_day, ratio in rows:
        assert float(ns_per_day) == pytest.approx(float(step_fs) * 86.4 / float(ms), rel=0.2, abs=0.05)
        assert float(ratio) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "aluminium"), "use a model trained for Ar"),
        (("--model", fixture_model("pair_stride"), "--config", "nothing.yaml"), "nothing.yaml"),
        (("--model", fixture_model("pair_stride"), "--threads", 0), "thread"),
    ],
)
def test_bench_refuses(shell, structure, arguments, said):
    result = shell("bench", structure, *arguments)
    assert one_clear_error(result.stderr)
    assert said in result.stderr


def test_doctor(shell):
    result = shell("doctor")
    assert result.returncode == 0, result.stdout
    found = ("libonnxruntime", "chosen because", "CPUExecutionProvider", "telemetry", "off", "device cuda")
    for words in (*found, *library.GPU_INSTALL):
        assert words in result.stdout, words


@pytest.mark.parametrize("command", [[], ["run"], ["resume"], ["info"], ["evaluate"], ["bench"], ["doctor"], ["demo"]])
def test_help(shell, command):
    result = shell(*command, "--help")
    assert result.returncode == 0
    if command == ["run"]:
        flags = (
            "steps time-ps temperature-k thermostat thermostat-time-constant-fs seed interval threads trajectory device"
        )
        for flag in (*flags.split(), "rescale-energy", "random-rotation", "energy-model", "logfile", "stride-fs"):
            assert f"--{flag}" in result.stdout


def test_version(shell):
    import flashmd_rs

    assert shell("--version").stdout.strip() == f"flashmd-rs {flashmd_rs.__version__}"


@pytest.mark.skipif(importlib.util.find_spec("flashmd_train") is not None, reason="the training package is installed")
@pytest.mark.parametrize(
    "arguments", [("convert", "model.ckpt", "-o", "model.onnx"), ("fetch", "pet-omatpes-v2", "--stride-fs", 16)]
)
def test_commands_of_the_training_package_name_what_installs_them(arguments, shell):
    result = shell(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {arguments[0]} needs the training package")
    assert one_clear_error(result.stderr)
    assert "pip install . './training[convert]'" in result.stderr


def test_evaluate_names_the_command_that_installs_what_it_needs(shell):
    code = "import sys; sys.modules.update(openmm=None, filelock=None); sys.argv = ['flashmd-rs', 'evaluate', 'water']"
    result = shell("-c", f"{code}\nfrom flashmd_rs.cli import app\napp()", module=False)
    assert result.returncode == 1
    assert one_clear_error(result.stderr)
    assert "need openmm, filelock; " in result.stderr
    assert "pip install '.[evaluate]'" in result.stderr


def test_other_packages_bring_commands(shell, tmp_path):
    """Through their entry points; one of them may take the place of `convert`. Their errors are one line too."""
    folder = tmp_path / "other"
    (folder / "other-1.0.dist-info").mkdir(parents=True)
    (folder / "other-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    entries = "[flashmd_rs.commands]\ngreet = other:greet\nconvert = other:convert\n"
    (folder / "other-1.0.dist-info" / "entry_points.txt").write_text(entries)
    (folder / "other.py").write_text(
        "def greet(name: str, twice: bool = False) -> None:\n"
        '    """Greet someone."""\n'
        "    print('hello', name, name if twice else '')\n"
        "def convert(file: str) -> None:\n"
        '    """Convert in another way."""\n'
        "    raise FileNotFoundError(2, 'No such file', file)\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
    shown = shell("--help", env=env).stdout
    assert "Greet someone." in shown
    assert "Convert in another way." in shown
    assert shell("greet", "you", "--twice", env=env).stdout == "hello you you\n"
    result = shell("convert", "it", env=env)
    assert result.returncode == 1
    assert result.stderr == "error: No such file: it\n"
