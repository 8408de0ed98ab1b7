"""The Rust core. Arrays are numpy, C-contiguous float64 unless said otherwise.

Units: Å, eV, u, momenta √(eV·u); times carry their unit in the name.
Errors are those of ``flashmd_rs.errors``; a ModelError is given ``fault``, the name of what is wrong with the model.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

_F64 = NDArray[np.float64]

__version__: str

def load_runtime(path: str) -> None:
    """Open the ONNX Runtime library at an absolute path; once per process.

    A second call with the same path does nothing; with another path it is a RuntimeLibraryError.
    """

def runtime_info() -> dict[str, Any] | None:
    """``{"path", "version", "providers"}`` of the open library, or None before ``load_runtime``."""

def start_kernel_profile() -> None:
    """Begin to measure what the kernels spend their time on, from zero."""

def stop_kernel_profile() -> tuple[list[tuple[str, float]], int]:
    """End that: seconds by kind of operator, of all threads together, and the multiply-adds in products."""

def kernel_version() -> tuple[int, str] | None:
    """Version of the kernels and the instruction set they use here; None where they cannot be used."""

def available_processors() -> int:
    """Processors this process may use, by its affinity mask and the quota of its control group (Linux)."""

def inspect_model(data: bytes) -> str:
    """Check the contract without running anything; return the ``flashmd`` metadata as JSON text.

    Raises ModelError for anything that is not a contract-1 model. Needs no ONNX Runtime.
    """

def neighbor_list(
    quantities: str, positions: _F64, cell: _F64, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.int64] | _F64, ...]:
    """Columns out of ``ijdDS`` of the full list, sorted by (i, j, S), D = r_j − r_i + S·cell, d < cutoff."""

def bonded_pairs(
    numbers: NDArray[np.int64],
    positions: _F64,
    cell: _F64,
    pbc: NDArray[np.bool_],
    reaches: list[tuple[str, str, float]],
) -> NDArray[np.int64]:
    """Pairs of bonded atoms [B,2]: those of two elements that are nearer than their distance in ``reaches``, Å."""

def environments(numbers: NDArray[np.int64], pairs: NDArray[np.int64]) -> list[str]:
    """What surrounds each atom, as in ``C[C,H,H,H]``, by pairs of bonded atoms [B,2]."""

@final
class Edges:
    """The neighbour search of a run and the arrays of the model contract that it fills, kept from call to call.

    ``threads`` are used where a structure is large enough; the arrays are the same bits for any number of them.
    """

    def __new__(cls, cutoff: float, *, threads: int = 1) -> Self: ...
    def update(self, positions: _F64, cell: _F64, pbc: NDArray[np.bool_]) -> int:
        """Fill the arrays; returns the number of edges."""

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
        """Copies of ``edge_vectors`` [N,K,3], ``mask``, ``neighbors`` and ``reverse`` [N,K], unrotated."""

class _Energy(Protocol):
    """What the core asks of an energy that is not a model; positions [N,3] and cell [3,3] in Å.

    ``energy_and_virial`` is asked for frames in cells that are periodic along all axes: eV and [3,3] eV, or None.
    """

    def energy(self, replica: int, positions: _F64, cell: _F64) -> float: ...
    def evaluate(self, replica: int, positions: _F64, cell: _F64) -> tuple[float, _F64, _F64 | None]: ...
    def energy_and_virial(self, replica: int, positions: _F64, cell: _F64) -> tuple[float, _F64] | None: ...

@final
class Model:
    """A loaded model: contract checked, session open; locked for one run of the network at a time.

    ``data`` is the whole file; ``name`` is used in messages; ``device`` is "cpu" or "cuda";
    ``threads`` is the number that the network, and the neighbour search of a large structure, work with; ``kernels`` is
    "auto" or "off".
    """

    def __new__(cls, data: bytes, *, name: str, threads: int, device: str = "cpu", kernels: str = "auto") -> Self: ...
    @property
    def metadata_json(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    @property
    def kernels(self) -> tuple[int, int, int] | None:
        """Stages, operators in them, and operators left to ONNX Runtime; None where it runs all of the network."""

    @property
    def device(self) -> str: ...
    def check_start(
        self, positions: _F64, masses: _F64, numbers: NDArray[np.int64], cell: _F64, pbc: NDArray[np.bool_]
    ) -> str | None:
        """Check a structure that is to be moved; returns what the model has not seen about it, surfaces, if anything.

        Raises InputError for atoms at one place, a cell too small for its atoms, or bonds the model does not know.
        """

    def stride(
        self,
        positions: _F64,
        momenta: _F64,
        masses: _F64,
        numbers: NDArray[np.int64],
        cell: _F64,
        pbc: NDArray[np.bool_],
    ) -> tuple[_F64, _F64]:
        """One stride without rotation, noise, filters or guard; returns new positions (unwrapped), momenta."""

    def energy(
        self, positions: _F64, masses: _F64, numbers: NDArray[np.int64], cell: _F64, pbc: NDArray[np.bool_]
    ) -> tuple[float, _F64, _F64]:
        """Energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV, −Σ r⊗∂E/∂r) of an ``energy`` model."""

class _SystemInput(Protocol):
    """One system: arrays of N atoms, whose random numbers it draws, its thermostat's temperature (K) if it has one."""

    @property
    def positions(self) -> _F64: ...
    @property
    def momenta(self) -> _F64: ...
    @property
    def masses(self) -> _F64: ...
    @property
    def numbers(self) -> NDArray[np.int64]: ...
    @property
    def cell(self) -> _F64: ...
    @property
    def pbc(self) -> NDArray[np.bool_]: ...
    @property
    def fixed(self) -> NDArray[np.bool_]: ...
    @property
    def bond_radii(self) -> _F64: ...
    @property
    def replica(self) -> int: ...
    @property
    def temperature_K(self) -> float | None: ...

class _Settings(Protocol):
    """What is the same for every system of a run; ``interval`` 0 keeps no frame between the first and the last.

    ``thermostat`` has ``kind`` ("langevin", "bussi") and ``time_constant_fs``; ``barostat`` has ``kind``
    ("cell_rescaling", "monte_carlo"), ``interval``, ``coupling``, ``compressibility_per_bar`` and, for cell rescaling,
    ``time_constant_fs``; ``rescale_energy`` has ``scope``, ``fallback`` and ``limit``; ``guard`` has ``policy``,
    ``fallback_strides`` and ``timestep_fs``.
    """

    @property
    def interval(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def stride_fs(self) -> float: ...
    @property
    def random_rotation(self) -> bool: ...
    @property
    def metropolis(self) -> bool: ...
    @property
    def pressure_bar(self) -> float: ...
    @property
    def thermostat(self) -> Any: ...
    @property
    def barostat(self) -> Any: ...
    @property
    def rescale_energy(self) -> Any: ...
    @property
    def guard(self) -> Any: ...

class _Callbacks(Protocol):
    """What the core calls.

    ``on_begin`` once everything was found good, before the first frame. ``on_frame`` with each frame to keep:
    {"system" (place among the inputs), "step", "time_fs", "positions", "momenta", "cell", "potential_energy" (eV or
    None), "conserved_energy" (eV or None), "virial" ([3,3], eV, or None), "stress" ([3,3], eV/Å³, kinetic part
    included, or None)}. ``on_violations`` with what has just left its bounds: {"system", "step",
    "time_ps", "positions", "momenta", "cell", "violations": [(quantity, atoms, message)]}.

    ``on_observe`` after strides whose step is a multiple of any of ``observe_intervals``, once per living system,
    with the dictionary of :meth:`Simulation.state`; what is true ends the run. ``on_stride`` after every stride.
    ``on_progress`` with the step and the temperature (K), a few times a second and when the run is finished.
    """

    @property
    def on_begin(self) -> Callable[[], None]: ...
    @property
    def on_frame(self) -> Callable[[dict[str, Any]], None]: ...
    @property
    def on_violations(self) -> Callable[[dict[str, Any]], None]: ...
    @property
    def on_stride(self) -> Callable[[], None]: ...
    @property
    def on_progress(self) -> Callable[[int, float], None]: ...
    @property
    def on_observe(self) -> Callable[[dict[str, Any]], object]: ...
    @property
    def observe_intervals(self) -> list[int]: ...

class _CheckpointWriter(Protocol):
    """Where and how often checkpoints are saved; ``describe`` brings files to disk and returns the text to keep."""

    @property
    def path(self) -> str: ...
    @property
    def interval(self) -> int: ...
    @property
    def describe(self) -> Callable[[], str]: ...

@final
class Simulation:
    """Systems and the loop that moves them, stride by stride, with the GIL released.

    Everything is checked when it is made; nothing is called back or written before :meth:`start`. However the strides
    are divided among calls of :meth:`advance`, states and frames are the same bits. One call at a time: a method that
    is called from a callback of this simulation, or from another thread meanwhile, raises InputError.
    """

    def __new__(
        cls,
        model: Model,
        inputs: Sequence[_SystemInput],
        settings: _Settings,
        *,
        energy: Model | _Energy | None,
        callbacks: _Callbacks,
        bias: Model | _Energy | None = None,
        writer: _CheckpointWriter | None = None,
        resume: str | None = None,
    ) -> Self: ...
    def start(self) -> None:
        """Begin: energies to conserve, trial forces, ``on_begin``, and for a new run the first frame and checkpoint.

        To be called once, before the other methods that do something.
        """

    def advance(self, strides: int) -> bool:
        """Move every living system; False if an observer ended the run or no system is left.

        Frames are kept at multiples of ``settings.interval``, checkpoints saved at multiples of ``writer.interval``.
        What ``on_observe``, ``on_stride`` and ``on_progress`` raise propagates after the checkpoint is saved; the
        simulation may go on later. What the other callbacks raise propagates at once; frames of that step that were
        not kept are given again when it goes on. After an error inside a stride it refuses to go on.
        """

    def finish(self) -> None:
        """Save the checkpoint, if there is a writer, then keep the current frame; neither twice for one step.

        :meth:`advance` may follow.
        """

    def save(self, path: str, run: str) -> None:
        """Write a checkpoint with the text ``run`` in it."""

    @property
    def step(self) -> int:
        """Strides done by the systems that live."""

    def state(self, system: int) -> dict[str, Any]:
        """``{"system", "step", "time_fs", "positions", "momenta", "cell", "potential_energy", "virial", "stress"}``.

        The last three are None unless they have been computed at this step already.
        """

    def place(self, system: int, positions: _F64, momenta: _F64, cell: _F64, pbc: NDArray[np.bool_]) -> None:
        """Put a system where a host program has moved it; where energies are accounted for, the change is work."""

    def statistics(self) -> dict[str, Any]:
        """What was done so far.

        {"steps" (by this object), "seconds", "seconds_neighbors", "network_runs", "seconds_network",
        "seconds_energy", "seconds_callbacks", "solver" (of action models): {"strides", "mean_iterations",
        "most_iterations", "largest_residual"}, "systems": [{"heat_eV", "work_eV", "molecules", "metropolis": None or
        {"tried", "accepted"}, "rescaling": None or {"count", "skipped", "clamped", "alpha_min", "alpha_max"},
        "barostat": None or {"tried", "accepted"}, "guard": None or {"fallback_strides", "strides": [(quantity,
        strides out of bounds)]}, "failure": None or a StabilityError}]}.

        StabilityError carries step, time_ps, atoms, quantity and last_good = {"positions", "momenta", "cell"}.
        """

def read_checkpoint(path: str) -> dict[str, Any]:
    """What a checkpoint says.

    ``{"path", "passed_over", "step", "model_sha256", "run", "frames": [(positions, momenta, cell)]}``; ``path`` is the
    file that was read: where the one asked for could not be, the one before it, and ``passed_over`` says why.

    Raises CheckpointError or OSError.
    """
