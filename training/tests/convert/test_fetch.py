"""Universal models from a hub on this machine: fetched, converted, run by name where there is no PyTorch.

Checkpoints are of the published architectures, trained by `mtt train` for an epoch, and small.
Needs ``pip install './training[convert]'``; skips without it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

pytest.importorskip("metatrain")
huggingface_hub = pytest.importorskip("huggingface_hub")

from hub_server import Hub, hub  # noqa: E402
from metatrain_models import SMALL, train_model  # noqa: E402

from flashmd_rs import Model, ModelError  # noqa: E402
from flashmd_rs.fetched import CURRENT, UNIVERSAL, fetched_file, fetched_names  # noqa: E402
from flashmd_rs.model import find_model, read_metadata  # noqa: E402
from flashmd_train.convert import fetch_command  # noqa: E402
from flashmd_train.convert.fetch import fetch, wanted  # noqa: E402
from flashmd_train.convert.hub import REPOSITORY  # noqa: E402

ENERGY, STRIDE_FS = "pet-omatpes", 16
NAMES = [ENERGY, f"{ENERGY}@16fs", f"{ENERGY}@16fs-symplectic"]
FILES = [f"mlip_{ENERGY}.ckpt", f"flashmd_{ENERGY}_16fs.ckpt", f"flashmd-symplectic_{ENERGY}_16fs.ckpt"]
MODELS = {
    FILES[0]: ("pet", {}, {}),
    # Momenta as a difference, so that what has learned nothing can be rescaled.
    FILES[1]: ("experimental.flashmd", dict(predict_momenta_as_difference=True), {}),
    FILES[2]: ("experimental.flashmd_symplectic", {}, dict(scale_targets=False)),
}
COMMAND = "import typer; from flashmd_train.convert.fetch_command import fetch; typer.run(fetch)"
KILLED_WITHIN_S = 300


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the name that they are published under."""
    made = {}
    for file, (architecture, options, training) in MODELS.items():
        folder = tmp_path_factory.mktemp("metatrain")
        made[file] = train_model(folder, architecture, ["Al"], SMALL | dict(num_gnn_layers=1) | options, training)
    return made


@pytest.fixture(scope="session")
def done(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A cache that the command filled, once it had been killed over its first conversion."""
    folder = tmp_path_factory.mktemp("fetched")
    cache = folder / "cache"
    with hub(REPOSITORY) as served:
        commit = served.commit(checkpoints)
        there = dict(HF_ENDPOINT=served.url, HF_HOME=str(folder / "hf"), FLASHMD_CACHE=str(cache))
        command = [sys.executable, "-c", COMMAND, ENERGY, "--stride-fs", str(STRIDE_FS)]
        killed = subprocess.Popen(command, env=os.environ | there, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + KILLED_WITHIN_S
        while not list(cache.glob("*/.new-*")) and killed.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        left = [path.name for path in cache.rglob("*") if path.suffix == ".onnx" or path.name == CURRENT]
        temporary = list(cache.glob("*/.new-*"))
        whole = subprocess.run(command, env=os.environ | there, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    return SimpleNamespace(cache=cache, commit=commit, left=left, temporary=temporary, output=whole.stdout)


class Here:
    """A hub of one's own, and a cache to go with it."""

    def __init__(self, served: Hub, cache: Path) -> None:
        self.hub, self.cache = served, cache

    def fetch(self, *given: object) -> list[str]:
        """What `fetch` tells, of the energy and stride of this file unless others are given."""
        told: list[str] = []
        fetch(*(given or (ENERGY, STRIDE_FS)), tell=told.append)
        return [line.split(",")[0] for line in told]

    def refused(self, *given: object) -> str:
        """Why the command refuses: one line, after which the cache is as it was."""
        before = files_of(self.cache)
        with pytest.raises(ModelError) as caught:
            fetch_command.fetch(*(given or (ENERGY, STRIDE_FS, "main")))
        assert files_of(self.cache) == before
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, which is read when `huggingface_hub` is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def here(
    done: SimpleNamespace, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Here]:
    """A copy of the filled cache, and a hub whose first commit it came from."""
    shutil.copytree(done.cache, tmp_path / "cache")
    with hub(REPOSITORY) as served:
        served.commit(checkpoints)
        monkeypatch.setenv("FLASHMD_CACHE", str(tmp_path / "cache"))
        point_to(served.url, monkeypatch)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield Here(served, tmp_path / "cache")


def test_the_files_are_those_that_flashmd_names() -> None:
    models = pytest.importorskip("flashmd.models")
    assert list(UNIVERSAL) == models.AVAILABLE_MLIPS
    assert {name: list(made.strides_fs) for name, made in UNIVERSAL.items()} == models.AVAILABLE_TIME_STEPS
    symplectic = {name: list(made.symplectic_fs) for name, made in UNIVERSAL.items() if made.symplectic_fs}
    assert symplectic == models.AVAILABLE_SYMPLECTIC_TIME_STEPS
    assert [model.file for model in wanted(ENERGY, STRIDE_FS)] == FILES
    assert [model.name for model in wanted(ENERGY, 8)] == [ENERGY, f"{ENERGY}@8fs"]


def test_a_fetch_that_was_killed_leaves_nothing_that_counts(done: SimpleNamespace) -> None:
    assert done.temporary, "it was not killed over a conversion"
    assert done.left == []
    assert not list(done.cache.glob("*/.new-*"))


def test_what_it_took_is_told(done: SimpleNamespace) -> None:
    lines = done.output.splitlines()
    for name, kind, line in zip(NAMES, ("energy", "direct", "action"), lines, strict=False):
        for words in (f"{name}: {kind}, 1 species", " MB of ", " s, peak memory ", "metatrain_parity"):
            assert words in line
    assert len(lines) == 6


def test_metadata_says_where_it_came_from(here: Here, done: SimpleNamespace) -> None:
    assert fetched_names() == NAMES
    for name, file in zip(NAMES, FILES):
        metadata, record = read_metadata(name), json.loads((here.cache / name / CURRENT).read_text())
        origin = metadata["provenance"]
        assert (origin["repository"], origin["revision"], origin["checkpoint"]) == (REPOSITORY, done.commit, file)
        assert record["revision"] == done.commit
        assert record["checkpoint_sha256"] == origin["checkpoint_sha256"]
        folder = fetched_file(name).parent.name
        assert folder.startswith(f"{done.commit[:12]}-{origin['checkpoint_sha256'][:12]}-")
        if name != ENERGY:
            assert metadata["energy_model"] == dict(name=ENERGY, sha256=Model(ENERGY, device="cpu").sha256)
            assert metadata["stride_fs"] == STRIDE_FS


RUN = """
import sys
sys.modules.update(dict.fromkeys(("torch", "metatrain", "huggingface_hub", "onnx")))  # none can be imported
from ase.build import bulk
from flashmd_rs import Model, rollout
from flashmd_rs.temperature import draw_momenta
atoms = bulk("Al", cubic=True) * (2, 2, 2)
atoms.rattle(0.05, seed=1)
atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=1))
same = dict(progress=False, seed=1, guard="off")
for name in sys.argv[1:]:
    model = Model(name, device="cpu", threads=1)
    run = rollout(atoms, model, steps=2, rescale_energy=model.kind == "direct", **same)
    if model.kind == "direct":
        assert run.report["energy_model"] == "pet-omatpes", run.report
        assert "stages" in model.describe_kernels(), model.describe_kernels()
        assert abs(run.total_energy - run.total_energy[0]).max() < 1e-6 * abs(run.total_energy[0]), run.total_energy
    rollout(atoms, model, steps=1, temperature_K=300, pressure_bar=1, **same)
    rollout(atoms, model, steps=1, temperature_K=300, **(same | dict(guard="fallback")))
"""


def run_without_pytorch(model: str, cache: Path) -> None:
    """In a process of its own: NVE with energies rescaled, NpT, fallback."""
    runtime = Path(sys.modules["flashmd_rs"].__file__).parents[1]
    environment = os.environ | dict(FLASHMD_CACHE=str(cache), PYTHONPATH=str(runtime))
    command = [sys.executable, "-c", RUN, model]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", NAMES[1:])
def test_it_runs_by_name_without_pytorch(name: str, here: Here) -> None:
    run_without_pytorch(name, here.cache)


def test_a_copied_folder_and_copied_files_run_too(here: Here, tmp_path: Path) -> None:
    name = NAMES[1]
    for path in (tmp_path / "other", tmp_path / "files"):
        path.mkdir()
    shutil.copytree(here.cache / name, tmp_path / "other" / name)
    run_without_pytorch(name, tmp_path / "other")
    for file in find_model(name).parent.iterdir():
        shutil.copy(file, tmp_path / "files")
    run_without_pytorch(str(tmp_path / "files" / f"{name}.onnx"), tmp_path / "nothing")


def test_nothing_is_converted_twice(here: Here) -> None:
    before = files_of(here.cache)
    assert here.fetch() == [f"{name}: converted before" for name in NAMES]
    assert files_of(here.cache) == before
    assert here.hub.asked == [f"{verb} {file}" for file in FILES for verb in ("HEAD", "GET")]
    here.hub.asked.clear()
    here.fetch()
    # Once the commit is known, its other files are in the hub's cache.
    assert here.hub.asked == [f"HEAD {FILES[0]}"]


def changed(checkpoint: Path, folder: Path, change: Callable[[dict], object]) -> Path:
    """A copy of a checkpoint with other contents."""
    saved = torch.load(checkpoint, weights_only=False)
    change(saved)
    torch.save(saved, folder / checkpoint.name)
    return folder / checkpoint.name


def trained_further(saved: dict) -> None:
    for state in (saved["model_state_dict"], saved["best_model_state_dict"]):
        state["edge_embedder.weight"] += 0.01


def test_a_new_revision_is_converted_and_the_old_one_stays(
    here: Here, done: SimpleNamespace, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    old = find_model(NAMES[1])
    data = old.read_bytes()
    commit = here.hub.commit({FILES[1]: changed(checkpoints[FILES[1]], tmp_path, trained_further)})
    told = here.fetch()
    assert told[0] == f"{NAMES[0]}: converted before"
    assert told[1] == f"{NAMES[1]}: direct"
    assert told[2] == f"{NAMES[2]}: converted before"
    new = find_model(NAMES[1])
    assert new.parent.name.startswith(commit[:12])
    assert old.read_bytes() == data != new.read_bytes()
    assert json.loads((here.cache / NAMES[2] / CURRENT).read_text())["revision"] == commit
    # Back to the one before, by its commit.
    told.clear()
    fetch(ENERGY, STRIDE_FS, done.commit, told.append)
    assert find_model(NAMES[1]) == old
    assert told == [f"{name}: converted before" for name in NAMES]


def test_damaged_files_are_made_again(here: Here) -> None:
    file = find_model(NAMES[1])
    file.write_bytes(file.read_bytes()[:1000])
    assert here.fetch()[1] == f"{NAMES[1]}: direct"
    assert read_metadata(NAMES[1])["kind"] == "direct"


def test_offline(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = here.refused()
    assert f"{FILES[0]} of {REPOSITORY} at main is not in the hub's cache" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert here.hub.asked == []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    here.fetch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    here.hub.asked.clear()
    assert here.fetch() == [f"{name}: converted before" for name in NAMES]
    assert here.hub.asked == []


def test_no_hub_at_all(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    assert f"{REPOSITORY} on http://127.0.0.1:9 cannot be reached" in here.refused()


def test_names_that_are_not_published_are_refused_before_the_hub_is_asked(here: Here) -> None:
    assert "no universal model 'pet-mad'; there are pet-omatpes, pet-omatpes-v2" in here.refused("pet-mad", 16, "main")
    message = here.refused(ENERGY, 3, "main")
    assert "got a stride of 3 fs; pet-omatpes has strides of 1, 2, 4, 8, 16, 32, 64, 128 fs" in message
    assert here.hub.asked == []


def test_what_the_repository_does_not_have_is_named(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no revision 'nightly'" in here.refused(ENERGY, STRIDE_FS, "nightly")
    assert f"has no file flashmd_{ENERGY}_8fs.ckpt at revision" in here.refused(ENERGY, 8, "main")
    monkeypatch.setattr("flashmd_train.convert.hub.REPOSITORY", "lab-cosmo/other")
    assert "no repository lab-cosmo/other" in here.refused()


def test_a_download_that_breaks_off_is_taken_up(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts of the hub's library
    here.hub.cut = 100_000
    message = here.refused()
    assert f"{FILES[0]} could not be downloaded from {REPOSITORY}" in message
    here.hub.cut = None
    assert here.fetch() == [f"{name}: converted before" for name in NAMES]


class Malicious:
    """Runs a command as it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.trap}'",)


def test_nothing_in_a_hostile_checkpoint_is_run(here: Here, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    file = changed(checkpoints[FILES[1]], tmp_path, lambda saved: saved.update(metadata=Malicious(trap)))
    here.hub.commit({FILES[1]: file})
    message = here.refused()
    assert "system, which no metatrain checkpoint has; it was not loaded" in message
    assert FILES[1] in message
    assert not trap.exists()


def with_an_unknown_option(saved: dict) -> None:
    saved["model_data"]["model_hypers"]["equivariant"] = True


def of_another_stride(saved: dict) -> None:
    for state in (saved["model_state_dict"], saved["best_model_state_dict"]):
        state["timestep"].fill_(8.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_an_unknown_option, "hyperparameters that the import does not know: ['equivariant']"),
        (of_another_stride, "with a stride of 8.0 fs, wanted 'direct' with 16 fs, which its name says"),
    ],
)
def test_a_checkpoint_that_departs_from_the_published_ones_is_named(
    change: Callable[[dict], None], reason: str, here: Here, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    commit = here.hub.commit({FILES[1]: changed(checkpoints[FILES[1]], tmp_path, change)})
    before = find_model(NAMES[1])
    with pytest.raises(ModelError) as caught:
        fetch_command.fetch(ENERGY, STRIDE_FS)
    assert reason in str(caught.value)
    assert f"{commit}/{FILES[1]}" in str(caught.value)
    assert find_model(NAMES[1]) == before


def test_two_at_once_take_turns(here: Here) -> None:
    told: list[str] = []
    with FileLock(here.cache / f".{ENERGY}.lock"):
        other = threading.Thread(target=fetch, args=(ENERGY, STRIDE_FS), kwargs=dict(tell=told.append))
        other.start()
        until = time.monotonic() + KILLED_WITHIN_S
        while not told and time.monotonic() < until:
            time.sleep(0.01)
        assert told == [f"another process is fetching {ENERGY}: waiting for it"]
    other.join()
    assert told[1:] == [f"{name}: converted before" for name in NAMES]
