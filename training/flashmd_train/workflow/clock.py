"""The time that a run has taken, over all its interruptions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from flashmd_rs.writers.atomic_write import atomic_write


class Clock:
    """Hours used of a budget, kept in a file.

    Args:
        path: JSON file.
        hours: the budget, of wall time.
    """

    def __init__(self, path: Path, hours: float) -> None:
        self._path, self.hours = path, hours
        before = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "processor_seconds": 0.0}
        self._since = time.monotonic() - before["seconds"]
        self._processor_since = _processor_seconds() - before["processor_seconds"]

    @property
    def seconds(self) -> float:
        """Wall time so far, s."""
        return time.monotonic() - self._since

    @property
    def processor_seconds(self) -> float:
        """Processor time so far, of this process and those it has waited for, s."""
        return _processor_seconds() - self._processor_since

    @property
    def seconds_left(self) -> float:
        """Wall time left, s; never negative."""
        return max(0.0, 3600 * self.hours - self.seconds)

    def save(self) -> None:
        """Write the time so far."""
        content = {"seconds": round(self.seconds, 1), "processor_seconds": round(self.processor_seconds, 1)}
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(content) + "\n")


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
