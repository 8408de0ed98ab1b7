"""The Rust core. Arrays are numpy, C-contiguous float64 unless said otherwise.

Units: Å, eV, u, momenta √(eV·u); times carry their unit in the name.
Errors are those of ``flashmd_rs.errors``.
"""

from typing import Any, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from flashmd_rs.checkpoint import Saving
from flashmd_rs.run import Calls
from flashmd_rs.settings import Settings
from flashmd_rs.structure import Start

_F64 = NDArray[np.float64]

__version__: str

def load_runtime(path: str) -> None:
    """Open the ONNX Runtime library at an absolute path; once per process.

    A second call with the same path does nothing; with another path it is a RuntimeLibraryError.
    """

def runtime_info() -> dict[str, Any] | None:
    """``{"path", "version", "providers"}`` of the open library, or None before ``load_runtime``."""

def inspect_model(data: bytes) -> str:
    """Check the contract without running anything; return the ``flashmd`` metadata as JSON text.

    Raises ModelError for anything that is not a contract-1 model. Needs no ONNX Runtime.
    """

def neighbor_list(
    positions: _F64, cell: _F64, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], _F64, _F64, NDArray[np.int64]]:
    """Full list ``i, j, d, D, S`` sorted by (i, j, S), D = r_j − r_i + S·cell, d < cutoff."""

@final
class Nef:
    """The neighbour search of a run and the arrays of the model contract that it fills, kept from call to call.

    ``threads`` are used where a structure is large enough; the arrays are the same bits for any number of them.
    """

    def __new__(cls, cutoff: float, *, threads: int = 1) -> Self: ...
    def update(self, positions: _F64, cell: _F64, pbc: NDArray[np.bool_]) -> int:
        """Fill the arrays; returns the number of edges."""

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
        """Copies of ``edge_vectors`` [N,K,3], ``mask``, ``neighbors`` and ``reverse`` [N,K], unrotated."""

class _Energy(Protocol):
    """What the core asks of an energy that is not a model; positions [N,3] and cell [3,3] in Å."""

    def energy(self, replica: int, positions: _F64, cell: _F64) -> float: ...
    def evaluate(self, replica: int, positions: _F64, cell: _F64) -> tuple[float, _F64, _F64 | None]: ...

@final
class Model:
    """A loaded model: contract checked, session open.

    ``data`` is the whole file; ``name`` is used in messages; ``device`` is "cpu" or "cuda";
    ``threads`` None lets the runtime use every core.
    """

    def __new__(cls, data: bytes, *, name: str, device: str = "cpu", threads: int | None = None) -> Self: ...
    @property
    def metadata_json(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    @property
    def device(self) -> str: ...
    def stride(
        self,
        positions: _F64,
        momenta: _F64,
        masses: _F64,
        numbers: NDArray[np.int64],
        cell: _F64,
        pbc: NDArray[np.bool_],
    ) -> tuple[_F64, _F64]:
        """One stride of design §5, steps 1 and 3–6 and the finite check; returns new positions (unwrapped), momenta."""

    def energy(
        self, positions: _F64, masses: _F64, numbers: NDArray[np.int64], cell: _F64, pbc: NDArray[np.bool_]
    ) -> tuple[float, _F64, _F64]:
        """Energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV, −Σ r⊗∂E/∂r) of an ``energy`` model."""

def rollout(
    model: Model,
    starts: list[Start],
    settings: Settings,
    *,
    energy: Model | _Energy | None,
    calls: Calls,
    saving: Saving | None = None,
    resume: str | None = None,
) -> dict[str, Any]:
    """Run every start, or the checkpoint at ``resume``, to stride ``settings.steps``; the GIL is released.

    ``on_frame`` gets {"system" (place in ``starts``), "step", "time_fs", "positions", "momenta", "cell",
    "potential_energy" (eV or None), "conserved_energy" (eV or None)} at step 0, at each multiple of the interval and at
    the last step. ``on_flag`` gets {"system", "step", "time_ps", "positions", "momenta", "cell",
    "findings": [(quantity, atoms, message)]} where quantities leave their bounds. Exceptions of the calls end the run
    and propagate. With ``saving`` a checkpoint is written at the start, every interval, at the end, and where
    ``on_stride`` ends the run.

    Returns {"steps", "seconds", "seconds_neighbors", "seconds_network", "seconds_energy", "seconds_callbacks",
    "systems": [{"heat_eV", "work_eV", "molecules", "rescale": None or {"count", "skipped", "clamped", "alpha_min",
    "alpha_max"}, "barostat": None or {"tried", "accepted"}, "guard": None or {"fallback_strides",
    "strides": [(quantity, strides out of bounds)]}, "failure": None or a StabilityError}]}.

    StabilityError carries step, time_ps, atoms, quantity and last_good = {"positions", "momenta", "cell"}.
    """

def read_checkpoint(path: str) -> dict[str, Any]:
    """What a checkpoint says.

    ``{"path", "passed_over", "step", "model_sha256", "run", "frames": [(positions, momenta, cell)]}``; ``path`` is the
    file that was read: where the one asked for could not be, the one before it, and ``passed_over`` says why.

    Raises CheckpointError or OSError.
    """
