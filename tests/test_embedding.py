"""In programs of one's own: C against the header, to the bits of Python, and the example in Rust."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import flashmd_rs
from flashmd_rs import Bussi, Langevin, Simulation
from flashmd_rs._core import runtime_info

from conftest import fixture_model

ROOT = Path(__file__).parents[1]
C = ROOT / "rust" / "flashmd-c"
ALUMINIUM = ROOT / "python" / "flashmd_rs" / "models" / "aluminium.onnx"
COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs Rust"),
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler"),
    pytest.mark.timeout(900),  # the library is compiled
]
FREE, LANGEVIN, BUSSI = 0, 1, 2


@pytest.fixture(scope="module")
def library():
    subprocess.run(["cargo", "build", "-q", "--locked", "-p", "flashmd-c"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"


@pytest.fixture(scope="module")
def compiled(library, tmp_path_factory):
    """A program of a source file, every warning an error."""

    def build(source, *, compiler=(COMPILER, "-std=c11")):
        program = tmp_path_factory.mktemp("c") / "program"
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        subprocess.run(
            [*compiler, *warnings, "-I", C / "include", source, "-L", library, "-lflashmd_c", "-lm", "-o", program],
            check=True,
        )
        return lambda *arguments, **options: subprocess.run(
            [program, *map(str, arguments)],
            env=os.environ | {"LD_LIBRARY_PATH": str(library)},
            capture_output=True,
            text=True,
            **options,
        )

    return build


@pytest.fixture(scope="module")
def interface(compiled):
    return compiled(C / "tests" / "interface.c")


@pytest.fixture
def runtime(models):
    """The ONNX Runtime that Python has opened."""
    models("pair_stride")
    return runtime_info()["path"]


def described(atoms):
    """As the program reads it."""
    numbers = [atoms.cell.array, atoms.numbers, atoms.get_masses(), atoms.positions, atoms.get_momenta()]
    lines = [" ".join(map(str, [len(atoms), *map(int, atoms.pbc)]))]
    return "\n".join(lines + [" ".join(map(repr, np.asarray(x, float).ravel().tolist())) for x in numbers])


def printed(output):
    rows = {name: np.array(numbers, float) for name, *numbers in map(str.split, output.splitlines())}
    return {name: row.reshape(-1, 3) if len(row) > 1 else row.item() for name, row in rows.items()}


def check_same(output, simulation):
    came, state = printed(output), simulation.state
    for name in ("positions", "momenta", "cell"):
        np.testing.assert_array_equal(came[name], getattr(state, name))
    assert came["steps"] == simulation.nsteps


@pytest.mark.parametrize(
    ("thermostat", "options"),
    [
        (FREE, {"rescale_energy": False}),
        (LANGEVIN, {"temperature_K": 60.0, "thermostat": Langevin(100)}),
        (BUSSI, {"temperature_K": 60.0, "thermostat": Bussi(100)}),
    ],
    ids=["NVE", "Langevin", "Bussi"],
)
def test_strides_are_those_of_python(interface, runtime, crystal, models, thermostat, options):
    ran = interface(runtime, fixture_model("pair_stride"), thermostat, 60, 20, input=described(crystal))
    assert ran.returncode == 0, ran.stderr
    simulation = Simulation(crystal, models("pair_stride"), seed=3, guard="stop", **options)
    simulation.step(20)
    check_same(ran.stdout, simulation)


def test_a_caller_moves_atoms(interface, runtime, crystal, models):
    ran = interface(runtime, fixture_model("pair_stride"), FREE, 0, 5, 0.125, 5, input=described(crystal))
    assert ran.returncode == 0, ran.stderr
    simulation = Simulation(crystal, models("pair_stride"), seed=3, guard="stop", rescale_energy=False)
    simulation.step(5)
    atoms = simulation.atoms
    atoms.positions[0, 0] += 0.125
    simulation.atoms = atoms
    simulation.step(5)
    check_same(ran.stdout, simulation)


def test_after_a_failure_atoms_are_where_they_were_sound(interface, runtime, crystal):
    ran = interface(runtime, fixture_model("explodes"), FREE, 0, 100, input=described(crystal))
    assert ran.returncode == 1
    assert "unstable at step" in ran.stderr
    came = printed(ran.stdout)
    assert 0 < came["steps"] < 100
    with pytest.raises(flashmd_rs.StabilityError) as failure:
        Simulation(crystal, fixture_model("explodes"), seed=3, guard="stop", rescale_energy=False).step(100)
    np.testing.assert_array_equal(came["positions"], failure.value.last_good.positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/nowhere/libonnxruntime.so", "pair_stride", FREE, 0), "there is no file /nowhere/libonnxruntime.so"),
        ((None, "pair_energy", FREE, 0), "energy"),
        ((None, "pair_stride", 7, 0), "got thermostat 7"),
        ((None, "pair_stride", LANGEVIN, -1), "the temperature is -1 K"),
    ],
)
def test_refusals(interface, runtime, crystal, arguments, message):
    library, model, *rest = arguments
    ran = interface(library or runtime, fixture_model(model), *rest, 1, input=described(crystal))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert message in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def check_example(ran):
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("256 atoms, 100 strides of 24 fs: ")
    # 765 degrees of freedom: 5 % wide; within four of it.
    assert float(ran.stdout.split()[-2]) == pytest.approx(600, rel=0.2)


def test_the_example_in_c_runs(compiled, runtime):
    check_example(compiled(C / "examples" / "aluminium.c")(runtime, ALUMINIUM))


def test_the_example_in_rust_runs(runtime):
    command = ["cargo", "run", "-q", "--locked", "-p", "flashmd", "--example", "aluminium", "--", runtime, ALUMINIUM]
    check_example(subprocess.run(command, cwd=ROOT, capture_output=True, text=True))


def test_a_state_out_of_the_domain_is_an_error_unless_asked_for(interface, runtime, crystal):
    """The fixture knows smaller momenta than these."""
    crystal.set_momenta(20 * crystal.get_momenta())
    arguments = (runtime, fixture_model("watched"), FREE, 0, 1, 0.0, 1)
    stopped = interface(*arguments, input=described(crystal))
    assert (stopped.returncode, len(stopped.stderr.splitlines())) == (1, 1)
    assert printed(stopped.stdout)["steps"] == 0
    went_on = interface(*arguments, 1, input=described(crystal))
    assert printed(went_on.stdout)["steps"] == 2, went_on.stderr


def test_the_header_is_cpp_too(compiled, tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    source = tmp_path / "main.cpp"
    source.write_text('#include "flashmd.h"\nint main() { flashmd_free(nullptr); return *flashmd_error(); }\n')
    assert compiled(source, compiler=(compiler,))().returncode == 0
