"""Hostile model files: each is refused with one sentence, quickly, or computes what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from fixtures.make import FS, Graph, metadata
from mutation import mutants
from onnx import TensorProto, helper, numpy_helper

from flashmd_rs import FlashMDError, Model, ModelError, _core, rollout
from flashmd_rs.bundled import MODELS
from flashmd_rs.describe import describe_model, drift_at_export

from conftest import FIXTURES, TESTS, fixture_model

SECONDS = 2.0


def inspect(data):
    """True if the contract takes ``data``; anything but a clean ModelError, in time, fails the test."""
    start = time.perf_counter()
    try:
        _core.inspect_model(data)
        taken = True
    except ModelError as error:
        taken = False
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 1500
    assert time.perf_counter() - start < SECONDS
    return taken


def damage(count, seed):
    files = [path.read_bytes() for path in sorted(FIXTURES.glob("*.onnx"))]
    return sum(inspect(data) for _, data in mutants(files, count, seed))


def test_thirty_thousand_damaged_files_before_onnxruntime():
    taken = damage(30_000, seed=1)
    assert 300 < taken < 3000, "most damage is seen, some is not"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_million_damaged_files_before_onnxruntime():
    damage(2_000_000, seed=2)


def child(*arguments, timeout):
    """Reports of hostile_child.py; that it died is one more report."""
    command = [sys.executable, str(TESTS / "hostile_child.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=timeout, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died of {done.returncode} at {lines[-1:]}: {done.stderr[-500:]}"
    assert "panicked" not in done.stderr
    return [report for report in lines if "seconds" in report]


def check_reports(reports):
    """No surprise, no hang, no number that differs from what the file says."""
    assert [report for report in reports if "unexpected" in report] == []
    assert [report for report in reports if report["seconds"] >= SECONDS] == []
    assert [report for report in reports if report.get("departure", 0.0) > 1e-4] == []
    messages = [report["message"] for report in reports if "error" in report]
    assert [message for message in messages if not message.isprintable()] == []


def test_damaged_files_in_onnxruntime():
    """Some 800 of 24 000 pass the contract and are opened; those that open compute what ONNX's evaluator computes."""
    reports = child(3, 0, 24_000, timeout=120)
    check_reports(reports)
    assert len(reports) > 400
    assert sum("departure" in report for report in reports) > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_damaged_files_in_onnxruntime():
    check_reports(child(4, 0, 600_000, timeout=3600))


def test_random_bytes():
    rng = np.random.default_rng(1)
    for size in [*range(64), *rng.integers(64, 5000, 2000)]:
        assert not inspect(rng.bytes(int(size)))


@pytest.mark.parametrize("path", [*sorted(MODELS.glob("*.onnx")), FIXTURES / "pair_stride.onnx"], ids=lambda p: p.stem)
def test_every_cut_of_a_file_is_refused(path):
    data = path.read_bytes()
    for size in np.unique(np.linspace(0, len(data) - 1, 400).astype(int)):
        inspect(data[:size])
    assert inspect(data)


def flight():
    """The graph of free flight, its two outputs, and a model of it."""
    g = Graph("momenta")
    return g, g.Mul("momenta", FS), g.Identity("momenta")


def finished(g, displacement, momenta):
    return g.model(metadata("direct"), displacement=displacement, momenta_out=momenta)


def with_text(text):
    g, displacement, momenta = flight()
    return g.model(text, displacement=displacement, momenta_out=momenta).SerializeToString()


@pytest.fixture
def secret(tmp_path):
    """A file of numbers outside the model's folder, and that folder with every kind of way to it."""
    outside = tmp_path / "outside" / "secret.bin"
    outside.parent.mkdir()
    outside.write_bytes(np.float32(FS).tobytes())
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "plain.bin").write_bytes(outside.read_bytes())
    (inside / "symbolic.bin").symlink_to(outside)
    os.link(outside, inside / "hard.bin")
    return outside


@pytest.mark.parametrize("way", ["plain.bin", "../outside/secret.bin", "absolute", "symbolic.bin", "hard.bin"])
@pytest.mark.parametrize("marked", [True, False])
def test_data_in_another_file_is_out_of_reach(way, marked, secret):
    g, displacement, momenta = flight()
    model = finished(g, displacement, momenta)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=str(secret) if way == "absolute" else way)
    if marked:
        tensor.data_location = TensorProto.EXTERNAL
    path = secret.parent.parent / "inside" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="in another file"):
        Model(path, device="cpu")


BIG = 2**40


def vast(g, op):
    """A tensor of a terabyte and more, out of a few bytes."""
    shape = g.constant([BIG], np.int64)
    if op == "ConstantOfShape":
        return g.ConstantOfShape(shape)
    if op == "Expand":
        return g.Expand(g.constant([0.0]), shape)
    if op == "Tile":
        return g.Tile(g.constant([0.0]), shape)
    if op == "Range":
        return g.Cast(g.Range(*(g.constant(n, np.int64) for n in (0, BIG, 1))), to=TensorProto.FLOAT)
    if op == "Pad":
        return g.Pad(g.constant([0.0]), g.constant([0, BIG], np.int64))
    if op == "Resize":
        return g.Resize(g.constant([0.0]), "", "", shape)
    return g.OneHot(g.constant([0], np.int64), g.constant(BIG, np.int64), g.constant([0.0, 1.0]))


def claims(dims):
    """Free flight with a weight that says it is larger than the file."""
    g, displacement, momenta = flight()
    model = finished(g, displacement, momenta)
    model.graph.initializer[0].dims[:] = dims
    return model


def bombs():
    """Small files that ask for much, by name."""
    ops = ["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot"]
    for op in ops:
        for per_run in (False, True):
            g, displacement, momenta = flight()
            much = vast(g, op)
            if per_run:  # cannot be computed when the model is loaded
                much = g.Mul(much, g.Gather(g.Flatten("momenta", axis=0), g.constant(0, np.int64), axis=1))
            nothing = g.Mul(g.ReduceMax(much, keepdims=0), 0.0)
            yield f"{op}_{'run' if per_run else 'load'}", finished(g, displacement, g.Add(momenta, nothing))
    for name, dims in {"2_gb": [2**29], "1_tb": [2**38], "overflow": [2**40, 2**40], "negative": [-1]}.items():
        yield f"claims_{name}", claims(dims)
    g, displacement, momenta = flight()
    for _ in range(20_000):
        momenta = g.Identity(momenta)
    yield "long_chain", finished(g, displacement, momenta)
    yield "deep_ifs", deep_ifs(30)


def deep_ifs(depth):
    """Branches within branches, as deep as protobuf lets them be."""

    def branch(nodes, out):
        return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)])

    nodes, out = [helper.make_node("Identity", ["momenta"], ["r0"])], "r0"
    for level in range(1, depth + 1):
        other = branch([helper.make_node("Neg", ["momenta"], [f"e{level}"])], f"e{level}")
        node = helper.make_node("If", ["yes"], [f"r{level}"], then_branch=branch(nodes, out), else_branch=other)
        nodes, out = [node], f"r{level}"
    g, displacement, _ = flight()
    g.constants.append(numpy_helper.from_array(np.array(True), "yes"))
    g.nodes += nodes
    return finished(g, displacement, out)


def test_small_files_that_ask_for_much(tmp_path):
    paths = []
    for name, model in bombs():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        paths.append(path)
    reports = child(*paths, timeout=200)
    assert [report for report in reports if "unexpected" in report] == []
    sound = {os.path.basename(report["number"]) for report in reports if report.get("loaded")}
    assert sound <= {"long_chain.onnx", "deep_ifs.onnx"}
    assert [report for report in reports if report["seconds"] >= SECONDS] == []


def test_a_file_larger_than_allowed_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)
    start = time.perf_counter()
    with pytest.raises(ModelError, match="at most 2147483648"):
        Model(path, device="cpu")
    assert time.perf_counter() - start < SECONDS


def test_metadata_that_python_cannot_read(tmp_path):
    text = json.dumps(metadata("direct"))[:-1] + ', "n": ' + "9" * 5000 + "}"
    path = tmp_path / "digits.onnx"
    path.write_bytes(with_text(text))
    with pytest.raises(ModelError):
        Model(path, device="cpu")


def test_metadata_does_not_steer_the_terminal():
    nasty = "\x1b[2J\x07\u202e"
    entry = metadata("direct") | {"reference": nasty, nasty: nasty, "validation": {"drift" + nasty: nasty}}
    assert json.loads(_core.inspect_model(with_text(json.dumps(entry)))) == entry
    text = describe_model("m.onnx", entry, "0" * 64, 1, "off") + drift_at_export(entry)
    assert all(line.isprintable() for line in text.split("\n"))
    for odd in ([], "words", 3, {"drift": {"value": [nasty], "unit": {"a": nasty}}}):
        assert drift_at_export({"validation": odd}).isprintable()


@pytest.mark.parametrize("name", ["../pair_energy", "/etc/passwd", "a/b", "..", "", "x" * 200, 7, ["pair_energy"]])
def test_a_reference_energy_model_is_never_a_path(name, tmp_path, crystal):
    """The file that a model names is opened only from beside it."""
    (tmp_path / "pair_energy.onnx").write_bytes(fixture_model("pair_energy").read_bytes())
    inside = tmp_path / "inside"
    inside.mkdir()
    model = onnx.load(fixture_model("pair_alone"))
    entry = json.loads(model.metadata_props[0].value) | {"energy_model": {"name": name}}
    onnx.helper.set_model_props(model, {"flashmd": json.dumps(entry)})
    onnx.save(model, inside / "m.onnx")
    with pytest.raises(ModelError, match="not the plain name of a file"):
        rollout(crystal, Model(inside / "m.onnx", device="cpu"), steps=1, rescale_energy=True, progress=False)


LATE = {
    "late_shape": r"momenta_out\" has shape \[40, 3\], the contract wants \[64, 3\]",
    "late_nan": "momenta_out of atoms 0, .* is not finite",
}


@pytest.mark.parametrize("name", LATE)
def test_outputs_are_checked_at_every_stride(name, models, crystal):
    """A model that was sound where it was tried is not trusted where it was not."""
    message = LATE[name]
    crystal.set_masses([39.948] * len(crystal))
    small = crystal[:40]
    assert len(rollout(small, models(name), steps=2, temperature_K=10, progress=False)) == 3
    with pytest.raises(FlashMDError, match=message):
        models(name).stride(crystal)
    with pytest.raises(FlashMDError, match=message):
        rollout(crystal, models(name), steps=2, temperature_K=10, progress=False)


def product(g, first, size=30_000):
    """Minutes of multiplications in one operator, which nothing can interrupt."""
    side = g.Expand(first, g.constant([size, size], np.int64))
    return g.MatMul(side, side)


def doubling(g, first):
    """Each operator doubles what the last one made."""
    value = g.Expand(first, g.constant([1, 2], np.int64))
    for _ in range(40):
        value = g.Concat(value, value, axis=0)
    return value


def laborious(path, labour, **options):
    """A model of free flight that does this labour for nothing."""
    g, displacement, momenta = flight()
    first = g.Gather(g.Flatten("momenta", axis=0), g.constant(0, np.int64), axis=1)
    nothing = g.Mul(g.ReduceMax(labour(g, first, **options), keepdims=0), 0.0)
    onnx.save(finished(g, displacement, g.Add(momenta, nothing)), path)


@pytest.mark.parametrize("labour", [product, doubling])
def test_labour_without_end_is_left_behind(labour, tmp_path):
    """No operator repeats, but one can be enormous: the loader stops waiting, and the process can end."""
    laborious(tmp_path / "labour.onnx", labour)
    (report,) = child(tmp_path / "labour.onnx", timeout=120)
    assert report["error"] == "ModelError"
    assert report["seconds"] < SECONDS


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the thread in /proc")
def test_a_process_that_is_stopped_while_it_opens_a_model(tmp_path):
    """For longer than a thread may sleep; the core has the same test with a shorter time."""
    laborious(tmp_path / "slow.onnx", product, size=2000)
    code = f"import flashmd_rs; print(flashmd_rs.Model({str(tmp_path / 'slow.onnx')!r}, device='cpu', threads=1))"
    opening = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    threads = Path(f"/proc/{opening.pid}/task")
    while not any((task / "comm").read_text() == "flashmd\n" for task in threads.iterdir()):
        assert opening.poll() is None, "too fast"
    opening.send_signal(signal.SIGSTOP)
    time.sleep(25)
    opening.send_signal(signal.SIGCONT)
    assert "'slow'" in opening.communicate(timeout=60)[0]
