"""Simulation of the segments of a recipe on many cores, into one HDF5 file.

Chains, one per temperature and replica, take turns in the file: segment s belongs to chain s mod C. A segment is a
function of the recipe, its number and the stored end of its chain's previous segment, so the file depends neither on
the number of workers nor on where a run was killed and resumed.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from flashmd_rs import _core
from flashmd_rs._engine.workers import worker_pool
from flashmd_rs.reference.base import force_repeatability
from flashmd_rs.reference.recipe import Recipe, Segment, simulate
from flashmd_rs.reference.store import Store

T = TypeVar("T")


@contextmanager
def executor(workers: int, cluster: str | None = None) -> Iterator[Executor]:
    """The pool that simulates segments; pending segments are cancelled when the block is left by an error.

    Args:
        workers: processes of one thread each; a single worker runs in this process.
        cluster: address of a Dask scheduler, or ``local`` for a Dask cluster of ``workers`` on this machine; None for a
            plain pool of processes.

    Raises:
        ValueError: ``workers`` is not positive, or Dask is not installed.
    """
    if workers < 1:
        raise ValueError(f"workers must be positive, got {workers}")
    if cluster is not None:
        with _dask(workers, cluster) as remote:
            yield remote
        return
    if workers > 1:
        with worker_pool(workers) as processes:
            yield processes
        return
    thread = ThreadPoolExecutor(1)
    try:
        yield thread
    finally:
        thread.shutdown(cancel_futures=True)


@contextmanager
def _dask(workers: int, cluster: str) -> Iterator[Executor]:
    """The executor of a Dask client."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ValueError(
            "a Dask cluster needs the package `distributed`; from a clone: pip install '.[cluster]'"
        ) from error
    if cluster == "local":
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as local, Client(local) as c:
            yield c.get_executor()
    else:
        with Client(cluster) as c:
            yield c.get_executor()


def generate(
    path: Path,
    recipe: Recipe,
    segments: int,
    workers: int | None = 1,
    cluster: str | None = None,
    *,
    seconds: float = math.inf,
    at_least: int = 1,
) -> int:
    """Append segments to ``path`` until it holds ``segments``.

    A rerun after an interruption continues where the file ends; one with more segments continues the same chains.

    Args:
        path: HDF5 file (layout in :mod:`flashmd_rs.reference.store`).
        recipe: what to simulate.
        segments: number of segments the file shall hold.
        workers: processes, None for as many as this one has processors; at most ``recipe.chains`` can be busy.
        cluster: see :func:`executor`.
        seconds: wall time after which no segment is waited for any more, s.
        at_least: segments that the file shall hold however long they take.

    Returns:
        The number of segments in the file.

    Raises:
        ValueError: bad numbers, forces that do not repeat, or a file that was made by another recipe.
        FloatingPointError: a simulation did not conserve its energy.
    """
    if segments < 1:
        raise ValueError(f"segments must be positive, got {segments}")
    if workers is None:
        workers = _core.available_processors()
    chains, deadline = recipe.chains, time.monotonic() + seconds
    reference = recipe.build()
    repeatability = None if path.exists() else force_repeatability(reference)
    with Store(path, recipe, reference, repeatability=repeatability) as store, executor(workers, cluster) as pool:
        done = len(store)

        def submit(number: int) -> Future[Segment]:
            before = store.end(number - chains) if number >= chains else None
            return pool.submit(simulate, recipe, number, before)

        # One segment of every chain is in progress.
        for segment in in_order(submit, range(done, segments), chains):
            store.append(segment)
            if time.monotonic() > deadline and len(store) >= at_least:
                break
        return len(store)


def in_order(submit: Callable[[int], Future[T]], numbers: range, ahead: int) -> Iterator[T]:
    """What ``submit`` promises of each number, in order; ``ahead`` of them are in progress.

    The next one is submitted when the consumer is done with the oldest.
    """
    waiting = deque(submit(number) for number in numbers[:ahead])
    for number in tqdm(numbers, total=numbers.stop, initial=numbers.start, unit="seg", mininterval=10):
        yield waiting.popleft().result()
        if number + ahead in numbers:
            waiting.append(submit(number + ahead))
