"""The metadata's JSON Schema and the loader say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest

from flashmd_rs import _core
from flashmd_rs.errors import ModelError

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "contract.schema.json").read_text())
EXAMPLE = json.loads((ROOT / "docs" / "contract.example.json").read_text())
GOOD = sorted((ROOT / "tests" / "fixtures").glob("*.onnx")) + sorted((ROOT / "python").glob("**/models/*.onnx"))
DIRECT = ROOT / "python" / "flashmd_rs" / "models" / "water.onnx"


def metadata_of(path: Path) -> dict[str, Any]:
    entries = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    return json.loads(entries["flashmd"])


def with_metadata(metadata: dict[str, Any]) -> bytes:
    model = onnx.load(DIRECT)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "flashmd", json.dumps(metadata)
    return model.SerializeToString()


def test_the_example_fits_schema_and_loader() -> None:
    jsonschema.validate(EXAMPLE, SCHEMA)
    assert json.loads(_core.inspect_model(with_metadata(EXAMPLE))) == EXAMPLE


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.name)
def test_every_model_here_fits_the_schema(path: Path) -> None:
    jsonschema.validate(metadata_of(path), SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"contract": 2},
        {"kind": "magic"},
        {"kind": "splitting"},
        {"kind": None},
        {"cutoff_A": None},
        {"cutoff_A": -1.0},
        {"cutoff_A": "6"},
        {"stride_fs": None},
        {"stride_fs": 0.0},
        {"species": []},
        {"species": ["O", "O"]},
        {"species": None},
        {"masses_u": None},
        {"masses_u": [16.0, -1.0]},
        {"equivariant": "yes"},
    ],
    ids=str,
)
def test_what_the_schema_refuses_the_loader_refuses(change: dict[str, Any]) -> None:
    broken = {k: v for k, v in (EXAMPLE | change).items() if v is not None}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)
    with pytest.raises(ModelError):
        _core.inspect_model(with_metadata(broken))
