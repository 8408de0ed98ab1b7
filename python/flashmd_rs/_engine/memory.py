"""Memory that the frames of a run will take, against what the process may have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError

GIB = 2**30
# What is worth a word: more than this, or more than half of what is free.
LARGE_BYTES = GIB


def check_memory(needed: int, remedy: str) -> None:
    """Warn of what takes much memory.

    Args:
        needed: bytes.
        remedy: what takes less.

    Raises:
        InputError: the process cannot have so much.
    """
    limit = memory_limit()
    if limit is not None and needed > limit:
        raise InputError(
            f"the frames would take about {needed / GIB:.3g} GiB of memory, of {limit / GIB:.3g} GiB in all: {remedy}"
        )
    free = free_memory()
    if needed > LARGE_BYTES or (free is not None and needed > free / 2):
        of = "" if free is None else f", of {free / GIB:.3g} GiB that are free"
        message = f"the frames will take about {needed / GIB:.3g} GiB of memory{of}: {remedy}"
        warn(message)


def memory_limit() -> int | None:
    """Bytes that the process may have at most: the machine's, its cgroup's, its ``ulimit -v``; None if not known."""
    limits = list(_cgroup_limits())
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ImportError):
        import resource

        address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
        if address_space != resource.RLIM_INFINITY:
            limits.append(address_space)
    return min(limits, default=None)


def free_memory() -> int | None:
    """Bytes that the machine has free; None where it does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup_limits() -> Iterator[int]:
    """The limits of the process's cgroup and those it lies in, as batch systems and containers set them."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = Path("/sys/fs/cgroup", "memory" if controllers else "")
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):  # not there, or "max"
                    yield int((folder / name).read_text())
