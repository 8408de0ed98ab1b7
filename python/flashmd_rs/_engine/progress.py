"""The progress bar of a run."""

from __future__ import annotations

import time
from typing import Any


class Progress:
    """A tqdm bar in ps, with ns/day, time left and temperature; silent where standard error is no terminal.

    Args:
        steps: strides of the whole run.
        stride_fs: simulated time of one stride, fs.
        shown: False shows nothing anywhere.
        first: strides that were done before.
    """

    def __init__(self, steps: int, stride_fs: float, shown: bool, first: int = 0) -> None:
        import tqdm.auto

        self._stride_ps = stride_fs / 1000.0
        self._first_ps = first * self._stride_ps
        self._start = time.perf_counter()
        tqdm_class: Any = tqdm.auto.tqdm
        self._bar = tqdm_class(
            total=steps * self._stride_ps,
            initial=self._first_ps,
            disable=None if shown else True,
            bar_format="{percentage:3.0f}%|{bar}| {n:.3f}/{total:.3f} ps [{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
        )

    def __call__(self, step: int, temperature_K: float) -> None:
        """Move the bar to ``step``."""
        done = step * self._stride_ps
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        speed = ns_per_day(done - self._first_ps, elapsed)
        self._bar.set_postfix_str(f"{speed:.3g} ns/day, T {temperature_K:.0f} K", refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is and free the line."""
        self._bar.close()


def ns_per_day(time_ps: float, seconds: float) -> float:
    """Simulated nanoseconds per day of wall time; 0 before any was spent."""
    return time_ps / 1000.0 * 86400.0 / seconds if seconds > 0 else 0.0
