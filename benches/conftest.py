"""A contender is measured in turns with its opponent: one round of the opponent before each of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import pytest


@dataclass(frozen=True)
class Run:
    """Something to time, and how much of what it does in one call: simulated fs, or calls."""

    call: Callable[[], object]
    amount: float = 1.0


@pytest.fixture
def in_turns(benchmark) -> Callable[..., None]:
    """Times a run against another; the median of the ratios of their speeds, round by round, is kept with it."""

    def measure(own: Run, opponent: Run | None = None, *, rounds: int, **facts: object) -> None:
        theirs: list[float] = []

        def opponents_turn() -> None:
            if opponent:
                start = time.perf_counter()
                opponent.call()
                theirs.append(time.perf_counter() - start)

        benchmark.pedantic(own.call, setup=opponents_turn, rounds=rounds, iterations=1, warmup_rounds=1)
        benchmark.extra_info.update(amount=own.amount, **facts)
        if opponent:
            per_amount = zip(theirs[-rounds:], benchmark.stats.stats.data)
            ratios = [(their / opponent.amount) / (mine / own.amount) for their, mine in per_amount]
            benchmark.extra_info["ratio"] = median(ratios)

    return measure
