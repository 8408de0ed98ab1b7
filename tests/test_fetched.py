"""Names of fetched models: found in the cache, and explained where they are not. Fetching is the training package's."""

import hashlib
import json
import shutil

import pytest

from flashmd_rs import Model, ModelError, bundled
from flashmd_rs.energies.sources import reference_energy_model
from flashmd_rs.fetched import CURRENT, cache_folder, fetched_file, fetched_names, published_names
from flashmd_rs.model import find_model

from conftest import fixture_model, one_clear_error

NAME = "pet-omatpes-v2@16fs"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FLASHMD_CACHE", str(folder))
    return folder


def put(cache, name, folder="0123-4567-1", model="pair_stride"):
    """A model in the cache as `fetch` leaves one."""
    file = cache / name / folder / f"{name}.onnx"
    file.parent.mkdir(parents=True)
    shutil.copy(fixture_model(model), file)
    (cache / name / CURRENT).write_text(json.dumps({"folder": folder}))
    return file


def why_not(name):
    with pytest.raises(FileNotFoundError) as caught:
        find_model(name)
    return str(caught.value)


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASHMD_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("FLASHMD_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "flashmd-rs"
    monkeypatch.setenv("HOME", str(tmp_path))
    for other in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert cache_folder() == tmp_path / ".cache" / "flashmd-rs"


def test_published_names():
    names = published_names()
    assert {"pet-omatpes", NAME, "pet-omatpes@2fs-symplectic"} <= set(names)
    assert len(names) == len(set(names)) == 2 + 16 + 2


@pytest.mark.parametrize("name", [NAME, "pet-omatpes@16fs-symplectic", "pet-omatpes"])
def test_a_fetched_model_opens_by_name(name, cache):
    file = put(cache, name)
    assert fetched_names() == [name]
    assert find_model(name) == find_model(f"{name}.onnx") == file
    assert Model(name, device="cpu").name == name


def test_the_current_folder_counts(cache):
    put(cache, NAME, "old")
    newer = put(cache, NAME, "new")
    assert find_model(NAME) == newer


def test_a_file_and_a_bundled_name_win(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(cache, "water")
    assert find_model("water").parent.name == "models"
    put(cache, NAME)
    shutil.copy(fixture_model("pair_stride"), NAME)
    assert str(find_model(NAME)) == NAME


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (NAME, "`flashmd-rs fetch pet-omatpes-v2 --stride-fs 16`"),
        (f"{NAME}.onnx", "`flashmd-rs fetch pet-omatpes-v2 --stride-fs 16`"),
        ("pet-omatpes@2fs-symplectic", "`flashmd-rs fetch pet-omatpes --stride-fs 2`"),
        ("pet-omatpes", "`flashmd-rs fetch pet-omatpes`"),
    ],
)
def test_what_is_not_fetched_says_the_command(name, command, cache):
    message = why_not(name)
    assert command in message
    assert str(cache) in message


def test_strides_that_are_not_published_are_listed(cache):
    assert why_not("pet-omatpes-v2@15fs").endswith("has strides of 1, 2, 4, 8, 16, 32, 64, 128 fs")
    message = why_not("pet-omatpes@8fs-symplectic")
    assert message.endswith("symplectic ones of 2, 16 fs")
    assert "`" not in message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("watre", "water"),
        ("water-nev.onnx", "water-nve"),
        ("pet-omatpes-v3@16fs", NAME),
        ("pet_omatpes", "pet-omatpes"),
    ],
)
def test_the_nearest_name_is_suggested(name, meant, cache):
    assert f"did you mean {meant!r}?" in why_not(name)


def test_far_names_are_listed_without_one(cache):
    put(cache, NAME)
    message = why_not("quartz")
    assert "did you mean" not in message
    assert all(name in message for name in [*bundled()["models"], NAME])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folder": 1}', '{"folder": "gone"}', '{"folder": ".."}', "\0"])
def test_a_damaged_record_counts_as_not_fetched(text, cache):
    file = put(cache, NAME)
    (cache / NAME / CURRENT).write_text(text)
    assert fetched_names() == []
    assert "flashmd-rs fetch" in why_not(NAME)
    assert file.exists()


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", "", ".", "..", "a\0b"])
def test_names_stay_in_the_cache(name, cache):
    (cache.parent / "escape").mkdir()
    shutil.copy(fixture_model("pair_stride"), cache.parent / "escape" / "escape.onnx")
    (cache.parent / "escape" / CURRENT).write_text('{"folder": "."}')
    assert fetched_file(name) is None


def test_the_command_line_says_it_in_one_line(shell, cache):
    result = shell("info", NAME)
    assert result.returncode == 1
    assert one_clear_error(result.stderr)
    assert "flashmd-rs fetch pet-omatpes-v2 --stride-fs 16" in result.stderr


def with_energy(file, name, sha256):
    """The model of a file, naming a reference energy."""
    import onnx

    graph = onnx.load(file)
    (entry,) = graph.metadata_props
    entry.value = json.dumps(json.loads(entry.value) | {"energy_model": {"name": name, "sha256": sha256}})
    onnx.save(graph, file)
    return Model(file, device="cpu")


def test_the_energy_of_a_lone_copy_is_found_in_the_cache(cache, tmp_path):
    energy = put(cache, "pet-omatpes-v2", model="pair_energy")
    lone = shutil.copy(fixture_model("pair_stride"), tmp_path / "lone.onnx")
    model = with_energy(lone, "pet-omatpes-v2", hashlib.sha256(energy.read_bytes()).hexdigest())
    assert reference_energy_model(model).path == energy
    energy.unlink()
    with pytest.raises(ModelError, match="neither beside it nor bundled nor fetched"):
        reference_energy_model(model)
