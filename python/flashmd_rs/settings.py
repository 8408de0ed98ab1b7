"""The arguments of a run, checked and filled in before anything is computed or written."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.model import Model

_LARGEST_COUNT = 2**63 - 1
_LARGEST_SEED = 2**64 - 1
_AUTO = (True, False, "auto")
_SCOPES = ("global", "species", "molecule")
_FALLBACKS = ("stop", "skip", "clamp")
_THERMOSTATS = ("langevin", "bussi", "none")
_BAROSTATS = ("cell_rescaling", "monte_carlo", "none")
_GUARDS = ("warn", "stop", "fallback", "collect", "off")
_COUPLINGS = ("isotropic", "anisotropic")
BAROSTAT_OPTIONS = (
    "pressure_bar",
    "compressibility_per_bar",
    "barostat_time_constant_fs",
    "barostat_interval",
    "barostat_coupling",
)


@dataclass(frozen=True)
class Settings:
    """What a run will do.

    Attributes:
        steps: number of strides.
        interval: strides between kept frames.
        stride_fs: simulated time of one stride, fs.
        thermostat: ``"langevin"``, ``"bussi"`` or ``"none"``.
        temperature_K: target of the thermostat and of drawn momenta, K, one per system, or None.
        time_constant_fs: the thermostat's, fs.
        metropolis: accept each stride, or take it back.
        barostat: ``"cell_rescaling"``, ``"monte_carlo"`` or ``"none"``.
        pressure_bar: the barostat's target, bar (0 without one).
        compressibility_per_bar: what the barostat takes for the system's compressibility, 1/bar.
        barostat_time_constant_fs: relaxation time of the volume under cell rescaling, fs.
        barostat_interval: strides between moves of the barostat.
        barostat_coupling: ``"isotropic"`` or ``"anisotropic"``.
        random_rotation: rotate the model's frame at random each stride.
        rescale_scope: ``"global"``, ``"species"``, ``"molecule"``, ``"auto"`` (global where an energy model is known
            and there is no bath; decided later) or None.
        rescale_fallback: ``"stop"``, ``"skip"`` or ``"clamp"``.
        rescale_limit: largest |α − 1| of a stride.
        guard: what becomes of a state out of bounds: ``"warn"``, ``"stop"``, ``"fallback"``, ``"collect"``, ``"off"``.
        guard_fallback_strides: strides done by velocity Verlet after one out of bounds.
        guard_timestep_fs: largest time step of velocity Verlet there, fs.
        seed: of everything random.
    """

    steps: int
    interval: int
    stride_fs: float
    thermostat: str
    temperature_K: list[float] | None
    time_constant_fs: float
    metropolis: bool
    barostat: str
    pressure_bar: float
    compressibility_per_bar: float
    barostat_time_constant_fs: float
    barostat_interval: int
    barostat_coupling: str
    random_rotation: bool
    rescale_scope: str | None
    rescale_fallback: str
    rescale_limit: float
    guard: str
    guard_fallback_strides: int
    guard_timestep_fs: float
    seed: int

    @property
    def uses_molecules(self) -> bool:
        """True if whole molecules are acted on; they are found once, at the start of a run."""
        return self.barostat != "none" or self.rescale_scope == "molecule"

    def arguments(self) -> dict[str, Any]:
        """Arguments of :func:`flashmd_rs.rollout` that settle to these settings."""
        chosen = asdict(self)
        del chosen["stride_fs"]
        chosen["rescale_energy"] = chosen.pop("rescale_scope") or False
        if self.barostat == "none":
            chosen["pressure_bar"] = None
        return chosen


def settle(
    model: Model,
    systems: int,
    *,
    steps: int | None,
    time_ps: float | None,
    temperature_K: float | Sequence[float] | None,
    thermostat: str | None,
    time_constant_fs: float,
    metropolis: bool,
    pressure_bar: float | None,
    barostat: str | None,
    barostat_time_constant_fs: float,
    barostat_interval: int,
    barostat_coupling: str,
    compressibility_per_bar: float,
    rescale_energy: Any,
    rescale_fallback: str,
    rescale_limit: float,
    guard: str,
    guard_fallback_strides: int,
    guard_timestep_fs: float,
    random_rotation: Any,
    seed: int | None,
    interval: int | None,
    stride_fs: float | None,
) -> Settings:
    """Check the arguments of :func:`flashmd_rs.rollout` against each other and the model.

    Raises:
        InputError: an argument is out of its range, or two contradict each other.
        ModelError: the model does not move atoms.
    """
    stride = _stride(model, stride_fs)
    count = _steps(steps, time_ps, stride)
    temperatures = _temperatures(temperature_K, systems)
    bath = _thermostat(thermostat, temperatures)
    return Settings(
        steps=count,
        interval=max(1, count // 1000) if interval is None else _whole("interval", interval, "strides"),
        stride_fs=stride,
        thermostat=bath,
        temperature_K=temperatures,
        time_constant_fs=_number("time_constant_fs", time_constant_fs, "fs"),
        metropolis=_metropolis(metropolis, bath, model),
        barostat=_barostat(barostat, pressure_bar, bath),
        pressure_bar=0.0 if pressure_bar is None else _finite("pressure_bar", pressure_bar, "bar"),
        compressibility_per_bar=_number("compressibility_per_bar", compressibility_per_bar, "1/bar"),
        barostat_time_constant_fs=_number("barostat_time_constant_fs", barostat_time_constant_fs, "fs"),
        barostat_interval=_whole("barostat_interval", barostat_interval, "strides"),
        barostat_coupling=_one_of("barostat_coupling", barostat_coupling, _COUPLINGS),
        random_rotation=_rotation(random_rotation, model),
        rescale_scope=_scope(rescale_energy),
        rescale_fallback=_one_of("rescale_fallback", rescale_fallback, _FALLBACKS),
        rescale_limit=_fraction("rescale_limit", rescale_limit),
        guard=_one_of("guard", guard, _GUARDS),
        guard_fallback_strides=_whole("guard_fallback_strides", guard_fallback_strides, "strides"),
        guard_timestep_fs=_number("guard_timestep_fs", guard_timestep_fs, "fs"),
        seed=_seed(seed),
    )


def settle_checkpoint_interval(wanted: int | None, steps: int) -> int:
    """Strides between checkpoints.

    Raises:
        InputError: not a whole number of at least 1.
    """
    if wanted is None:
        return min(1000, max(1, steps // 10))
    return _whole("checkpoint_interval", wanted, "strides")


def _stride(model: Model, wanted: float | None) -> float:
    if model.stride_fs is None:
        raise ModelError(f"{model.name} is of kind {model.kind!r}, which does not move atoms: wanted one that does")
    if wanted is not None:
        value = _number("stride_fs", wanted, "fs")
        if not math.isclose(value, model.stride_fs, rel_tol=1e-6):
            raise InputError(
                f"got stride_fs={value:g}, but the stride of {model.name} is {model.stride_fs:g} fs and is part of "
                "the model: leave stride_fs out, or take a model trained for that stride"
            )
    return model.stride_fs


def _steps(steps: int | None, time_ps: float | None, stride_fs: float) -> int:
    if (steps is None) == (time_ps is None):
        raise InputError("give exactly one of steps (strides) and time_ps (ps)")
    if steps is not None:
        return _whole("steps", steps, "strides")
    strides = _number("time_ps", time_ps, "ps") * 1000.0 / stride_fs
    if strides > _LARGEST_COUNT:
        raise InputError(f"got time_ps={time_ps!r}, {strides:g} strides, which no run reaches")
    return max(1, math.ceil(strides - 1e-9 * max(strides, 1.0)))


def _temperatures(wanted: float | Sequence[float] | None, systems: int) -> list[float] | None:
    """One temperature per system; a single number is for all of them."""
    if wanted is None:
        return None
    if isinstance(wanted, list | tuple | np.ndarray):
        if len(wanted) != systems:
            raise InputError(f"got {len(wanted)} temperatures for {systems} systems, wanted one, or one per system")
        return [_number("temperature_K", value, "K", zero=True) for value in wanted]
    return [_number("temperature_K", wanted, "K", zero=True)] * systems


def _thermostat(thermostat: str | None, temperatures: list[float] | None) -> str:
    if thermostat is None:
        return "none" if temperatures is None else "langevin"
    _one_of("thermostat", thermostat, _THERMOSTATS)
    if thermostat != "none" and temperatures is None:
        raise InputError(f"thermostat={thermostat!r} needs temperature_K")
    return thermostat


def _metropolis(wanted: bool, thermostat: str, model: Model) -> bool:
    if not isinstance(wanted, bool):
        raise InputError(f"got metropolis={wanted!r}, wanted True or False")
    if wanted and thermostat == "none":
        raise InputError("metropolis accepts strides at the temperature of a thermostat: give temperature_K")
    if wanted and model.kind == "direct":
        raise ModelError(
            f"metropolis needs reversible strides, and {model.name} is of kind 'direct', whose are not: take a model "
            "of kind splitting, hybrid or action, such as the bundled 'water-nve'"
        )
    return wanted


def _barostat(barostat: str | None, pressure_bar: float | None, thermostat: str) -> str:
    if barostat is None:
        barostat = "none" if pressure_bar is None else "cell_rescaling"
    _one_of("barostat", barostat, _BAROSTATS)
    if barostat == "none":
        return barostat
    if pressure_bar is None:
        raise InputError(f"barostat={barostat!r} needs pressure_bar")
    if thermostat == "none":
        raise InputError("a barostat needs a thermostat, whose temperature it shares: give temperature_K")
    return barostat


def _scope(choice: Any) -> str | None:
    if isinstance(choice, str) and choice in _SCOPES:
        return choice
    if not isinstance(choice, bool | str) or choice not in _AUTO:
        wanted = ", ".join(repr(name) for name in _SCOPES)
        raise InputError(f"got rescale_energy={choice!r}, wanted True, False, 'auto', or one of {wanted}")
    return "auto" if choice == "auto" else "global" if choice else None


def _rotation(choice: Any, model: Model) -> bool:
    if _choice("random_rotation", choice) == "auto":
        return model.kind == "direct" and not model.metadata.get("equivariant", False)
    return bool(choice)


def _choice(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool | str) or value not in _AUTO:
        raise InputError(f"got {name}={value!r}, wanted True, False or 'auto'")
    return value


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"got {name}={value!r}, wanted one of {', '.join(repr(choice) for choice in choices)}")
    return value


def _fraction(name: str, value: Any) -> float:
    number = _number(name, value, "one")
    if number > 1.0:
        raise InputError(f"got {name}={number:g}, wanted a number above 0 and at most 1")
    return number


def _finite(name: str, value: Any, unit: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"got {name}={value!r}, wanted a finite number of {unit}")
    return number


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbits(32)
    if isinstance(seed, bool) or not _is_whole(seed) or not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"got seed={seed!r}, wanted a whole number from 0 to 2⁶⁴ − 1")
    return int(seed)


def _whole(name: str, value: Any, unit: str) -> int:
    if isinstance(value, bool) or not _is_whole(value) or value < 1:
        raise InputError(f"got {name}={value!r:.100}, wanted a whole number of {unit}, at least 1")
    if value > _LARGEST_COUNT:
        raise InputError(f"got {name} beyond 2⁶³ − 1, which no run reaches: wanted a whole number of {unit}")
    return int(value)


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__")


def _number(name: str, value: Any, unit: str, *, zero: bool = False) -> float:
    """A finite number above zero (or at zero, where ``zero`` allows it)."""
    wanted = f"a {'non-negative' if zero else 'positive'} number of {unit}"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"got {name}={value!r}, wanted {wanted}") from None
    if not math.isfinite(number) or number < 0.0 or (number == 0.0 and not zero):
        raise InputError(f"got {name}={number:g}, wanted {wanted}")
    return number
