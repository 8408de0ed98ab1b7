"""A step of training here is a step of ``mtt train``: the same loss and gradient on the same frames."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from alloys import alloy_data
from typer.testing import CliRunner

metatrain = pytest.importorskip("metatrain")
pytest.importorskip("flashmd")

from metatrain_models import STRIDES, train  # noqa: E402

from flashmd_train.cli import app  # noqa: E402
from flashmd_train.convert.checkpoint import Source, read_checkpoint  # noqa: E402
from flashmd_train.convert.modules import build_flashmd  # noqa: E402
from flashmd_train.convert.weights import our_name  # noqa: E402
from flashmd_train.data.pairs import Batch  # noqa: E402
from flashmd_train.graph.nef import join  # noqa: E402
from flashmd_train.graph.structures import graph_of  # noqa: E402
from flashmd_train.learning.config import Loss  # noqa: E402
from flashmd_train.learning.losses import StrideObjective  # noqa: E402
from flashmd_train.learning.start import begin_from, read_start  # noqa: E402
from flashmd_train.models.build import build  # noqa: E402

NAMES = ["own node track", "temperature, momenta as difference"]


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_metatrains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in STRIDES
    source = read_checkpoint(train(name, tmp_path))
    ours = build_flashmd(source).train()
    loss, _ = StrideObjective(ours, Loss(kind="scaled"))(batch(source, tmp_path / "frames.extxyz"))
    loss.backward()
    monkeypatch.chdir(tmp_path)
    theirs = their_loss(source)
    theirs.backward()
    assert float(loss) == pytest.approx(float(theirs), rel=2e-5)
    gradients = {k: p.grad for k, p in ours.backbone.pet.named_parameters()}
    largest = max(float(g.abs().max()) for g in gradients.values())
    compared = 0
    for their_name, parameter in source.model.named_parameters():
        known = our_name(their_name, ["position", "momentum"])
        if known is None or parameter.grad is None:
            continue
        compared += 1
        assert torch.allclose(gradients[known], parameter.grad.float(), atol=2e-5 * largest, rtol=1e-3), known
    assert compared == len(gradients)


def test_a_checkpoint_is_a_start(tmp_path: Path) -> None:
    """Of a model of the same settings, with other elements beside its own."""
    name = "own node track"
    checkpoint = train(name, tmp_path)
    start = read_start(checkpoint).eval()
    config = start.config.model_copy(update={"species": ("C", *reversed(start.config.species))})
    model = build(config).eval()
    assert begin_from(checkpoint, model) == ["C"]
    frames = ase.io.read(tmp_path / "frames.extxyz", ":")
    cutoff = start.config.cutoff_A
    for atoms in frames:
        with torch.no_grad():
            wanted, got = (m.predict(graph_of(atoms, list(m.config.species), cutoff)) for m in (start, model))
        assert torch.allclose(got.momenta, wanted.momenta, atol=1e-6)
    with pytest.raises(ValueError, match=r"of another model: cutoff_A 4\.5, here 5\.0"):
        begin_from(checkpoint, build(config.model_copy(update={"cutoff_A": 5.0})))


def batch(source: Source, file: Path) -> Batch:
    """All frames of a file."""
    frames = ase.io.read(file, ":")
    graphs, moved, momenta = [], [], []
    for atoms in frames:
        # metatrain takes the masses that the model was given.
        atoms.set_masses([float(source.model.masses[z]) for z in atoms.numbers])
        root = np.sqrt(atoms.get_masses())[:, None]
        graphs.append(graph_of(atoms, source.symbols, float(source.hypers["cutoff"])))
        moved.append((atoms.arrays["future_positions"] - atoms.positions) * root)
        momenta.append(atoms.arrays["future_momenta"] / root)
    box = np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames])
    ends = (torch.tensor(np.concatenate(x)[None], dtype=torch.float32) for x in (moved, momenta))
    return Batch(join(graphs), *ends, torch.tensor(box))


def their_loss(source: Source) -> torch.Tensor:
    """As ``mtt train`` computes it, on all frames at once and without turning them."""
    from metatrain.utils.additive import get_remove_additive_transform
    from metatrain.utils.data import CollateFn, get_dataset, unpack_batch
    from metatrain.utils.evaluate_model import evaluate_model
    from metatrain.utils.loss import LossAggregator
    from metatrain.utils.neighbor_lists import get_requested_neighbor_lists, get_system_with_neighbor_lists_transform
    from metatrain.utils.omegaconf import expand_dataset_config
    from metatrain.utils.scaler import get_remove_scale_transform
    from omegaconf import OmegaConf

    options = OmegaConf.load("options.yaml")
    dataset, targets, _ = get_dataset(expand_dataset_config(options["training_set"])[0])
    model = source.model.train()
    collate = CollateFn(
        target_keys=list(targets),
        callables=[
            get_system_with_neighbor_lists_transform(get_requested_neighbor_lists(model)),
            get_remove_additive_transform(model.additive_models, targets),
            get_remove_scale_transform(model.scaler.to(torch.float64)),
        ],
    )
    systems, wanted, extra = unpack_batch(collate([dataset[k] for k in range(len(dataset))]))
    systems = [system.to(torch.float32) for system in systems]
    wanted = {name: target.to(torch.float32) for name, target in wanted.items()}
    predicted = evaluate_model(model, systems, targets, is_training=True)
    return LossAggregator(targets=targets, config={})(predicted, wanted, extra)


def test_both_trainings_come_to_a_table(tmp_path: Path) -> None:
    """Two seeds of an epoch on six strides; a rerun reads what is there."""
    data = alloy_data(tmp_path / "alloy.h5")
    command = ["against-metatrain", *map(str, (data, data, tmp_path / "runs")), "--stride-fs", "32", "--epochs", "2"]
    result = CliRunner().invoke(app, [*command, "--boxes", "2", "--seeds", "2"])
    assert result.exit_code == 0, result.output
    rows = result.output.splitlines()[-2:]
    assert [row.split(" | ")[0] for row in rows] == ["| here", "| mtt train"]
    outcomes = [json.loads(file.read_text())["outcome"] for file in sorted(tmp_path.glob("runs/*/outcome.json"))]
    assert len(outcomes) == 4
    assert all(0.1 < outcome["momentum_error"] < 1.5 for outcome in outcomes)
