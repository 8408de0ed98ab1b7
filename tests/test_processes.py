"""Threads, forks and files: what a process may do with the package, and what the package does to it."""

import sys
import threading
import time

import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from flashmd_rs import Model, load_structure, rollout

from conftest import fixture_model, make_crystal

PAIR = fixture_model("pair_alone")

# What the programs below share: a structure, and one stride of it as a number.
PRELUDE = f"""
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import flashmd_rs
from ase import Atoms
PAIR = {str(PAIR)!r}

def stride(model=None):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
    atoms.set_momenta(np.full((2, 3), 0.1))
    return (model or flashmd_rs.Model(PAIR, device="cpu", threads=2)).stride(atoms).positions.sum()

def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang ends with a signal
        try:
            print("child", work(), flush=True)
        except flashmd_rs.RuntimeLibraryError as error:
            print("refused", error, flush=True)
        sys.exit(0)  # the long way out: everything is closed
    _, status = os.waitpid(child, 0)
    print("status", status, flush=True)
"""


@pytest.fixture
def program(shell):
    """Run Python code after the prelude; returns its lines."""

    def run(code, timeout=60):
        result = shell("-c", PRELUDE + code, module=False, timeout=timeout)
        assert result.returncode == 0, result.stderr
        assert "panicked" not in result.stderr
        return result.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    "before", ["pass", "flashmd_rs.open_library()", "flashmd_rs.neighbor_list('i', Atoms('H2'), 1.0)"]
)
def test_a_fork_before_the_first_model(program, before):
    """Parent and child open a model each, and find the same."""
    child, status, parent = program(f"{before}\nforked(stride)\nprint('parent', stride())")
    assert status == "status 0"
    assert child.split()[0] == "child"
    assert child.split()[1] == parent.split()[1]


@pytest.mark.parametrize("after", ["stride", "lambda: stride(model)"])
def test_a_fork_after_the_first_model(program, after):
    """Opening a model and using the parent's are refused, and the child can end."""
    lines = program(
        f"model = flashmd_rs.Model(PAIR, device='cpu', threads=2)\nstride(model)\nforked({after})\nprint(stride(model))"
    )
    assert lines[0].startswith("refused this process was forked from process")
    assert "'spawn'" in lines[0]
    assert lines[1] == "status 0"
    assert float(lines[2]) == pytest.approx(3.0, abs=1.0), "the parent goes on"


def test_a_fork_while_another_thread_runs(program):
    """The child sees a lock that nobody will open: it is told so instead of waiting."""
    code = """
atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
model = flashmd_rs.Model(PAIR, device="cpu", threads=1)
go = dict(steps=10_000_000, temperature_K=10, progress=False)
thread = threading.Thread(target=flashmd_rs.rollout, args=(atoms, model), kwargs=go, daemon=True)
thread.start()
time.sleep(0.2)
assert thread.is_alive()
forked(lambda: stride(model))
"""
    lines = program(code)
    assert lines[0].startswith("refused")
    assert lines[1] == "status 0"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(shell, tmp_path, method):
    """Pools of every kind work as long as models are opened in the workers."""
    script = tmp_path / "pool.py"
    script.write_text(
        PRELUDE + f"\nif __name__ == '__main__':\n"
        f"    with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        f"        print(len(set(pool.starmap(stride, [()] * 4))))\n"
    )
    result = shell(script, module=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1\n"


class Clock(Calculator):
    """An energy of zero that notes when it was asked for."""

    implemented_properties = ("energy",)

    def __init__(self):
        super().__init__()
        self.times = []

    def get_potential_energy(self, *_, **__):
        self.times.append(time.perf_counter())
        return 0.0


def timed_run(model, seed, steps=400):
    clock = Clock()
    run = rollout(
        make_crystal(size=5),
        model,
        steps=steps,
        interval=1,
        temperature_K=50,
        seed=seed,
        energy_model=clock,
        rescale_energy=False,
        progress=False,
    )
    return run.frames[-1].positions, clock.times


def in_threads(*jobs):
    results = [None] * len(jobs)

    def work(k):
        results[k] = jobs[k]()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def assert_interleaved(times_1, times_2):
    """Strides of one between strides of the other."""
    whose = [0] * len(times_1) + [1] * len(times_2)
    order = np.array(whose)[np.argsort(times_1 + times_2)]
    assert np.sum(np.diff(order) != 0) > 20


def test_two_runs_in_two_threads():
    """Each gives the bits it gives alone, and neither waits for the other."""
    models = [Model(PAIR, device="cpu", threads=1) for _ in range(2)]
    alone = [timed_run(models[0], seed)[0] for seed in (1, 2)]
    (first, times_1), (second, times_2) = in_threads(*(lambda k=k: timed_run(models[k], k + 1) for k in range(2)))
    np.testing.assert_array_equal(first, alone[0])
    np.testing.assert_array_equal(second, alone[1])
    assert_interleaved(times_1, times_2)


def test_one_model_in_two_threads():
    """They take turns with the network, one stride each, and give the bits they give alone."""
    model = Model(PAIR, device="cpu", threads=1)
    alone = [timed_run(model, seed)[0] for seed in (1, 2)]
    (first, times_1), (second, times_2) = in_threads(lambda: timed_run(model, 1), lambda: timed_run(model, 2))
    np.testing.assert_array_equal(first, alone[0])
    np.testing.assert_array_equal(second, alone[1])
    assert_interleaved(times_1, times_2)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_are_honoured(program, threads):
    """The calling thread is one of them."""
    code = f"""
flashmd_rs.open_library()
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
model = flashmd_rs.Model("water", device="cpu", threads={threads})
print(count() - before)
"""
    assert program(code) == [str(threads - 1)]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_at_the_same_number_of_threads(threads):
    water = load_structure("water258")
    runs = [
        rollout(water, Model("water", "cpu", threads), steps=3, temperature_K=300, seed=5, progress=False)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].frames[-1].positions, runs[1].frames[-1].positions)


BACKGROUND = """
atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
done = []
def work():
    model = flashmd_rs.Model(PAIR, device="cpu")
    done.append(len(flashmd_rs.rollout(atoms, model, steps={steps}, temperature_K=10, progress=False)))
thread = threading.Thread(target=work, daemon={daemon})
thread.start()
time.sleep(0.3)
assert thread.is_alive(), "too short"
"""


def test_control_c_while_another_thread_runs(program):
    """The main thread gets the interrupt at once; the run of the other goes to its end."""
    code = (
        BACKGROUND.format(steps=60_000, daemon=False)
        + """
start = time.perf_counter()
try:
    signal.raise_signal(signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - start < 1)
thread.join()
print(done)
"""
    )
    assert program(code) == ["interrupted True", "[1001]"]


def test_a_process_may_end_while_a_thread_runs(program):
    """A daemon thread is in the core when Python goes away under it."""
    assert program(BACKGROUND.format(steps=10_000_000, daemon=True) + "print('end')") == ["end"]


SLOW_CALLBACK = """
atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
called = threading.Event()
def observe(view):
    called.set()
    time.sleep(0.2)
    print("observed")
def work():
    model = flashmd_rs.Model(PAIR, device="cpu", threads=1)
    flashmd_rs.rollout(atoms, model, steps=10_000, temperature_K=10, progress=False, observers=[(observe, 1)])
thread = threading.Thread(target=work, daemon=True)
thread.start()
called.wait()
"""


def test_a_process_may_end_while_a_callback_runs(program):
    """A daemon thread is in a callback without the GIL: Python waits for it, and no other begins."""
    assert program(SLOW_CALLBACK) == ["observed"]


def test_a_handler_of_before_may_join_the_thread(shell):
    """Handlers at exit run last in, first out: this one comes after the core's, and the run has ended."""
    join = "import atexit\natexit.register(lambda: (thread.join(30), print('joined', not thread.is_alive())))\n"
    result = shell("-c", join + PRELUDE + SLOW_CALLBACK, module=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["observed", "joined True"]


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("way", ["function", "command"])
def test_no_file_is_written_but_those_named(shell, tmp_path, way):
    """Home, temporary folder and working folder are empty but for the trajectory and the log."""
    places = {name: tmp_path / name.lower() for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    for place in places.values():
        place.mkdir()
    env = {name: str(place) for name, place in places.items()}
    # CI switches the telemetry of ONNX Runtime off by itself.
    env |= {"CI": None, "GITHUB_ACTIONS": None, "ORT_DISABLE_TELEMETRY": None, "PYTHONDONTWRITEBYTECODE": "1"}
    out = tmp_path / "out"
    out.mkdir()
    before = listing(tmp_path)
    trajectory, log = out / "run.extxyz", out / "run.log"
    if way == "function":
        code = f"""
import flashmd_rs
water = flashmd_rs.load_structure("water258")
flashmd_rs.rollout(water, flashmd_rs.Model("water", device="cpu"), steps=2, temperature_K=300,
                   trajectory={str(trajectory)!r}, logfile={str(log)!r})
"""
        result = shell("-c", code, module=False, env=env)
    else:
        options = [
            "--model",
            "water",
            "--steps",
            2,
            "--temperature-k",
            300,
            "--trajectory",
            trajectory,
            "--logfile",
            log,
        ]
        result = shell("run", "water258", *options, env=env)
    assert result.returncode == 0, result.stderr
    assert sorted(set(listing(tmp_path)) - set(before)) == ["out/run.extxyz", "out/run.log"]
