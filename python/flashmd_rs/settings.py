"""The arguments of a run, checked and filled in before anything is computed or written."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.model import Model

_LARGEST_SEED = 2**64 - 1
_AUTO = (True, False, "auto")


@dataclass(frozen=True)
class Settings:
    """What a run will do.

    Attributes:
        steps: number of strides.
        interval: strides between kept frames.
        stride_fs: simulated time of one stride, fs.
        thermostat: ``"langevin"`` or ``"none"``.
        temperature_K: target of the thermostat and of drawn momenta, K, or None.
        time_constant_fs: the thermostat's, fs.
        random_rotation: rotate the model's frame at random each stride.
        rescale_energy: True, False or ``"auto"`` (decided once the energy model is known).
        seed: of everything random.
    """

    steps: int
    interval: int
    stride_fs: float
    thermostat: str
    temperature_K: float | None
    time_constant_fs: float
    random_rotation: bool
    rescale_energy: bool | str
    seed: int

    @property
    def bath_K(self) -> float | None:
        """Temperature of the thermostat, K; None for NVE."""
        return self.temperature_K if self.thermostat == "langevin" else None


def settle(
    model: Model,
    *,
    steps: int | None,
    time_ps: float | None,
    temperature_K: float | None,
    thermostat: str | None,
    time_constant_fs: float,
    rescale_energy: Any,
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
    temperature = _number("temperature_K", temperature_K, "K", zero=True) if temperature_K is not None else None
    return Settings(
        steps=count,
        interval=max(1, count // 1000) if interval is None else _whole("interval", interval, "strides"),
        stride_fs=stride,
        thermostat=_thermostat(thermostat, temperature),
        temperature_K=temperature,
        time_constant_fs=_number("time_constant_fs", time_constant_fs, "fs"),
        random_rotation=_rotation(random_rotation, model),
        rescale_energy=_choice("rescale_energy", rescale_energy),
        seed=_seed(seed),
    )


def _stride(model: Model, wanted: float | None) -> float:
    if model.stride_fs is None:
        raise ModelError(f"{model.name} is of kind {model.kind!r}, which does not move atoms: wanted a 'direct' model")
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
    return max(1, math.ceil(strides - 1e-9 * max(strides, 1.0)))


def _thermostat(thermostat: str | None, temperature_K: float | None) -> str:
    if thermostat not in (None, "langevin", "none"):
        raise InputError(f"got thermostat {thermostat!r}, wanted 'langevin', 'none' or None")
    if thermostat == "langevin" and temperature_K is None:
        raise InputError("thermostat='langevin' needs temperature_K")
    if thermostat is None:
        return "none" if temperature_K is None else "langevin"
    return thermostat


def _rotation(choice: Any, model: Model) -> bool:
    if _choice("random_rotation", choice) == "auto":
        return model.kind == "direct" and not model.metadata.get("equivariant", False)
    return bool(choice)


def _choice(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool | str) or value not in _AUTO:
        raise InputError(f"got {name}={value!r}, wanted True, False or 'auto'")
    return value


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbits(32)
    if isinstance(seed, bool) or not _is_whole(seed) or not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"got seed={seed!r}, wanted a whole number from 0 to 2⁶⁴ − 1")
    return int(seed)


def _whole(name: str, value: Any, unit: str) -> int:
    if isinstance(value, bool) or not _is_whole(value) or value < 1:
        raise InputError(f"got {name}={value!r}, wanted a whole number of {unit}, at least 1")
    return int(value)


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__")


def _number(name: str, value: Any, unit: str, *, zero: bool = False) -> float:
    """A finite number above zero (or at zero, where ``zero`` allows it)."""
    wanted = f"a {'non-negative' if zero else 'positive'} number of {unit}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"got {name}={value!r}, wanted {wanted}") from None
    if not math.isfinite(number) or number < 0.0 or (number == 0.0 and not zero):
        raise InputError(f"got {name}={number:g}, wanted {wanted}")
    return number
