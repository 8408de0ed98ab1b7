"""Ctrl-C and the notices of batch systems end a run between two strides: files whole, checkpoint saved."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

# How an end is announced: SIGTERM everywhere; SIGUSR1 by `#SBATCH --signal` and Grid Engine, SIGUSR2 by LSF and Grid
# Engine; SIGXCPU at a limit of processor time; SIGHUP by a terminal that goes away. Windows has the first alone.
_NAMES = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGHUP")
NOTICES = tuple(signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__)


class _Leave:
    """Handler that raises at the first notice, so that ``with`` blocks close what they hold, and at every Ctrl-C."""

    asked: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        # Batch systems repeat themselves, and what is being closed must not be interrupted.
        if self.asked is None or number == signal.SIGINT:
            self.asked = number
            _end(number)

    def check(self) -> None:
        """Raise once more what was raised: Python drops an exception that a signal raises in a finalizer."""
        if self.asked is not None:
            _end(self.asked)


@contextmanager
def leaving_on_notice(notices: bool, interrupts: bool = False) -> Iterator[Callable[[], None]]:
    """Let notices that would kill the process raise SystemExit with 128 + number; without ``notices`` do nothing.

    The function that is given raises what has been asked for by then, and with ``interrupts`` Ctrl-C too: to be called
    where something long ends and something long begins.
    """
    leave = _Leave()
    usual: dict[signal.Signals, tuple[Any, ...]] = dict.fromkeys(NOTICES if notices else (), (signal.SIG_DFL,))
    if interrupts:
        usual[signal.SIGINT] = (signal.default_int_handler,)
    with _handled(leave, usual):
        yield leave.check


@contextmanager
def between_strides(notices: bool) -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C, and with ``notices`` those of batch systems, until the function that is given is called.

    It raises KeyboardInterrupt, or SystemExit with 128 + number. A second Ctrl-C raises at once. Signals reach the main
    thread only: elsewhere nothing is changed, nor where the program has set or ignored (``nohup``) a signal itself.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            _end(asked[0])

    def note(number: int, _: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            _end(number)
        asked.append(number)

    usual: dict[signal.Signals, tuple[Any, ...]] = {signal.SIGINT: (signal.default_int_handler, _Leave)}
    usual |= dict.fromkeys(NOTICES if notices else (), (signal.SIG_DFL, _Leave))
    with _handled(note, usual):
        try:
            yield check
        except Exception:
            check()  # or whoever mends this error would go on
            raise
    check()


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], usual: dict[signal.Signals, Any]) -> Iterator[None]:
    """Handle signals where their handler is one of the usual ones, or of such a class."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        now = {number: signal.getsignal(number) for number in usual}
        before = {n: found for n, found in now.items() if found in usual[n] or type(found) in usual[n]}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if signal.Signals(number).name == "SIGHUP":
        _let_go_of_a_lost_terminal()
    raise SystemExit(128 + number)


def _let_go_of_a_lost_terminal() -> None:
    """What is still to be written to a terminal that is gone goes nowhere; else Python would exit with 120, not 129."""
    for stream in (sys.stdout, sys.stderr):
        # A stream of the caller's may have no file.
        with suppress(OSError, ValueError, AttributeError):
            file = stream.fileno()
            if stat.S_ISCHR(os.fstat(file).st_mode) and not os.isatty(file):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, file)
                os.close(nowhere)
