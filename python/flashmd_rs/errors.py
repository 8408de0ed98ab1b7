"""The errors flashmd-rs raises: one tree, so that one ``except FlashMDError`` catches them all.

A message says what was got, what was wanted and what to do. File errors stay :class:`OSError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ase


class FlashMDError(Exception):
    """Base class of every error flashmd-rs raises itself."""


class ModelError(FlashMDError):
    """The file is not a model, breaks the contract, or does not fit the atoms (species, masses).

    Attributes:
        fault: name of what is wrong with the model, such as ``"NoMetadata"`` (a variant of the core's ``ModelFault``),
            or None where it is not one of these.
    """

    fault: str | None

    def __init__(self, message: str, *, fault: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class InputError(FlashMDError, ValueError):
    """An argument or a structure is not usable."""


class RuntimeLibraryError(FlashMDError, ImportError):
    """ONNX Runtime is missing, too old, or lacks what was asked of it."""


class CheckpointError(FlashMDError):
    """A checkpoint cannot be written, read, or continued from."""


class StabilityError(FlashMDError, ArithmeticError):
    """The trajectory left the numbers a simulation can go on from.

    Attributes:
        step: stride at which it was found (0 is the start).
        time_ps: simulated time of that stride, ps.
        atoms: indices of the offending atoms (may be empty for global quantities).
        quantity: what was out of bounds, in words.
        last_good: the last frame that passed every check, or None.
        saved_to: path the last good frame was written to, or None.
    """

    step: int
    time_ps: float
    atoms: list[int]
    quantity: str
    last_good: ase.Atoms | None
    saved_to: str | None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.step = details.get("step", 0)
        self.time_ps = details.get("time_ps", 0.0)
        self.atoms = details.get("atoms", [])
        self.quantity = details.get("quantity", "")
        self.last_good = details.get("last_good")
        self.saved_to = details.get("saved_to")


class FlashMDWarning(UserWarning):
    """A run goes on, but its user should know this."""
