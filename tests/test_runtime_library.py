"""Finding ONNX Runtime, and keeping it quiet."""

import importlib
import os
import site
import sys
from pathlib import Path

import pytest

import flashmd_rs
from flashmd_rs import RuntimeLibraryError
from flashmd_rs import _runtime_library as library

from conftest import fixture_model, one_clear_error

SHORT_RUN = f"""
import flashmd_rs, numpy as np
from ase import Atoms
flashmd_rs.rollout(Atoms("H2", positions=[[0, 0, 0], [3, 0, 0]]), {str(fixture_model("free_flight"))!r},
                   steps=3, temperature_K=300, progress=False)
"""


def test_the_installed_wheel_is_found_without_importing_it(shell):
    code = "import sys, flashmd_rs; print(flashmd_rs.open_library()['path']); assert 'onnxruntime' not in sys.modules"
    result = shell("-c", code, module=False)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()) in library.installed_libraries()


def test_providers_are_read_from_the_library_itself():
    info = library.open_library()
    assert "CPUExecutionProvider" in info["providers"]
    assert sorted(library.providers_of(Path(info["path"]))) == sorted(info["providers"])
    assert library.providers_of(Path("/nowhere/libonnxruntime.so")) == []


@pytest.mark.parametrize("variable", library.ENVIRONMENT_VARIABLES)
def test_environment_variables_name_the_library(shell, variable, tmp_path):
    real = library.installed_libraries()[0]
    link = tmp_path / "elsewhere" / real.name
    link.parent.mkdir()
    link.symlink_to(real)
    code = "import flashmd_rs; print(flashmd_rs.open_library()['path'])"
    assert shell("-c", code, module=False, env={variable: str(link)}).stdout.strip() == str(link)
    broken = shell("-c", SHORT_RUN, module=False, env={variable: "/nowhere/libonnxruntime.so"})
    assert f"no ONNX Runtime library at '/nowhere/libonnxruntime.so' (named by {variable})" in broken.stderr


def test_order_of_the_lookup(monkeypatch, tmp_path):
    files = [tmp_path / name for name in ("argument", "first", "second")]
    for file in files:
        file.touch()
    monkeypatch.setenv("ORT_DYLIB_PATH", str(files[2]))
    assert library.find_library().path == files[2]
    monkeypatch.setenv("FLASHMD_ORT_DYLIB", str(files[1]))
    assert library.find_library().path == files[1]
    assert library.find_library(files[0]).path == files[0]


def test_something_else_is_not_taken_for_the_library(shell, tmp_path):
    fake = tmp_path / "libonnxruntime.so"
    fake.write_text("not a library")
    result = shell("run", "x", "--model", "y", env={"FLASHMD_ORT_DYLIB": str(fake)})
    assert result.returncode == 1
    code = "import flashmd_rs; flashmd_rs.open_library()"
    result = shell("-c", code, module=False, env={"FLASHMD_ORT_DYLIB": str(fake)})
    assert "RuntimeLibraryError" in result.stderr.splitlines()[-1]


def test_a_second_library_is_refused(tmp_path):
    flashmd_rs.open_library()
    other = tmp_path / "libonnxruntime.so"
    other.touch()
    with pytest.raises(RuntimeLibraryError):
        flashmd_rs.open_library(other)


@pytest.fixture
def site_without_onnxruntime(tmp_path):
    """A folder that holds every installed package but ONNX Runtime, as links."""
    farm = tmp_path / "site"
    farm.mkdir()
    # Some distributions name folders that are not there.
    for folder in filter(os.path.isdir, site.getsitepackages()):
        for entry in Path(folder).iterdir():
            if not entry.name.startswith("onnxruntime") and not (farm / entry.name).exists():
                (farm / entry.name).symlink_to(entry)
    return farm


def without_onnxruntime(farm, code):
    """Arguments of a Python that sees ``farm`` in place of its own packages."""
    return ["-S", "-c", f"import site, sys; site.addsitedir({str(farm)!r}); sys.path.insert(0, {str(farm)!r})\n{code}"]


def test_missing_onnxruntime_names_both_commands(shell, site_without_onnxruntime):
    result = shell(*without_onnxruntime(site_without_onnxruntime, SHORT_RUN), module=False)
    last = result.stderr.strip().splitlines()[-1]
    assert "RuntimeLibraryError: ONNX Runtime is not installed" in last
    assert library.CPU_INSTALL in last
    assert all(line in last for line in library.GPU_INSTALL)


def test_missing_onnxruntime_is_one_line_of_the_command(shell, site_without_onnxruntime, tmp_path):
    from ase.build import molecule

    molecule("H2O").write(tmp_path / "water.xyz")
    arguments = ["run", "water.xyz", "--model", str(fixture_model("free_flight")), "--steps", "1"]
    for command in (arguments, ["info", str(fixture_model("free_flight"))], ["doctor"]):
        code = f"sys.argv = {['flashmd-rs', *command]!r}\nfrom flashmd_rs.cli import app\napp()"
        result = shell(*without_onnxruntime(site_without_onnxruntime, code), module=False)
        if command[0] == "run":
            assert result.returncode == 1
            assert one_clear_error(result.stderr)
            assert "ONNX Runtime is not installed" in result.stderr
        elif command[0] == "info":
            assert result.returncode == 0, result.stderr
        else:
            assert result.returncode == 1
            assert "not usable: ONNX Runtime is not installed" in result.stdout


@pytest.fixture
def site_of_conda(site_without_onnxruntime):
    """The same with a build of the package for conda or a distribution: no library in it, and none on its record."""
    (site_without_onnxruntime / "onnxruntime" / "capi").mkdir(parents=True)
    (site_without_onnxruntime / "onnxruntime" / "__init__.py").touch()
    info = site_without_onnxruntime / "onnxruntime-1.99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.99.0\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\nonnxruntime/capi/onnxruntime_pybind11_state.so,,\n")
    return site_without_onnxruntime


def linked(folder, name):
    """The real library under a name in a new folder, as conda and distributions keep it: with a chain of links."""
    folder.mkdir(parents=True)
    real = library.installed_libraries()[0]
    (folder / f"{name}.1.99.0").symlink_to(real)
    (folder / f"{name}.1").symlink_to(f"{name}.1.99.0")
    (folder / name).symlink_to(f"{name}.1")
    return folder


DOCTOR = "sys.argv = ['flashmd-rs', 'doctor']\nfrom flashmd_rs.cli import app\napp()"


def rows_of(stdout):
    rows = dict(line.strip().split("  ", 1) for line in stdout.splitlines() if line.startswith("  "))
    return {name: text.strip() for name, text in rows.items()}


def test_a_library_of_conda_is_found(shell, site_of_conda, tmp_path):
    """In the prefix of the environment, which is no folder of the package."""
    folder = linked(tmp_path / "conda" / "lib", "libonnxruntime.so")
    prefix = f"sys.prefix = {str(folder.parent)!r}\n"
    result = shell(*without_onnxruntime(site_of_conda, prefix + DOCTOR), module=False)
    assert result.returncode == 0, result.stdout
    rows = rows_of(result.stdout)
    assert rows["wheel onnxruntime"].startswith("1.99.0, without a library of its own")
    assert rows["library"] == str(folder / "libonnxruntime.so.1.99.0")
    assert rows["chosen because"] == f"the only one in {folder}"
    result = shell(*without_onnxruntime(site_of_conda, prefix + SHORT_RUN), module=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("site", ["site_of_conda", "site_without_onnxruntime"])
def test_a_library_of_the_system_is_found(site, shell, tmp_path, request):
    """By the loader, as those of a distribution or of LD_LIBRARY_PATH are."""
    folder = linked(tmp_path / "system", "libonnxruntime.so")
    env = {"LD_LIBRARY_PATH": str(folder)}
    result = shell(*without_onnxruntime(request.getfixturevalue(site), DOCTOR), module=False, env=env)
    assert result.returncode == 0, result.stdout
    rows = rows_of(result.stdout)
    assert rows["library"] == str(folder / "libonnxruntime.so.1")
    assert rows["chosen because"] == "the only one found by the system's loader"


def test_the_newest_of_several_is_taken_once(tmp_path):
    folder = linked(tmp_path / "lib", "libonnxruntime.so")
    (folder / "libonnxruntime.so.1.100.0").touch()
    (folder / "libonnxruntime_providers_shared.so").touch()
    names = [path.name for path in library._libraries_in(folder)]
    assert names == ["libonnxruntime.so.1.100.0", "libonnxruntime.so.1.99.0"]


def test_a_package_without_a_library_is_not_called_missing(shell, site_of_conda, tmp_path):
    """What is said of the package and of the library agree, and every place that was looked at is named."""
    code = f"sys.prefix = sys.base_prefix = {str(tmp_path / 'nowhere')!r}\n{DOCTOR}"
    result = shell(*without_onnxruntime(site_of_conda, code), module=False)
    assert result.returncode == 1
    message = rows_of(result.stdout)["library"]
    assert "not installed" not in message
    assert "complete" not in result.stdout
    assert message.startswith("not usable: the installed onnxruntime 1.99.0 is a build without a library of its own")
    for place in ("in the onnxruntime package", f"in {tmp_path / 'nowhere' / 'lib'}", "by the system's loader"):
        assert place in message


def test_nothing_is_sent_home(shell, tmp_path):
    """ONNX Runtime's telemetry leaves a cache folder behind; with CI unset and an empty home there is none."""
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "CI": None, "XDG_CACHE_HOME": None, "ORT_DISABLE_TELEMETRY": None, "GITHUB_ACTIONS": None}
    result = shell("-c", SHORT_RUN, module=False, env=env)
    assert result.returncode == 0, result.stderr
    assert [path for path in home.rglob("*") if "icrosoft" in str(path) or "onnxruntime" in str(path)] == []


def test_an_overwritten_wheel_is_noticed(tmp_path, monkeypatch):
    """A distribution whose record no longer fits its library, as after installing both wheels."""
    package = tmp_path / "onnxruntime" / "capi"
    package.mkdir(parents=True)
    (package / "libonnxruntime.so.1.99.0").write_bytes(b"12345")
    info = tmp_path / "onnxruntime_gpu-1.99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.99.0\n")
    (info / "RECORD").write_text(
        "onnxruntime/capi/libonnxruntime.so.1.99.0,sha256=x,5\n"
        "onnxruntime/capi/libonnxruntime_providers_cuda.so,sha256=x,7\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    gpu = next(wheel for wheel in library.wheels() if wheel.name == "onnxruntime-gpu")
    assert gpu.damaged == ("libonnxruntime_providers_cuda.so",)
    obstacle = library.cuda_obstacle(library.open_library())
    assert obstacle is None or library.GPU_INSTALL[1] in obstacle
