"""Training that begins from other weights: of a run, of a model file; all of them, readouts or adapters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from alloys import CUTOFF_A, alloy, alloy_training
from test_pet_training import MODELS, STRIDE_FS, TINY, graph_of_alloy, train
from torch import nn
from typer.testing import CliRunner

from flashmd_train.cli import app
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.learning.checkpoint import best_weights
from flashmd_train.learning.config import DirectTraining, read
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.start import begin_from, read_start
from flashmd_train.learning.units import measure_direct, measure_energy
from flashmd_train.model_files.contract import read_model, write_model
from flashmd_train.model_files.exports import export_action, export_direct
from flashmd_train.model_files.restore import CALIBRATED, restore
from flashmd_train.models.build import build
from flashmd_train.models.config import DirectConfig


@pytest.fixture(scope="module")
def runs(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs of a few steps, with a model file in each."""
    torch.set_num_threads(1)
    folders = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, folder in folders.items():
        train(name, alloy_file, folder, 6)
        publish(folder, folder / "model.onnx", [alloy_file], None, {})
    return folders


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.rpartition(".")[2] not in CALIBRATED}


@pytest.mark.parametrize("name", ["published", "difference"])
def test_a_model_file_gives_back_the_weights_it_was_made_of(name: str, runs: dict[str, Path]) -> None:
    """To the last bit."""
    saved = torch.load(runs[name] / "checkpoint.pt", weights_only=False)
    wanted, found = best_weights(saved), weights(restore(runs[name] / "model.onnx"))
    assert found.keys() == {k for k in wanted if k.rpartition(".")[2] not in CALIBRATED}
    for key, value in found.items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize("name", ["energy", "action"])
def test_a_file_with_gradients_gives_back_a_network_that_does_the_same(name: str, runs: dict[str, Path]) -> None:
    wanted, found = (read_start(runs[name] / file).eval() for file in ("checkpoint.pt", "model.onnx"))
    graph = graph_of_alloy(alloy())
    if name == "action":
        a, b = (torch.cat(m.predict(graph)[:2]) for m in (wanted, found))
    else:  # the export fits the baseline
        a, b = (m.per_atom(graph) - m.baseline[0, graph.species] for m in (wanted, found))
    assert torch.allclose(a, b, atol=2e-6 * float(a.detach().abs().max()))


def test_a_file_of_other_versions_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    graph, metadata = read_model(runs["published"] / "model.onnx")
    identity = graph.graph.node.add()
    identity.op_type = "Identity"
    identity.input.append(graph.graph.output[0].name)
    identity.output.append("again")
    write_model(graph, metadata, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="exported by other versions than are installed here"):
        restore(tmp_path / "other.onnx")


@pytest.mark.parametrize("file", ["checkpoint.pt", "model.onnx"])
def test_other_orders_and_new_elements(file: str, runs: dict[str, Path]) -> None:
    """What is known moves as before whatever the order; a new element is the mean of the known ones."""
    start = read_start(runs["published"] / file).eval()
    config = MODELS["published"].model_copy(update={"species": ("Ag", "Au", "Cu")})
    model = build(config).eval()
    assert begin_from(runs["published"] / file, model) == ["Ag"]
    graph = graph_of_alloy(alloy())
    with torch.no_grad():
        wanted = start.predict(graph)
        got = model.predict(graph._replace(species=torch.tensor([2, 1])[graph.species]))
    assert torch.allclose(got.momenta, wanted.momenta, atol=1e-6)
    assert torch.allclose(got.displacement, wanted.displacement, atol=1e-6)
    table = model.backbone.pet.neighbors.weight
    assert torch.allclose(table[0], table[1:].mean(0))


@pytest.mark.parametrize("name", ["published", "difference"])
def test_displacements_grow_with_the_stride(name: str, runs: dict[str, Path]) -> None:
    """So do changes of momenta: a network for another stride begins where the data nearly is."""
    start = read_start(runs[name] / "checkpoint.pt").eval()
    model = build(start.config.model_copy(update={"stride_fs": 2 * start.config.stride_fs})).eval()
    begin_from(runs[name] / "checkpoint.pt", model)
    graph = graph_of_alloy(alloy())
    before, after = start.predict(graph), model.predict(graph)
    kept, growth = (graph.momenta, 2.0) if name == "difference" else (0.0, 1.0)
    assert torch.allclose(after.displacement, 2 * before.displacement)
    assert torch.allclose(after.momenta - kept, growth * (before.momenta - kept), atol=1e-6)


def test_new_elements_are_named(runs: dict[str, Path], alloy_file: Path, tmp_path: Path, capsys) -> None:
    model = build(MODELS["published"].model_copy(update={"species": ("Cu",)}))
    torch.save(
        dict(config=model.config.model_dump(mode="json"), best=None, averaged=model.state_dict()), tmp_path / "cu.pt"
    )
    train("published", alloy_file, tmp_path / "run", 1, start=tmp_path / "cu.pt")
    assert f"Au: not in {tmp_path / 'cu.pt'}, begin as the mean of its elements" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["published", "energy"])
def test_units_of_new_elements_are_measured_in_those_of_the_known(name: str, alloy_file: Path) -> None:
    """Gold's, where copper's are twice what they are in the data; copper moves as before."""
    data, index = Dataset([alloy_file]), np.array([(0, s) for s in range(6)])
    pairs = StridePairs(data, index, STRIDE_FS, CUTOFF_A)
    model = build(MODELS[name])

    def measure(new: list[str] | None) -> list[torch.Tensor]:
        if name == "energy":
            measure_energy(model, data, index, new)
            return [model.scale.clone()]
        measure_direct(model, pairs, new)
        return [model.prior.position_unit.clone(), model.prior.momentum_unit.clone()]

    measured = measure(None)
    for unit in [model.scale] if name == "energy" else [model.prior.position_unit, model.prior.momentum_unit]:
        unit[0] *= 2.0
        unit[1] = 7.0
    for found, was in zip(measure(["Au"]), measured):
        assert torch.allclose(found, 2.0 * was)
    assert [not torch.equal(u[0], u[1]) for u in measured] == [True] * len(measured)


@pytest.mark.parametrize("name", ["published", "action"])
def test_units_that_exporters_simplify(name: str, tmp_path: Path) -> None:
    """As of metatrain models with scale_targets: false: all ones."""
    torch.manual_seed(1)
    model = build(MODELS[name]).eval()
    graph, _ = {"published": export_direct, "action": export_action}[name](model, (63.5, 197.0))
    metadata = dict(masses_u=[63.5, 197.0], provenance=dict(config=model.config.model_dump(mode="json")))
    write_model(graph, metadata, tmp_path / "m.onnx")
    found, alike = restore(tmp_path / "m.onnx").eval(), graph_of_alloy(alloy())
    a, b = (torch.cat(m.predict(alike)[:2]).detach() for m in (model, found))
    assert torch.allclose(a, b, atol=2e-6 * float(a.abs().max()))


def test_noise_goes_with_its_species(alloy_file: Path, tmp_path: Path) -> None:
    config = MODELS["published"].model_copy(update={"noise": True})
    start = build(config).eval()
    with torch.no_grad():
        start.noise.weight.normal_(0, 0.1)
    torch.save(dict(config=config.model_dump(mode="json"), best=None, averaged=start.state_dict()), tmp_path / "s.pt")
    model = build(config.model_copy(update={"species": ("Pt", "Au", "Cu")})).eval()
    assert begin_from(tmp_path / "s.pt", model) == ["Pt"]
    graph = graph_of_alloy(alloy())
    turned = graph._replace(species=torch.tensor([2, 1])[graph.species])
    with torch.no_grad():
        wanted, found = start.predict(graph).residual_scale, model.predict(turned).residual_scale
    assert torch.allclose(wanted, found, rtol=1e-5)


@pytest.mark.parametrize("tune", ["heads", "adapters"])
@pytest.mark.parametrize("name", ["published", "energy"])
def test_what_is_tuned_changes_and_nothing_else(
    name: str, tune: str, runs: dict[str, Path], alloy_file: Path, tmp_path: Path
) -> None:
    start = runs[name] / "checkpoint.pt"
    train(name, alloy_file, tmp_path / "whole", 4, start=start, tune=tune, rank=2)
    train(name, alloy_file, tmp_path / "run", 4, stop_after=2, start=start, tune=tune, rank=2)
    tuned = train(name, alloy_file, tmp_path / "run", 4, start=start, tune=tune, rank=2)
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)
    whole = torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=False)
    before, after = read_start(start).state_dict(), best_weights(saved)
    assert before.keys() == after.keys()
    assert all(torch.equal(a, b) for a, b in zip(best_weights(whole).values(), after.values()))
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    measured = {k for k in changed if k.rpartition(".")[2] in ("position_unit", "momentum_unit", "scale", "baseline")}
    heads = {k for k in changed if ".outputs." in f".{k}"}
    assert heads
    if tune == "heads":
        assert changed == heads | measured
    else:
        trunk = changed - heads - measured
        assert trunk
        for key in trunk:
            assert torch.linalg.matrix_rank(after[key] - before[key], rtol=1e-4) <= 2, key
    # What is exported is what was trained.
    graph = StridePairs(Dataset([alloy_file]), np.array([(0, 0)]), STRIDE_FS, CUTOFF_A).unaugmented(0).graph
    plain = build(MODELS[name])
    plain.load_state_dict(after)
    run = (lambda m: m.eval().per_atom(graph)) if name == "energy" else (lambda m: m.eval().predict(graph).momenta)
    with torch.no_grad():
        assert torch.allclose(run(plain), run(tuned), atol=1e-5)
    if name == "published":
        publish(tmp_path / "run", tmp_path / "m.onnx", [alloy_file], None, {}, calibration=[])
        assert all(torch.equal(v, after[k]) for k, v in weights(restore(tmp_path / "m.onnx")).items())


def test_the_settings_of_a_start_are_printed(runs: dict[str, Path], tmp_path: Path, alloy_file: Path) -> None:
    start = runs["difference"] / "model.onnx"
    printed = CliRunner().invoke(app, ["config", "direct", "--start", str(start)])
    assert printed.exit_code == 0, printed.output
    (tmp_path / "c.yaml").write_text(printed.output)
    settings = read(DirectTraining, tmp_path / "c.yaml", [f"data.files=[{alloy_file}]", "optimizer.steps=1"])
    assert settings.model == MODELS["difference"]
    train_direct(settings, tmp_path / "run")


def test_what_does_not_fit_is_refused_in_a_sentence(
    runs: dict[str, Path], alloy_file: Path, alloy_energy: Path, tmp_path: Path
) -> None:
    def begin(name: str, start: Path, **model: object) -> None:
        begin_from(start, build(MODELS[name].model_copy(update=model)))

    with pytest.raises(ValueError, match=r"of another model: kind 'Direct', here 'PETEnergy'"):
        begin("energy", runs["published"] / "model.onnx")
    with pytest.raises(ValueError, match=r"another model: momenta_as_difference False, here True"):
        begin("difference", runs["published"] / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"another model: options.features 16, here 32; options.hidden"):
        begin("published", runs["published"] / "checkpoint.pt", options=TINY | dict(features=32, hidden=32))
    (tmp_path / "not.pt").write_text("a picture")
    with pytest.raises(ValueError, match=r"no checkpoint of a training here; wanted checkpoint\.pt, a model file"):
        begin("published", tmp_path / "not.pt")
    (tmp_path / "not.onnx").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"not\.onnx is no ONNX file"):
        begin("published", tmp_path / "not.onnx")
    with pytest.raises(ValueError, match="without PET, or with bonds: its weights cannot be read back"):
        begin("energy", alloy_energy)
    painn = alloy_training(alloy_file)
    train_direct(painn, tmp_path / "painn")
    other = DirectConfig.model_validate(painn.model.model_dump() | {"species": ("Au", "Cu")})
    with pytest.raises(ValueError, match="knows Cu, Au, the data holds Au, Cu; wanted the same elements in the same"):
        begin_from(tmp_path / "painn" / "checkpoint.pt", build(other))
    with pytest.raises(ValueError, match="tune: heads is for PET"):
        train_direct(
            painn.model_copy(update={"tune": "heads", "start": tmp_path / "painn" / "checkpoint.pt"}),
            tmp_path / "heads",
        )
    train("published", alloy_file, tmp_path / "tuned", 2, 1, start=runs["published"] / "checkpoint.pt", tune="heads")
    with pytest.raises(ValueError, match=r"holds a run of another model: .*, tune 'heads'; name another folder"):
        train(
            "published", alloy_file, tmp_path / "tuned", 2, start=runs["published"] / "checkpoint.pt", tune="adapters"
        )
    with pytest.raises(ValueError, match="holds a run of another model"):
        train("energy", alloy_file, tmp_path / "tuned", 2)
    with pytest.raises(ValueError, match=r"stride 12.0 fs is not a multiple of the frame spacing 8.0 fs"):
        train(
            "published",
            alloy_file,
            tmp_path / "stride",
            1,
            model=MODELS["published"].model_copy(update={"stride_fs": 12.0}),
            start=runs["published"] / "checkpoint.pt",
        )
