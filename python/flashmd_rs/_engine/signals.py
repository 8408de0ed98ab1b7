"""Ctrl-C and SIGTERM end a run between two strides, where its files are whole and its checkpoint can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn


@contextmanager
def between_strides(terminate: bool) -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C, and with ``terminate`` SIGTERM, until the function that is given is called.

    It raises KeyboardInterrupt, or SystemExit with 143. A second signal raises at once. Signals reach the main thread
    only: elsewhere nothing is changed, nor where the program has set a handler itself.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            _end(asked[0])

    def note(number: int, _: FrameType | None) -> None:
        if asked:
            _end(number)
        asked.append(number)

    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if terminate:
        usual[signal.SIGTERM] = signal.SIG_DFL
    main = threading.current_thread() is threading.main_thread()
    held = [number for number, handler in usual.items() if main and signal.getsignal(number) is handler]
    for number in held:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number in held:
            signal.signal(number, usual[number])
    check()


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
