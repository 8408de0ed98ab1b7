"""Worker processes, which end with the process that started them, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that is left without a word by Ctrl-C, and by a parent that is killed.

    Where the block is left by an error, an interrupt of this process alone included, nobody waits for what is under
    way: workers are told to end, and runs with a checkpoint save it.
    """
    # spawn: neither OpenMM nor HDF5 survives a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        left = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        # A worker whose run has saved its checkpoint and ended may have taken the next one already.
        while left := [process for process in left if process.is_alive()]:
            for process in left:
                process.terminate()
            left[0].join(1.0)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def follow_parent() -> None:
    """Let this process of :mod:`multiprocessing` end as soon as its parent has."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _begin() -> None:
    # A terminal sends Ctrl-C to the workers as well; what there is to say the parent says.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    follow_parent()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
