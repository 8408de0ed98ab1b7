"""How many threads a model works with where its user gives no number.

As many as there are processors that this process may use, by its affinity mask and the quota of its control group;
fewer where the environment asks for fewer. ``OMP_NUM_THREADS`` is asked first, then ``SLURM_CPUS_PER_TASK``. A number
given to :class:`flashmd_rs.Model` goes over all of them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from flashmd_rs import _core
from flashmd_rs._warn import warn

ENVIRONMENT_VARIABLES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")


@dataclass(frozen=True)
class Threads:
    """A number of threads and where it comes from, in words."""

    count: int
    source: str


def choose(given: int | None) -> Threads:
    """The threads of a model that is opened with ``threads=given``."""
    if given is not None:
        return Threads(int(given), "as given")
    usable = Threads(_core.available_processors(), "processors this process may use")
    asked = _environment()
    return usable if asked is None or asked.count > usable.count else asked


def _environment() -> Threads | None:
    """What the first variable that is set asks for; one that cannot be read is named and passed over."""
    for variable in ENVIRONMENT_VARIABLES:
        text = os.environ.get(variable, "").strip()
        # OpenMP allows a list, one number for each level of nested teams; ours are the outermost.
        first = re.match(r"(\d{1,9})\s*(,|$)", text, re.ASCII)
        if first and int(first[1]) > 0:
            return Threads(int(first[1]), variable)
        if text:
            warn(f"{variable}={text!r:.100} is passed over: wanted a number of threads of at least 1")
    return None
