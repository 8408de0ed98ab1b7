"""Without the packages of the extra: one sentence that says what to install; with them, loaded only when asked for."""

from pathlib import Path

import pytest

from conftest import one_clear_error

SYSTEMS = Path(__file__).with_name("small_systems.py")
SYSTEM = ("--structure", f"{SYSTEMS}:argon", "--calculator", f"{SYSTEMS}:pair_calculator")
WITHOUT_OPENMM = "import sys; sys.modules['openmm'] = None; "


def test_a_missing_package_is_named_with_the_command_that_installs_it(shell):
    done = shell("-c", f"{WITHOUT_OPENMM}import flashmd_rs.evaluation.evaluate", module=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: reference MD and evaluation need openmm; from a clone of this repository: "
        "pip install '.[evaluate]'"
    )


def test_the_command_says_so_in_one_line(shell):
    arguments = ["flashmd-rs", "evaluate", "verlet:0.5", *SYSTEM]
    code = f"sys.argv = {arguments}; from flashmd_rs.cli import app; app()"
    done = shell("-c", WITHOUT_OPENMM + code, module=False)
    assert done.returncode == 1
    assert one_clear_error(done.stderr)
    assert "pip install '.[evaluate]'" in done.stderr


def test_the_package_loads_none_of_it(shell):
    code = "import sys, flashmd_rs, flashmd_rs.cli; print(sorted({'openmm', 'h5py', 'scipy'} & set(sys.modules)))"
    done = shell("-c", code, module=False)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verlet:fast", *SYSTEM), "wanted verlet:FS with a time step in fs"),
        (("verlet:2", *SYSTEM, "--nve-ps", "0"), "wanted some of one of them"),
        (("verlet:2", *SYSTEM, "--dihedral", "0,1,2"), "wanted four atoms a,b,c,d"),
        (("verlet:2",), "got no system"),
    ],
)
def test_what_evaluate_cannot_read_is_one_line(shell, arguments, said):
    done = shell("evaluate", *arguments, "--folder", "page")
    assert done.returncode == 1
    assert one_clear_error(done.stderr)
    assert said in done.stderr
