"""Every script in examples/ runs, shortened, and says what it promises; the notebook shows what it promises."""

import pytest

from conftest import TESTS

EXAMPLES = TESTS.parent / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="not run from a source tree")

# Per example: words it prints and files it leaves.
PROMISES = {
    "water": (["T of total", "T of O", "T of H", "ns/day"], ["water.extxyz", "water.png"]),
    "own_energy": (["calls of the calculator", "total energy held to", "momenta scaled by"], []),
    "long_run": (["frames in long_run.extxyz", "strides this time"], ["long_run.extxyz", "long_run.ckpt"]),
    "own_loop": (["ps  T", "gone on to"], ["own_loop.ckpt"]),
    "metadynamics": (["C7eq", "C5", "C7ax", "kT"], ["metadynamics.txt"]),
    "structure": (["first peak of g_OO", "frames"], ["g_OO.txt"]),
}


def test_every_example_has_its_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROMISES)


@pytest.mark.parametrize("name", PROMISES)
def test_example(name, shell, tmp_path):
    words, files = PROMISES[name]
    script = EXAMPLES / f"{name}.py"
    result = shell(script, "--time-ps", 0.1, module=False, env={"MPLBACKEND": "Agg"}, timeout=240)
    assert result.returncode == 0, result.stderr
    for word in words:
        assert word in result.stdout
    for file in files:
        assert (tmp_path / file).stat().st_size > 0


def test_notebook(tmp_path):
    """Executed by a kernel, as a reader's would: a table of the model, a picture of the run, a widget, a page."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "water.ipynb", as_version=4)
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")  # none are committed
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": tmp_path}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    model, run, view = ([output.data for output in cell.outputs if "data" in output][-1] for cell in cells[:3])
    assert "<th>stride</th><td>16 fs</td>" in model["text/html"]
    assert "data:image/png;base64," in run["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "In three dimensions" in (tmp_path / "water.html").read_text()
