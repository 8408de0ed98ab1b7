"""Replicas of a run on any executor: processes of this machine, a Dask cluster, MPI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flashmd_rs import _checks
from flashmd_rs._engine.workers import worker_pool
from flashmd_rs._threads import choose
from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import Checkpoint, PathLike
from flashmd_rs.rollout import rollout
from flashmd_rs.trajectory import Trajectory

if TYPE_CHECKING:
    import ase


def ensemble(
    atoms: ase.Atoms | Sequence[ase.Atoms],
    model: PathLike | Model,
    *,
    n: int | None = None,
    executor: Executor | None = None,
    threads: int = 1,
    **options: Any,
) -> list[Trajectory]:
    """Run replicas, each a task of its own that gives the bits of ``rollout(atoms, model, replica=k)``.

    A worker that dies loses its tasks to others where the executor gives them out again (Dask does): with a checkpoint,
    a replica goes on from its own, to the last bit. Where it does not (``concurrent.futures``), call again.

    Args:
        atoms: start structure of all, or a list of one each.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        n: number of replicas of one structure.
        executor: whatever has ``submit`` as of PEP 3148, for example ``distributed.Client(…).get_executor()``; None for
            processes on the cores that this one may use.
        threads: of each replica.
        options: those of :func:`flashmd_rs.rollout`. Names of files are to have ``{replica}`` in them; replicas that
            have a checkpoint go on from it (``resume="auto"``). Random numbers are those of ``seed``, which is to be
            given, and of the replica.

    Returns:
        Their trajectories in order; one that failed says so by ``failure``. Frames from before a resumption are in the
        file that ``trajectory`` names.

    Raises:
        InputError: an argument is not usable; a file would be written by several replicas.
        Exception: what a task raised, after all have ended; BrokenExecutor where the executor lost its workers.

    Example:
        >>> runs = ensemble(water, "water", n=8, steps=1000, temperature_K=300, seed=1)  # doctest: +SKIP
    """
    structures, threads = _structures(atoms, n), _checks.whole("threads", threads, "threads")
    files = {name: options.get(name) for name in ("trajectory", "logfile", "checkpoint")}
    files["violations_file"] = getattr(options.get("guard"), "violations_file", None)
    for name, given in files.items():
        _check_distinct(name, given, len(structures))
    if options.get("seed") is None:
        raise InputError("got no seed, and replicas that are run again are to be the same: give seed")
    if "replica" in options:
        raise InputError("got replica, which is what is counted here: leave it out")
    opened: dict[str, Any] = {"threads": threads}
    if isinstance(model, Model):
        opened, model = opened | {"device": model.device, "kernels": model.kernels}, model.path
    with ExitStack() as stack:
        if executor is None:
            workers = min(len(structures), max(1, choose(None).count // threads))
            executor = stack.enter_context(worker_pool(workers))
        tasks = [executor.submit(_run, structure, model, opened, k, options) for k, structure in enumerate(structures)]
        failures = [task.exception() for task in tasks]
    for failure in failures:
        if failure is not None:
            raise failure
    return [task.result() for task in tasks]


def _run(
    structure: ase.Atoms, model: PathLike, opened: dict[str, Any], replica: int, options: dict[str, Any]
) -> Trajectory:
    """One replica, in a worker."""
    options = {"resume": "auto" if options.get("checkpoint") is not None else False, "progress": False} | options
    options["checkpoint"] = _of_replica(options.get("checkpoint"), replica)
    # As a list of one: a replica that fails ends, and says so, without an exception.
    (trajectory,) = rollout([structure], Model(model, **opened), replica=replica, **options)
    return trajectory


def _structures(atoms: Any, n: int | None) -> list[ase.Atoms]:
    import ase

    if isinstance(atoms, ase.Atoms):
        if n is None:
            raise InputError("got one structure and no number of replicas: give n")
        return [atoms] * _checks.whole("n", n, "replicas")
    if not isinstance(atoms, Sequence) or not atoms:
        raise InputError(f"got {type(atoms).__name__} for atoms, wanted an ase.Atoms, or a list with one at least")
    structures = list(atoms)
    if n is not None and n != len(structures):
        raise InputError(f"got n={n} and {len(structures)} structures: leave n out")
    return structures


def _check_distinct(name: str, given: Any, count: int) -> None:
    """Refuse a name that is the same for every replica."""
    path = getattr(given, "path", given)
    if not isinstance(path, str | os.PathLike | None):
        raise InputError(f"got {type(path).__name__} for {name}, wanted a path")
    if path is not None and count > 1 and "{replica}" not in os.fspath(path):
        raise InputError(f"got {name}={os.fspath(path)!r} for {count} replicas: wanted '{{replica}}' in the name")


def _of_replica(checkpoint: Any, replica: int) -> Checkpoint | None:
    """The checkpoint of one replica."""
    if checkpoint is None:
        return None
    option = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    return replace(option, path=os.fspath(option.path).replace("{replica}", str(replica)))
