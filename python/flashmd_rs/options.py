"""Options of a run: small frozen classes that check themselves, print themselves, and are stored as they are.

An option goes into :func:`flashmd_rs.rollout` and :class:`flashmd_rs.Simulation` under the name of what it sets; a
plain word stands for the class with its defaults: ``thermostat="bussi"`` is ``thermostat=Bussi()``.

>>> Langevin(time_constant_fs=50)
Langevin(time_constant_fs=50.0)
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

from flashmd_rs import _checks
from flashmd_rs.errors import InputError

PathLike = str | os.PathLike[str]

Scope = Literal["global", "species", "molecule"]
RescalingFallback = Literal["stop", "skip", "clamp"]
GuardPolicy = Literal["warn", "stop", "fallback", "collect", "off"]
Coupling = Literal["isotropic", "anisotropic"]
MomentaChoice = Literal["auto", "structure", "draw"]


class Option:
    """Base of all options: a frozen dataclass with a name of its kind.

    Attributes:
        kind: the word that stands for the class.
    """

    kind: ClassVar[str]

    def _set(self, **checked: Any) -> None:
        """Replace fields by their checked values; only for ``__post_init__``."""
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """The option as plain data, ``kind`` and every field; :func:`restore` makes it again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind} | {
            name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """The option that :meth:`as_dict` described."""
        return cls(**{name: value for name, value in stored.items() if name != "kind"})


@dataclass(frozen=True)
class Langevin(Option):
    """Langevin thermostat: the exact Ornstein–Uhlenbeck step, half before and half after each stride.

    Source: Bussi and Parrinello, Phys. Rev. E 75, 056707 (2007).

    Attributes:
        time_constant_fs: Relaxation time of the momenta, fs.
    """

    kind: ClassVar[str] = "langevin"
    time_constant_fs: float = 100.0

    def __post_init__(self) -> None:
        self._set(time_constant_fs=_checks.positive("time_constant_fs", self.time_constant_fs, "fs"))


@dataclass(frozen=True)
class Bussi(Option):
    """Bussi–Donadio–Parrinello thermostat: stochastic rescaling of all velocities by one factor.

    Source: Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007).

    Attributes:
        time_constant_fs: Relaxation time of the kinetic energy, fs.
    """

    kind: ClassVar[str] = "bussi"
    time_constant_fs: float = 100.0

    def __post_init__(self) -> None:
        self._set(time_constant_fs=_checks.positive("time_constant_fs", self.time_constant_fs, "fs"))


@dataclass(frozen=True)
class CellRescaling(Option):
    """Stochastic cell rescaling barostat; it moves whole molecules, found once by covalent radii.

    Source: Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020).

    Attributes:
        time_constant_fs: Relaxation time of the volume, fs.
        interval: Strides between moves.
        coupling: ``"isotropic"``, or ``"anisotropic"``: the lengths along x, y and z change independently.
        compressibility_per_bar: Isothermal compressibility, 1/bar, from which the step is taken; the default is that of
            water. A wrong one changes how fast the volume moves, not where it goes.
    """

    kind: ClassVar[str] = "cell_rescaling"
    time_constant_fs: float = 2000.0
    interval: int = 10
    coupling: Coupling = "isotropic"
    compressibility_per_bar: float = 4.5e-5

    def __post_init__(self) -> None:
        self._set(
            time_constant_fs=_checks.positive("time_constant_fs", self.time_constant_fs, "fs"),
            interval=_checks.whole("interval", self.interval, "strides"),
            coupling=_checks.one_of("coupling", self.coupling, get_args(Coupling)),
            compressibility_per_bar=_checks.positive("compressibility_per_bar", self.compressibility_per_bar, "1/bar"),
        )


@dataclass(frozen=True)
class MonteCarloBarostat(Option):
    """Monte Carlo barostat: trial volumes, accepted by energies alone; it moves whole molecules.

    Source: Chow and Ferguson, Comput. Phys. Commun. 91, 283 (1995); Åqvist, Wennerström, Nervall, Bjelic and Brandsdal,
    Chem. Phys. Lett. 384, 288 (2004).

    Attributes:
        interval: Strides between trial moves.
        coupling: ``"isotropic"``, or ``"anisotropic"``: the lengths along x, y and z change independently.
        compressibility_per_bar: Isothermal compressibility, 1/bar, from which the trial step is taken; the default is
            that of water.
    """

    kind: ClassVar[str] = "monte_carlo"
    interval: int = 10
    coupling: Coupling = "isotropic"
    compressibility_per_bar: float = 4.5e-5

    def __post_init__(self) -> None:
        self._set(
            interval=_checks.whole("interval", self.interval, "strides"),
            coupling=_checks.one_of("coupling", self.coupling, get_args(Coupling)),
            compressibility_per_bar=_checks.positive("compressibility_per_bar", self.compressibility_per_bar, "1/bar"),
        )


@dataclass(frozen=True)
class EnergyRescaling(Option):
    """Energy rescaling: after each stride momenta are scaled so that the conserved energy is kept.

    Source: Bigi, Chong, Kristiadi and Ceriotti, arXiv:2505.19350.

    Attributes:
        scope: What shares one factor: ``"global"`` all momenta, ``"species"`` those of an element, ``"molecule"`` those
            of a molecule.
        fallback: What happens where a stride cannot be rescaled: ``"stop"`` raises, ``"skip"`` leaves it, ``"clamp"``
            goes to the limit; what is left is corrected later. Each is counted in the report.
        limit: Largest |α − 1| of a stride's factor α on the momenta.
    """

    kind: ClassVar[str] = "rescaling"
    scope: Scope = "global"
    fallback: RescalingFallback = "stop"
    limit: float = 0.25

    def __post_init__(self) -> None:
        self._set(
            scope=_checks.one_of("scope", self.scope, get_args(Scope)),
            fallback=_checks.one_of("fallback", self.fallback, get_args(RescalingFallback)),
            limit=_checks.fraction("limit", self.limit),
        )


@dataclass(frozen=True)
class Guard(Option):
    """Guard: what becomes of a state that the model's metadata does not cover, or that explodes, freezes or evaporates.

    It watches pair distances, momenta, neighbour counts, density, temperature and the model's own uncertainty. Every
    violation is counted in the report. Before the first stride it refuses atoms at one place and bonds that the model
    does not know; a stride into an absurd state (beyond 100 000 K) ends the run whatever the policy, unless it is off.

    Attributes:
        policy: ``"warn"`` says it once per quantity and goes on; ``"collect"`` also keeps the structure in
            ``violations_file`` for relabelling; ``"stop"`` raises; ``"fallback"`` takes the stride back and does it and
            the next by velocity Verlet with the energy model; ``"off"`` looks at nothing but numbers that are not
            finite.
        fallback_strides: Strides done by velocity Verlet after a stride out of bounds.
        timestep_fs: Time step of velocity Verlet there, fs.
        violations_file: File for the structures of ``"collect"``, one each time a quantity leaves its bounds; formats
            and ``{replica}`` as for ``trajectory``.
    """

    kind: ClassVar[str] = "guard"
    policy: GuardPolicy = "warn"
    fallback_strides: int = 1
    timestep_fs: float = 0.5
    violations_file: PathLike | None = None

    def __post_init__(self) -> None:
        self._set(
            policy=_checks.one_of("guard", self.policy, get_args(GuardPolicy)),
            fallback_strides=_checks.whole("fallback_strides", self.fallback_strides, "strides"),
            timestep_fs=_checks.positive("timestep_fs", self.timestep_fs, "fs"),
        )
        if self.violations_file is not None:
            check_path("violations_file", self.violations_file)
        if (self.policy == "collect") != (self.violations_file is not None):
            raise InputError(
                "the policy 'collect' and violations_file, the file for the structures, go together: give "
                "Guard('collect', violations_file=…), or neither"
            )


@dataclass(frozen=True)
class Checkpoint(Option):
    """Checkpoints: where a run is saved to restart from, to the last bit.

    One is saved at the start, every ``interval`` strides, at the end and, in the main thread, on Ctrl-C and on SIGTERM,
    SIGUSR1, SIGUSR2, SIGXCPU and SIGHUP (which then exit with 128 + their number). The file is always whole; the one
    before it is kept as ``NAME.previous``.

    Attributes:
        path: File (safetensors). One that exists already is never replaced by a run that does not go on from it.
        interval: Strides between two checkpoints; None is a tenth of the planned run, at most 1000.
        allow_other_model: Go on with another model, or energy model, than the checkpoint was made with.
    """

    kind: ClassVar[str] = "checkpoint"
    path: PathLike
    interval: int | None = None
    allow_other_model: bool = False

    def __post_init__(self) -> None:
        check_path("checkpoint", self.path)
        self._set(allow_other_model=_checks.flag("allow_other_model", self.allow_other_model))
        if self.interval is not None:
            self._set(interval=_checks.whole("interval", self.interval, "strides"))


@dataclass(frozen=True)
class Output(Option):
    """Output: the file that frames are written to as they come.

    Attributes:
        path: File, in the format of its suffix (see :mod:`flashmd_rs.writers`). An existing one is replaced, after
            every argument was found good. ``{replica}`` in it becomes the replica's number. None writes none, and keeps
            no frame in memory but the last, with what was measured on all of them.
        interval: Strides between kept frames, also of those in memory and of the lines of the log; None is the run's.
        stress: Keep the stress, eV/Å³: with each frame that of the energy model, as ASE's calculators give it, and in
            the log all of it, kinetic part included, as in the pressure.
    """

    kind: ClassVar[str] = "output"
    path: PathLike | None
    interval: int | None = None
    stress: bool = False

    def __post_init__(self) -> None:
        if self.path is not None:
            check_path("trajectory", self.path)
        _checks.flag("stress", self.stress)
        if self.interval is not None:
            self._set(interval=_checks.whole("interval", self.interval, "strides"))


Thermostat = Langevin | Bussi
Barostat = CellRescaling | MonteCarloBarostat

THERMOSTATS: dict[str, type[Thermostat]] = {option.kind: option for option in (Langevin, Bussi)}
BAROSTATS: dict[str, type[Barostat]] = {option.kind: option for option in (CellRescaling, MonteCarloBarostat)}


def restore(stored: dict[str, Any]) -> Any:
    """The option that :meth:`Option.as_dict` described.

    Raises:
        InputError: there is no option of that kind.
    """
    kinds = {option.kind: option for option in Option.__subclasses__()}
    if stored.get("kind") not in kinds:
        raise InputError(f"got an option of kind {stored.get('kind')!r}, wanted one of {', '.join(sorted(kinds))}")
    return kinds[stored["kind"]].from_dict(stored)


def check_path(name: str, path: Any) -> None:
    """Raise InputError for anything but a path."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"got {type(path).__name__} for {name}, wanted a path")
    if not os.fspath(path):
        raise InputError(f"got an empty text for {name}, wanted a path")
