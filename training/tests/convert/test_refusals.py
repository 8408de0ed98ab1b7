"""What cannot be imported is refused by name, in one sentence, before metatrain is asked; nothing is written or run.

Checkpoints are made by hand, so that nothing here needs metatrain.
"""

from __future__ import annotations

import copyreg
import gzip
import io
import os
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flashmd_rs.errors import ModelError
from flashmd_train.backbones.pet import PET
from flashmd_train.backbones.pet_sizes import pet_config
from flashmd_train.convert import checkpoint
from flashmd_train.convert.checkpoint import Source, choose_weights
from flashmd_train.convert.command import convert
from flashmd_train.convert.errors import ConversionError
from flashmd_train.convert.proof import _compare
from flashmd_train.convert.weights import load_weights, network_options

HYPERS = dict(
    cutoff=4.5,
    cutoff_width=0.5,
    cutoff_function="Bump",
    num_neighbors_adaptive=None,
    adaptive_cutoff_method="solver",
    cutoff_width_adaptive=1.0,
    d_pet=8,
    d_head=8,
    d_node=8,
    d_feedforward=8,
    num_heads=2,
    num_attention_layers=1,
    num_gnn_layers=1,
    normalization="RMSNorm",
    activation="SwiGLU",
    attention_temperature=1.0,
    transformer_type="PreLN",
    featurizer_type="feedforward",
    zbl=False,
    long_range=dict(enable=False),
    system_conditioning=False,
    max_charge=10,
    max_spin_multiplicity=10,
)


def saved(**changes: object) -> dict:
    """A checkpoint of PET as metatrain 2026.4 writes it, but for the records that need metatrain."""
    weights = {"backend.species_to_species_index": torch.zeros(9)}
    return dict(
        architecture_name="pet",
        model_ckpt_version=16,
        model_data=dict(model_hypers=dict(HYPERS), dataset_info=None),
        epoch=7,
        best_epoch=3,
        model_state_dict=dict(weights),
        best_model_state_dict=dict(weights),
    ) | dict(changes)


def trained_with(**hypers: object) -> dict:
    return saved(model_data=dict(model_hypers=HYPERS | hypers, dataset_info=None))


def without(*names: str) -> dict:
    kept = {name: value for name, value in HYPERS.items() if name not in names}
    return saved(model_data=dict(model_hypers=kept, dataset_info=None))


def packed(content: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    return file.getvalue()


class Malicious:
    """Makes a folder as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def refused(path: Path, output: Path | None = None, weights: str | None = None) -> str:
    """Why ``path`` is refused: one line, after which the folder is as it was."""
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    with pytest.raises((ModelError, OSError)) as caught:
        convert(path, output or path.with_name("model.onnx"), weights)
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.fixture
def given(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.ckpt"
        path.write_bytes(data)
        return path

    return write


FILES = {
    "exported": (exported, r"exported model \(TorchScript\).*give the \.ckpt"),
    "state dict": (lambda: packed(OrderedDict(weight=torch.ones(3))), r"bare state dict.*give the \.ckpt"),
    "truncated": (lambda: packed(saved())[:-300], r"not a file that PyTorch can read.*give the \.ckpt"),
    "truncated early": (lambda: packed(saved())[:1000], r"not a file that PyTorch can read"),
    "empty": (lambda: b"", r"not a file that PyTorch can read"),
    "text": (lambda: b"not a checkpoint", r"not a file that PyTorch can read"),
    "half a zip": (lambda: b"PK\x03\x04broken", r"not a file that PyTorch can read"),
    "plain pickle": (lambda: pickle.dumps(saved()["epoch"]), r"not a file that PyTorch can read"),
    "gzip": (lambda: gzip.compress(packed(saved())), r"compressed by gzip; unpack"),
    "other dictionary": (lambda: packed(dict(step=3, model=[1.0])), r"no 'architecture_name'"),
    "empty dictionary": (lambda: packed({}), r"no 'architecture_name'"),
    "architecture of no name": (lambda: packed(saved(architecture_name=["pet"])), r"no 'architecture_name'"),
    "tensor": (lambda: packed(torch.ones(2)), r"holds a Tensor"),
    "module": (lambda: packed(torch.nn.Linear(1, 1)), r"object torch\.nn\.modules\.linear\.Linear"),
    "numpy": (lambda: packed(saved(epoch=np.float64(3))), r"object numpy.*scalar"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_named(name: str, given: Callable[[bytes], Path]) -> None:
    make, reason = FILES[name]
    message = refused(given(make()))
    assert re.search(reason, message), message
    assert "weights_only" not in message  # PyTorch's advice to switch it off is not passed on


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_nothing_in_a_file_is_run(options: dict, given: Callable[[bytes], Path], tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    message = refused(given(packed(saved(metadata=Malicious(trap)), **options)))
    assert "mkdir" in message
    assert "was not loaded" in message
    assert not trap.exists()


class Compiled:
    """Pickled as an object of a compiled class, of which PyTorch has registered many."""

    def __init__(self, name: object, state: object = "state") -> None:
        self.state = (state, name)

    @property
    def __class__(self) -> type:
        return torch.ScriptObject

    def __reduce_ex__(self, protocol: object) -> tuple:
        return copyreg.__newobj__, (torch.ScriptObject,), self.state


@pytest.mark.parametrize(
    "name", ["__torch__.torch.classes.aten.OpaqueObject", "__torch__.torch.classes.rnn.CellParamsBase", 7, "x" * 999]
)
def test_objects_of_other_compiled_classes_are_not_made(name: object, given: Callable[[bytes], Path]) -> None:
    pytest.importorskip("metatomic.torch")
    message = refused(given(packed(saved(metadata=Compiled(name)))))
    assert re.search(rf"Python object {str(name)[:30]}.*was not loaded", message), message


def test_damage_anywhere_is_one_sentence(given: Callable[[bytes], Path]) -> None:
    whole, rng = bytearray(packed(saved())), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=8):
            damaged[place] ^= int(rng.integers(1, 256))
        refused(given(bytes(damaged)))


CHECKPOINTS = {
    "newer PET": (lambda: saved(model_ckpt_version=17), "pet checkpoint of version 17; the import reads 1 to 16"),
    "newer FlashMD": (
        lambda: saved(architecture_name="experimental.flashmd", model_ckpt_version=6),
        "version 6; the import reads 1 to 5",
    ),
    "newer symplectic": (
        lambda: saved(architecture_name="experimental.flashmd_symplectic", model_ckpt_version=4),
        "version 4; the import reads 1 to 3",
    ),
    "version 0": (lambda: saved(model_ckpt_version=0), "its version is 0;"),
    "version in words": (lambda: saved(model_ckpt_version="16"), "its version is '16';"),
    "true version": (lambda: saved(model_ckpt_version=True), "its version is True;"),
    "a long name": (lambda: saved(architecture_name="pet\n" * 999), r"the architecture 'pet\\npet.*\.\.\."),
    "SOAP-BPNN": (lambda: saved(architecture_name="soap_bpnn"), "the architecture 'soap_bpnn'; experimental.flashmd, "),
    "MACE": (lambda: saved(architecture_name="experimental.mace"), "the architecture 'experimental.mace'"),
    "LLPR": (
        lambda: dict(architecture_name="llpr", model_data=dict(hypers={}), wrapped_model_checkpoint=saved()),
        "'llpr'.*give the checkpoint below it",
    ),
    "no weights": (
        lambda: {name: value for name, value in saved().items() if name != "model_state_dict"},
        "entry 'model_state_dict' is missing",
    ),
    "no model": (lambda: saved(model_data=None), "entry 'model_data' is missing"),
    "no hyperparameters": (lambda: saved(model_data={}), "entry 'model_hypers' is missing"),
    "conditioning": (lambda: trained_with(system_conditioning=True), "system_conditioning on: its energies depend on"),
    "long range": (lambda: trained_with(long_range=dict(enable=True)), "long_range on"),
    "ZBL": (lambda: trained_with(zbl=True), "zbl on: it adds a ZBL repulsion"),
    "unknown": (lambda: trained_with(spin=1, dipoles=True), "does not know: \\['dipoles', 'spin'\\];"),
    "missing": (lambda: without("d_node", "activation"), "lacks hyperparameters.*: \\['activation', 'd_node'\\];"),
    "normalization": (
        lambda: trained_with(normalization="BatchNorm"),
        "normalization: 'BatchNorm'.*RMSNorm and LayerNorm",
    ),
    "cutoff": (lambda: trained_with(cutoff_function="Gaussian"), "cutoff_function: 'Gaussian'"),
    "adaptive": (lambda: trained_with(adaptive_cutoff_method="bisection"), "adaptive_cutoff_method: 'bisection'"),
    "featurizer": (lambda: trained_with(featurizer_type=None), "featurizer_type: None"),
    "LoRA": (
        lambda: saved(best_model_state_dict={"backend.gnn_layers.0.input_linear.lora_A.weight": torch.ones(1)}),
        "LoRA adapters",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_other_checkpoints_are_refused_by_name(name: str, given: Callable[[bytes], Path]) -> None:
    make, reason = CHECKPOINTS[name]
    message = refused(given(packed(make())))
    assert re.search(reason, message), message


def test_old_files_stay_as_they_are(given: Callable[[bytes], Path], tmp_path: Path) -> None:
    path = given(packed(saved(model_ckpt_version=99)))
    (tmp_path / "model.onnx").write_bytes(b"kept")
    assert "version 99" in refused(path)
    assert "replace the checkpoint" in refused(path, path)
    (tmp_path / "link.onnx").symlink_to(path)
    assert "replace the checkpoint" in refused(path, tmp_path / "link.onnx")
    assert "No such file" in refused(path, tmp_path / "nowhere" / "model.onnx")
    (tmp_path / "folder").mkdir()
    assert "cannot write the model file" in refused(path, tmp_path / "folder")
    assert "cannot write the model file" in refused(path, path / "model.onnx")
    assert "No such file" in refused(tmp_path / "nothing.ckpt")
    assert "Is a directory" in refused(tmp_path / "folder")


def test_weights_are_the_best_unless_there_are_none_or_others_are_wanted() -> None:
    def chosen(content: dict, wanted: checkpoint.Weights | None = None) -> tuple[str, list[float]]:
        name = choose_weights(Path("x.ckpt"), content, wanted)
        return name, [content[entry]["w"] for entry in ("best_model_state_dict", "model_state_dict")]

    def both() -> dict:
        return saved(best_model_state_dict=dict(w=1.0), model_state_dict=dict(w=2.0))

    assert chosen(both()) == ("best", [1.0, 1.0])
    assert chosen(both(), "best") == ("best", [1.0, 1.0])
    assert chosen(both(), "last") == ("last", [2.0, 2.0])
    assert chosen(both() | dict(best_model_state_dict=None)) == ("last", [2.0, 2.0])
    old = both()
    old["model_state_dict"]["node_embedding.weight"] = 0.0
    assert chosen(old) == ("last", [2.0, 2.0])
    for best in (None, {}, [1]):
        with pytest.raises(ConversionError, match=r"no best weights.*--weights last"):
            choose_weights(Path("x.ckpt"), both() | dict(best_model_state_dict=best), "best")


@pytest.mark.parametrize(
    ("readable", "reason"), [(14, r"reads 1 to 14. Install a newer one"), (17, r"into version 17, .* install an older")]
)
def test_a_metatrain_of_another_age_is_named(
    readable: int, reason: str, given: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(__model__=SimpleNamespace(__checkpoint_version__=readable))
    fake = SimpleNamespace(architectures=SimpleNamespace(import_architecture=lambda name: module))
    monkeypatch.setattr(checkpoint, "import_metatrain", lambda: fake)
    monkeypatch.setattr(checkpoint, "metatrain_version", lambda: "2042.1")
    message = refused(given(packed(saved())))
    assert re.search(reason, message), message


def test_what_only_metatrain_can_read_asks_for_it(
    given: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "metatrain", None)
    monkeypatch.setitem(sys.modules, "metatomic", None)
    message = refused(given(packed(saved())))
    assert "metatrain is not installed" in message
    assert "pip install './training[convert]'" in message


def source(weights: dict[str, torch.Tensor]) -> Source:
    model = SimpleNamespace(state_dict=lambda: weights, hypers=HYPERS, atomic_types=[1, 8])
    return Source(Path("x.ckpt"), "", "pet", 16, "best", 3, model)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (
            {"backend.charge_embedding.weight": torch.ones(1)},
            "weight 'charge_embedding.weight', which the import does not",
        ),
        ({"additive_models.1.strength": torch.ones(1)}, "weight 'additive_models.1.strength'"),
        ({"scaler.shift": torch.ones(1)}, "weight 'scaler.shift'"),
        ({"scaler.energy_scaler_buffer": torch.ones(1)}, "do not fit its hyperparameters.*Missing"),
        ({"backend.edge_embedder.weight": torch.ones(1)}, "do not fit its hyperparameters"),
    ],
)
def test_unknown_and_missing_weights_are_named(weights: dict[str, torch.Tensor], reason: str) -> None:
    given = source(weights)
    network = PET(pet_config(len(given.symbols), 4.5, network_options(given), sees_momenta=False), [1])
    with pytest.raises(ConversionError, match=reason):
        load_weights(given, network, ["energy"])


def test_a_diverged_training_is_not_called_a_mistake_of_the_import() -> None:
    with pytest.raises(ConversionError, match="metatrain's own energy are not finite; the training diverged"):
        _compare(source({}), dict(energy=(torch.ones(2), torch.tensor([1.0, torch.nan]))))
    assert _compare(source({}), dict(energy=(torch.zeros(2), torch.zeros(2)))) == {"energy": 0.0}
