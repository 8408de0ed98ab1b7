"""The GPU wheel without a GPU: its library is preferred, and asking for CUDA is one clear error.

Needs a folder made by ``pip install --no-deps --target FOLDER onnxruntime-gpu``, named by FLASHMD_TEST_GPU_WHEEL.
"""

import os
import shutil
from pathlib import Path

import pytest

from flashmd_rs import _runtime_library as library

from conftest import fixture_model

FOLDER = os.environ.get("FLASHMD_TEST_GPU_WHEEL")
pytestmark = pytest.mark.skipif(not FOLDER, reason="FLASHMD_TEST_GPU_WHEEL names no folder with the GPU wheel")

OPEN = f"""
import flashmd_rs
info = flashmd_rs.open_library()
print(info["path"], info["providers"])
print(flashmd_rs.Model({str(fixture_model("free_flight"))!r}).device)
flashmd_rs.Model({str(fixture_model("free_flight"))!r}, device="cuda")
"""


@pytest.fixture(params=["alone", "over", "under"])
def folder(request, tmp_path):
    """The GPU wheel alone, installed over the CPU wheel, and under it."""
    if request.param == "alone":
        return Path(FOLDER)
    cpu = library.installed_libraries()[0].parents[2]
    layers = [cpu, Path(FOLDER)] if request.param == "over" else [Path(FOLDER), cpu]
    for layer in layers:
        for part in layer.glob("onnxruntime*"):
            shutil.copytree(part, tmp_path / "both" / part.name, dirs_exist_ok=True)
    return tmp_path / "both"


def test_cuda_is_listed_and_its_absence_is_clear(shell, folder):
    result = shell("-c", OPEN, module=False, env={"PYTHONPATH": str(folder)})
    lines = result.stdout.splitlines()
    assert lines[0].startswith(str(folder))
    assert "CUDAExecutionProvider" in lines[0]
    if lines[1] == "cuda":
        pytest.skip("this machine has a usable GPU")
    assert lines[1] == "cpu"
    assert "RuntimeLibraryError: device='cuda' is not usable: no NVIDIA driver" in result.stderr.splitlines()[-1]


def test_doctor_names_what_was_overwritten(shell, folder):
    result = shell("doctor", env={"PYTHONPATH": str(folder)})
    assert result.returncode == 0
    assert "lists CUDA" in result.stdout or "the only one installed" in result.stdout
    gpu = next(line for line in result.stdout.splitlines() if "wheel onnxruntime-gpu" in line)
    assert "complete" in gpu or "mend with `pip install --force-reinstall --no-deps onnxruntime-gpu`" in gpu
