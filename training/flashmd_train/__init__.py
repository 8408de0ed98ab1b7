"""Training, calibration and export of flashmd-rs models in PyTorch; import of metatrain checkpoints.

:func:`fit` goes from a potential to a model with its card.
"""

from __future__ import annotations

from typing import Any

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    """``fit`` is imported when it is asked for: it brings PyTorch and OpenMM."""
    if name == "fit":
        from flashmd_train.workflow.fit import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
