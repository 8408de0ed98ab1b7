"""Wall time of a run: it ends between two strides, early enough that its checkpoint is saved in time."""

from __future__ import annotations

import time

from flashmd_rs import _checks

# What is kept of the wall time for files to be closed and the process to end, at most, s.
_RESERVE_S = 10.0


class WallTime:
    """Clock that says when the next stride, and a checkpoint after it, might no longer fit.

    Each may take as long as the longest stride so far, frame and checkpoint included. Of the time itself a twentieth,
    at most 10 s, is kept for the end.

    Args:
        seconds: wall time, s.
        since: when it began, by ``time.monotonic()``; None is now.

    Raises:
        InputError: not a positive number.
    """

    def __init__(self, seconds: float, since: float | None = None) -> None:
        seconds = _checks.positive("wall_time_s", seconds, "s")
        begun = time.monotonic() if since is None else since
        self._end = begun + seconds - min(0.05 * seconds, _RESERVE_S)
        self._longest = 0.0
        self.begin()

    def begin(self) -> None:
        """The first stride begins."""
        self._last = time.monotonic()

    def is_up(self) -> bool:
        """True if the run has to end; to be asked after every stride."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        return now + 2.0 * self._longest > self._end
