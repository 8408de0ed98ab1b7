"""The wall time that a run has taken, over all its interruptions."""

from __future__ import annotations

import json
import time
from pathlib import Path

from flashmd_rs.writers.atomic_write import atomic_write


class Clock:
    """Hours used of a budget, kept in a file.

    Args:
        path: JSON file.
        hours: the budget.
    """

    def __init__(self, path: Path, hours: float) -> None:
        self._path, self.hours = path, hours
        self._before = json.loads(path.read_text())["seconds"] if path.exists() else 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time so far, s."""
        return float(self._before) + time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Wall time left, s; never negative."""
        return max(0.0, 3600 * self.hours - self.seconds)

    def save(self) -> None:
        """Write the time so far."""
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps({"seconds": round(self.seconds, 1)}))
