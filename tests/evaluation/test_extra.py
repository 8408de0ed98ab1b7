"""Without the packages of the extra: one sentence that says what to install; with them, loaded only when asked for."""

from conftest import one_clear_error

WITHOUT_OPENMM = "import sys; sys.modules['openmm'] = None; "


def test_a_missing_package_is_named_with_the_command_that_installs_it(shell):
    done = shell("-c", f"{WITHOUT_OPENMM}import flashmd_rs.evaluation", module=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: reference MD and evaluation need openmm; from a clone of this repository: "
        "pip install '.[evaluate]'"
    )


def test_the_command_says_so_in_one_line(shell):
    code = "sys.argv = ['flashmd-rs', 'evaluate', 'verlet:0.5']; from flashmd_rs.cli import app; app()"
    done = shell("-c", WITHOUT_OPENMM + code, module=False)
    assert done.returncode == 1
    assert one_clear_error(done.stderr)
    assert "pip install '.[evaluate]'" in done.stderr


def test_the_package_loads_none_of_it(shell):
    code = "import sys, flashmd_rs, flashmd_rs.cli; print(sorted({'openmm', 'h5py', 'scipy'} & set(sys.modules)))"
    done = shell("-c", code, module=False)
    assert done.stdout.strip() == "[]"


def test_what_evaluate_cannot_read_is_one_line(shell):
    done = shell("evaluate", "verlet:fast", "--folder", "page")
    assert done.returncode == 1
    assert one_clear_error(done.stderr)
    assert "wanted verlet:FS with a time step in fs" in done.stderr
