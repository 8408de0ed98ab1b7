"""The folder of a run: what is in it, and whose it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flashmd_rs.reference.system import System
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.rounds import added_files


class RunFolder:
    """Names of the files of a run.

    Args:
        path: of the folder, whose name is the model's.
        systems: number of systems.
    """

    def __init__(self, path: Path, systems: int) -> None:
        self.path, self.name = path, path.resolve().name
        self.model = path / f"{self.name}.onnx"
        self.energy_model = path / f"{self.name}-energy.onnx"
        # The data that sample equilibrium, and evaluations: one per system.
        self.equilibrium = [path / f"data-{k}.h5" for k in range(systems)]
        self.evaluations = [path / f"evaluation-{k}" for k in range(systems)]
        self.request, self.plan, self.choices = (path / f"{name}.json" for name in ("request", "plan", "choices"))
        self.check, self.clock, self.card = path / "check.json", path / "clock.json", path / "card.md"

    @property
    def data(self) -> list[Path]:
        """All data, those that were added among them."""
        return [*self.equilibrium, *added_files(self.path)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from running in it.

        Raises:
            BlockingIOError: one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise BlockingIOError(f"another process is running fit in {self.path}") from None

    def refuse_other(self, request: dict[str, Any]) -> None:
        """Raise ValueError if it holds a run of another request."""
        if not self.request.exists():
            return
        found = json.loads(self.request.read_text())
        changed = sorted(k for k in request.keys() | found.keys() if request.get(k) != found.get(k))
        if changed:
            raise ValueError(
                f"{self.path} holds a run with another {', '.join(changed)}; name another folder, or ask for the same"
            )


def request_of(systems: Sequence[System], options: FitOptions) -> dict[str, Any]:
    """What must be the same in a rerun, as JSON."""
    return {
        "systems": [system.attributes() for system in systems],
        **options.model_dump(mode="json", exclude={"hours", "evaluation_ps"}),
    }


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON, completely or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
