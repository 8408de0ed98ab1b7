"""Settings of a run: its arguments, checked and filled in before anything is computed or written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

import numpy as np

from flashmd_rs import _checks, options
from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.model import Model
from flashmd_rs.options import (
    BAROSTATS,
    THERMOSTATS,
    Barostat,
    Checkpoint,
    EnergyRescaling,
    Guard,
    MomentaChoice,
    Option,
    Output,
    PathLike,
    Scope,
    Thermostat,
)

if TYPE_CHECKING:
    from flashmd_rs._engine.view import StateView

Observer = tuple[Callable[["StateView"], Any], int]

# Kinds whose strides are not undone by themselves with momenta reversed: their energy drifts, and their frame may turn.
IRREVERSIBLE = frozenset({"direct", "driven"})
_AUTO = (True, False, "auto")


class RunOptions(TypedDict, total=False):
    """Keyword arguments of :class:`flashmd_rs.Simulation`, with the meaning they have in :func:`flashmd_rs.rollout`."""

    steps: int | None
    time_ps: float | None
    temperature_K: float | Sequence[float] | None
    momenta: str
    thermostat: str | Thermostat | None
    pressure_bar: float | None
    barostat: str | Barostat | None
    metropolis: bool
    rescale_energy: bool | str | EnergyRescaling
    guard: str | Guard
    energy_model: Any
    bias: Any
    random_rotation: bool | str
    seed: int | None
    replica: int
    trajectory: PathLike | Output | None
    interval: int | None
    logfile: PathLike | None
    checkpoint: PathLike | Checkpoint | None
    resume: bool | str
    observers: Sequence[Observer]
    stride_fs: float | None


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The same names with their defaults, as they were given."""

    steps: int | None = None
    time_ps: float | None = None
    temperature_K: Any = None
    momenta: Any = "auto"
    thermostat: Any = None
    pressure_bar: Any = None
    barostat: Any = None
    metropolis: Any = False
    rescale_energy: Any = "auto"
    guard: Any = "warn"
    energy_model: Any = None
    bias: Any = None
    random_rotation: Any = "auto"
    seed: Any = None
    replica: Any = 0
    trajectory: Any = None
    interval: Any = None
    logfile: Any = None
    checkpoint: Any = None
    resume: Any = False
    observers: Any = ()
    stride_fs: Any = None


class ContinuationOptions(TypedDict, total=False):
    """Keyword arguments of :meth:`flashmd_rs.Simulation.load`, as in :func:`flashmd_rs.resume`."""

    steps: int | None
    time_ps: float | None
    temperature_K: float | Sequence[float] | None
    seed: int | None
    trajectory: PathLike | Output | None
    interval: int | None
    logfile: PathLike | None
    model: PathLike | Model | None
    energy_model: Any
    bias: Any
    allow_other_model: bool
    observers: Sequence[Observer]


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The same names with their defaults, as they were given."""

    steps: int | None = None
    time_ps: float | None = None
    temperature_K: Any = None
    seed: Any = None
    trajectory: Any = None
    interval: Any = None
    logfile: Any = None
    model: Any = None
    energy_model: Any = None
    bias: Any = None
    allow_other_model: Any = False
    observers: Any = ()


@dataclass(frozen=True)
class Settings:
    """What a run will do, the same for all of its systems; stored as it is in checkpoints.

    Attributes:
        steps: planned number of strides, or None.
        interval: strides between kept frames.
        stride_fs: simulated time of one stride, fs.
        temperature_K: target of the thermostat and of drawn momenta, K, one per system, or None.
        thermostat: option, or None for NVE.
        pressure_bar: target of the barostat, bar; 0 without one.
        barostat: option, or None for a fixed cell.
        metropolis: accept each stride by its change of energy, or take it back.
        rescale_energy: option, or None.
        guard: option.
        random_rotation: rotate the model's frame at random each stride.
        seed: of everything random.
        momenta: what a run begins with: those of the structure, drawn ones, or (``"auto"``) what there is.
        stress: keep the whole stress with frames and in the log.
    """

    steps: int | None
    interval: int
    stride_fs: float
    temperature_K: list[float] | None
    thermostat: Thermostat | None
    pressure_bar: float
    barostat: Barostat | None
    metropolis: bool
    rescale_energy: EnergyRescaling | None
    guard: Guard
    random_rotation: bool
    seed: int
    # Checkpoints of before these were choices do not hold them.
    momenta: MomentaChoice = "auto"
    stress: bool = False

    @property
    def uses_molecules(self) -> bool:
        """True if whole molecules are acted on; they are found once, at the start of a run."""
        scope = None if self.rescale_energy is None else self.rescale_energy.scope
        return self.barostat is not None or scope == "molecule"

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.as_dict() if isinstance(value, Option) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Settings:
        """The settings that :meth:`as_dict` described."""
        return cls(
            **{name: options.restore(value) if isinstance(value, dict) else value for name, value in stored.items()}
        )


def validate(model: Model, systems: int, arguments: Arguments) -> Settings:
    """Check the arguments of a run against each other and the model.

    Rescaling that is left to ``"auto"`` is off here: what energies there are decides it later.

    Args:
        model: moves the atoms.
        systems: number of replicas.
        arguments: as they were given.

    Raises:
        InputError: an argument is out of its range, or two contradict each other.
        ModelError: the model does not move atoms.
    """
    stride = _stride(model, arguments.stride_fs)
    steps = count_steps(arguments.steps, arguments.time_ps, stride)
    temperatures = _temperatures(arguments.temperature_K, systems)
    thermostat = _thermostat(arguments.thermostat, temperatures)
    barostat = _barostat(arguments.barostat, arguments.pressure_bar, thermostat)
    return Settings(
        steps=steps,
        interval=_interval(arguments.interval, arguments.trajectory, steps),
        stride_fs=stride,
        temperature_K=temperatures,
        momenta=cast(MomentaChoice, _checks.one_of("momenta", arguments.momenta, get_args(MomentaChoice))),
        thermostat=thermostat,
        pressure_bar=0.0 if barostat is None else _checks.finite("pressure_bar", arguments.pressure_bar, "bar"),
        barostat=barostat,
        metropolis=_metropolis(arguments.metropolis, thermostat, model),
        rescale_energy=_rescaling(arguments.rescale_energy),
        guard=_guard(arguments.guard),
        random_rotation=_rotation(arguments.random_rotation, model),
        seed=check_seed(arguments.seed),
        stress=isinstance(arguments.trajectory, Output) and arguments.trajectory.stress,
    )


def changed(settings: Settings, model: Model, systems: int, wanted: Continuation) -> Settings:
    """The settings of a run that goes on otherwise, checked as :func:`validate` does.

    Raises:
        InputError: an argument is out of its range, or contradicts the run.
        ModelError: the model does not move atoms.
    """
    stride = _stride(model, None)
    steps = count_steps(wanted.steps, wanted.time_ps, stride)
    interval = given_interval(wanted.interval, wanted.trajectory)
    asks_stress = isinstance(wanted.trajectory, Output) and wanted.trajectory.stress
    temperatures = _temperatures(wanted.temperature_K, systems)
    if temperatures is not None and settings.thermostat is None:
        raise InputError(
            f"got temperature_K={wanted.temperature_K!r}, but the run has no thermostat (NVE) whose temperature could "
            "change: leave it out"
        )
    return replace(
        settings,
        stride_fs=stride,
        steps=settings.steps if steps is None else steps,
        interval=settings.interval if interval is None else interval,
        temperature_K=settings.temperature_K if temperatures is None else temperatures,
        seed=settings.seed if wanted.seed is None else check_seed(wanted.seed),
        stress=settings.stress or asks_stress,
    )


def count_steps(steps: int | None, time_ps: float | None, stride_fs: float) -> int | None:
    """Number of strides, from a number or a time; None if neither is given.

    Raises:
        InputError: both are given, or one is out of its range.
    """
    if steps is not None and time_ps is not None:
        raise InputError("give exactly one of steps (strides) and time_ps (ps)")
    if steps is not None:
        return _checks.whole("steps", steps, "strides")
    if time_ps is None:
        return None
    strides = _checks.positive("time_ps", time_ps, "ps") * 1000.0 / stride_fs
    if strides > _checks.LARGEST_COUNT:
        raise InputError(f"got time_ps={time_ps!r}, {strides:g} strides, which no run reaches")
    return max(1, math.ceil(strides - 1e-9 * max(strides, 1.0)))


def default_checkpoint_interval(steps: int | None) -> int:
    """Strides between checkpoints: a tenth of the planned run, at most 1000."""
    return 1000 if steps is None else min(1000, max(1, steps // 10))


def check_seed(seed: int | None) -> int:
    """The seed, drawn if it is None.

    Raises:
        InputError: not a whole number from 0 to 2⁶⁴ − 1.
    """
    if seed is None:
        return int.from_bytes(os.urandom(4))
    if not _checks.is_whole(seed) or not 0 <= int(seed) <= _checks.LARGEST_SEED:
        raise InputError(f"got seed={_checks.shown(seed)}, wanted a whole number from 0 to 2⁶⁴ − 1")
    return int(seed)


def check_observers(observers: Any) -> list[Observer]:
    """Observers of a run: pairs of a callable and the strides between two calls.

    Raises:
        InputError: something else.
    """
    wanted = "wanted [(callable, interval), …], the interval in strides"
    if not isinstance(observers, Sequence) or isinstance(observers, str):
        raise InputError(f"got {type(observers).__name__} for observers, {wanted}")
    checked = []
    for entry in observers:
        if not isinstance(entry, Sequence) or len(entry) != 2 or not callable(entry[0]):
            raise InputError(f"got {entry!r:.100} among observers, {wanted}")
        checked.append((entry[0], _checks.whole("interval of an observer", entry[1], "strides")))
    return checked


def _stride(model: Model, wanted: float | None) -> float:
    if model.stride_fs is None:
        raise ModelError(f"{model.name} is of kind {model.kind!r}, which does not move atoms: wanted one that does")
    if wanted is not None:
        value = _checks.positive("stride_fs", wanted, "fs")
        if not math.isclose(value, model.stride_fs, rel_tol=1e-6):
            raise InputError(
                f"got stride_fs={value:g}, but the stride of {model.name} is {model.stride_fs:g} fs and is part of "
                "the model: leave stride_fs out, or take a model trained for that stride"
            )
    return model.stride_fs


def given_interval(interval: int | None, trajectory: Any) -> int | None:
    """Strides between kept frames, if they were given, as an argument or in ``Output``.

    Raises:
        InputError: they were given twice, or are none.
    """
    own = trajectory.interval if isinstance(trajectory, Output) else None
    if interval is not None and own is not None:
        raise InputError("got interval twice, as an argument and in Output: give one of them")
    chosen = interval if own is None else own
    return None if chosen is None else _checks.whole("interval", chosen, "strides")


def _interval(interval: int | None, trajectory: Any, steps: int | None) -> int:
    """Strides between kept frames: a thousandth of the planned run, or 100 where none is planned."""
    given = given_interval(interval, trajectory)
    if given is not None:
        return given
    return 100 if steps is None else max(1, steps // 1000)


def _temperatures(wanted: float | Sequence[float] | None, systems: int) -> list[float] | None:
    """One temperature per system; a single number is for all of them."""
    if wanted is None:
        return None
    if np.iterable(wanted) and not isinstance(wanted, str | bytes):
        each = list(wanted)
        if len(each) != systems:
            raise InputError(f"got {len(each)} temperatures for {systems} systems, wanted one, or one per system")
        return [_checks.positive("temperature_K", value, "K", zero=True) for value in each]
    return [_checks.positive("temperature_K", wanted, "K", zero=True)] * systems


def _thermostat(wanted: Any, temperatures: list[float] | None) -> Thermostat | None:
    """Langevin where a temperature is given and nothing else is said."""
    if wanted is None:
        return None if temperatures is None else options.Langevin()
    thermostat: Thermostat | None = _option("thermostat", wanted, THERMOSTATS)
    if thermostat is not None and temperatures is None:
        raise InputError(f"thermostat={wanted!r} needs temperature_K")
    return thermostat


def _barostat(wanted: Any, pressure_bar: Any, thermostat: Thermostat | None) -> Barostat | None:
    """Stochastic cell rescaling where a pressure is given and nothing else is said."""
    if wanted is None:
        barostat: Barostat | None = None if pressure_bar is None else options.CellRescaling()
    else:
        barostat = _option("barostat", wanted, BAROSTATS)
    if barostat is None:
        return None
    if pressure_bar is None:
        raise InputError(f"barostat={wanted!r} needs pressure_bar")
    if thermostat is None:
        raise InputError("a barostat needs a thermostat, whose temperature it shares: give temperature_K")
    return barostat


def _option(name: str, wanted: Any, kinds: dict[str, Any]) -> Any:
    """An option as it is, or the one a word stands for; ``"none"`` is None."""
    if isinstance(wanted, tuple(kinds.values())):
        return wanted
    if isinstance(wanted, str) and wanted in (*kinds, "none"):
        return kinds[wanted]() if wanted in kinds else None
    words = ", ".join(repr(word) for word in (*kinds, "none"))
    classes = " or ".join(kind.__name__ for kind in kinds.values())
    raise InputError(f"got {name}={wanted!r}, wanted one of {words}, or a {classes}")


def _rescaling(wanted: Any) -> EnergyRescaling | None:
    if isinstance(wanted, EnergyRescaling):
        return wanted
    wanted = _checks.plain(wanted)
    if isinstance(wanted, str) and wanted in get_args(Scope):
        return EnergyRescaling(cast(Scope, wanted))
    if not isinstance(wanted, bool | str) or wanted not in _AUTO:
        words = ", ".join(repr(name) for name in get_args(Scope))
        raise InputError(
            f"got rescale_energy={wanted!r}, wanted True, False, 'auto', one of {words}, or an EnergyRescaling"
        )
    return EnergyRescaling() if wanted is True else None


def _guard(wanted: Any) -> Guard:
    return wanted if isinstance(wanted, Guard) else Guard(wanted)


def _metropolis(wanted: Any, thermostat: Thermostat | None, model: Model) -> bool:
    metropolis = _checks.flag("metropolis", wanted)
    if metropolis and thermostat is None:
        raise InputError("metropolis accepts strides at the temperature of a thermostat: give temperature_K")
    if metropolis and model.kind in IRREVERSIBLE:
        raise ModelError(
            f"metropolis needs reversible strides, and {model.name} is of kind {model.kind!r}, whose are not: take a "
            "model of kind splitting, hybrid or action, such as the bundled 'water-nve'"
        )
    return metropolis


def _rotation(wanted: Any, model: Model) -> bool:
    wanted = _checks.plain(wanted)
    if not isinstance(wanted, bool | str) or wanted not in _AUTO:
        raise InputError(f"got random_rotation={wanted!r}, wanted True, False or 'auto'")
    if wanted == "auto":
        return model.kind in IRREVERSIBLE and not model.metadata.get("equivariant", False)
    return bool(wanted)
