"""The most memory that this process has held."""

from __future__ import annotations

import sys


def peak_memory_MB() -> float:
    """Since it began, MB; not a number where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
