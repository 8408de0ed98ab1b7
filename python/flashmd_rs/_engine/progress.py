"""Progress of a run: a bar for people who watch, a line now and then for those who read it later."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any, TextIO

# Seconds after which the first line is written, and the longest time between two; each doubles the one before.
FIRST_LINE_S = 10.0
LONGEST_SILENCE_S = 300.0


class Progress:
    """Shows step, simulated time, ns/day, temperature and time left on standard error.

    On a terminal and in a notebook it is a tqdm bar. Elsewhere, as in the log of a batch system, it is a line after
    10 s, one after 20 s more, and so on, at last one every five minutes; a run that ends sooner writes none.

    Args:
        steps: strides of the whole run.
        stride_fs: simulated time of one stride, fs.
        first: strides that were done before.
    """

    def __init__(self, steps: int, stride_fs: float, first: int = 0) -> None:
        self._steps, self._stride_ps, self._first = steps, stride_fs / 1000.0, first
        self._start = time.perf_counter()
        total_ps, first_ps = steps * self._stride_ps, first * self._stride_ps
        in_notebook = _in_notebook()
        self._sink: _Bar | _Lines
        if in_notebook or (sys.stderr is not None and sys.stderr.isatty()):
            self._sink = _Bar(total_ps, first_ps)
        else:
            self._sink = _Lines(f"{steps}", f"{total_ps:g}", sys.stderr)

    def __call__(self, step: int, temperature_K: float) -> None:
        """Show that the run is at ``step``."""
        done = step - self._first
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        left_s = elapsed * (self._steps - step) / done if done else float("nan")
        speed = ns_per_day(done * self._stride_ps, elapsed)
        self._sink.show(step, step * self._stride_ps, speed, temperature_K, left_s)

    def close(self) -> None:
        """Leave the bar as it is and free the line; write where the run is if lines have been written."""
        self._sink.close()


class _Bar:
    """A tqdm bar in ps; in a notebook that has its widgets, theirs."""

    def __init__(self, total_ps: float, first_ps: float) -> None:
        import tqdm.auto

        tqdm_class: Any = tqdm.auto.tqdm
        self._bar = tqdm_class(
            total=total_ps,
            initial=first_ps,
            bar_format="{percentage:3.0f}%|{bar}| {n:.3f}/{total:.3f} ps [{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
        )

    def show(self, step: int, time_ps: float, speed: float, temperature_K: float, left_s: float) -> None:
        self._bar.set_postfix_str(f"{speed:.3g} ns/day, T {temperature_K:.0f} K", refresh=False)
        self._bar.update(time_ps - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """Plain lines, ever more rarely; nothing where there is no standard error."""

    def __init__(self, steps: str, total_ps: str, stream: TextIO | None) -> None:
        self._steps, self._total_ps, self._stream = steps, total_ps, stream
        self._pause_s = FIRST_LINE_S
        self._due = time.monotonic() + self._pause_s
        self._unsaid: str | None = None

    def show(self, step: int, time_ps: float, speed: float, temperature_K: float, left_s: float) -> None:
        line = (
            f"step {step}/{self._steps}  {time_ps:.3f}/{self._total_ps} ps  {speed:.3g} ns/day  "
            f"T {temperature_K:.0f} K  {_clock(left_s)} left"
        )
        now = time.monotonic()
        if now < self._due:
            self._unsaid = line
            return
        self._write(line)
        self._pause_s = min(2.0 * self._pause_s, LONGEST_SILENCE_S)
        self._due = now + self._pause_s

    def close(self) -> None:
        if self._unsaid is not None and self._pause_s > FIRST_LINE_S:
            self._write(self._unsaid)

    def _write(self, line: str) -> None:
        self._unsaid = None
        # Whoever reads the lines may be gone, or the disk of the log full: no reason to end a run.
        with suppress(OSError, ValueError):
            print(line, file=self._stream, flush=True)


def ns_per_day(time_ps: float, seconds: float) -> float:
    """Simulated nanoseconds per day of wall time; 0 before any was spent."""
    return time_ps / 1000.0 * 86400.0 / seconds if seconds > 0 else 0.0


def _in_notebook() -> bool:
    """True in a Jupyter kernel, by the test that tqdm makes."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def _clock(seconds: float) -> str:
    """A time as D-HH:MM:SS, without leading parts that are zero."""
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours:02}:{minutes:02}:{rest:02}" if days or hours else f"{minutes:02}:{rest:02}"
    return f"{days}-{text}" if days else text
