"""What a training run is told: YAML or TOML files, checked before anything starts.

``flashmd-train config direct`` and ``… energy`` print every setting with its default and meaning.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    """Unknown names are errors: a setting that is misspelt must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DirectConfig(_Strict):
    """Everything that fixes a direct model's shape; stored in checkpoints and in the provenance."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    stride_fs: Positive = Field(16.0, description="stride of the map, fs")
    cutoff_A: Positive = Field(6.0, description="cutoff of the neighbours, Å")
    backbone: Literal["staged", "edgemp", "painn"] = Field(
        "staged", description="network that supplies the slow forces"
    )
    prior: Literal["bonded", "free"] = Field("bonded", description="bonded: flexible water is known; free: nothing is")
    inner_fs: Positive = Field(0.8, description="inner time step of the prior's last flight, fs")
    lookahead_fs: Positive = Field(2.0, description="inner time step by which a staged backbone looks ahead, fs")
    modes: int = Field(5, ge=1, description="orders of the slow force's polynomial in time")
    noise: bool = Field(False, description="a head for what a stride cannot resolve, drawn by the runtime each stride")
    options: dict = Field({}, description="further arguments of the backbone")


class EnergyConfig(_Strict):
    """Everything that fixes an energy model's shape."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    prior: Literal["bonded", "free"] = Field("bonded", description="bonded: flexible water is known; free: nothing is")
    cutoff_A: Positive = Field(6.0, description="cutoff of the neighbours, Å")
    radial: int = Field(16, ge=2, description="radial functions")
    spacing: Annotated[float, Field(ge=1)] = Field(
        1.0, description="power of the distance in which they are evenly spaced: 2 is fine far out, smooth near by"
    )
    hidden: int = Field(24, ge=1, description="learned vectors and scalars per atom")
    width: Positive = Field(1.0, description="width of the cutoff's flank, Å")


class SplittingConfig(_Strict):
    """Everything that fixes a splitting model's shape."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    stride_fs: Positive = Field(2.0, description="stride of the map, fs")
    kicks: tuple[int, ...] = Field((0, 1, 0), description="number of the scalar of each kick, the same backwards")
    drifts: tuple[float, ...] = Field((0.5, 0.5), description="share of the stride of each drift between them")
    scalar: EnergyConfig = Field(EnergyConfig(), description="network of the scalars")
    fast_fs: Positive | None = Field(
        None, description="step, fs, by which known bonds and angles swing during a drift; null: straight flight"
    )
    pairs_fs: Positive | None = Field(
        None,
        description="step, fs, by which pair forces act in a drift beside them; null: the scalars have them",
    )
    mollified: bool = Field(
        False, description="the scalars see molecules with bonds at rest, so that kicks do not drive them"
    )
    repulsion_eV: NotNegative = Field(0.02, description="wall between atoms, at the closest approach in the data, eV")

    @property
    def cutoff_A(self) -> float:
        """Of the scalars."""
        return self.scalar.cutoff_A


class Data(_Strict):
    """The files, and what becomes of them."""

    files: tuple[Path, ...] = Field((), description="HDF5 files of `flashmd-train generate`; relative to this file")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of each file held out, its last part"
    )
    boxes: int = Field(1, ge=1, description="boxes per step and process")
    rotate: bool = Field(True, description="turn batches at random, where the network is not equivariant")
    time_reversal: Fraction = Field(0.5, description="share of the pairs that run backwards")
    position_noise_A: NotNegative = Field(0.0, description="noise on the positions a model is given, Å")
    momentum_noise: NotNegative = Field(0.0, description="noise on p/√m that a model is given, √eV")


class Loss(_Strict):
    """Mean of squared errors and what is added to it."""

    kind: Literal["mass_scaled", "plain"] = Field(
        "mass_scaled",
        description="mass_scaled: in units of the thermal energy; plain: Å and √(eV·u) over the data's rms",
    )
    position_weight: NotNegative = Field(1.0, description="w_q")
    momentum_weight: NotNegative = Field(1.0, description="w_p")
    strides: int = Field(1, ge=1, description="strides unrolled, the gradient flows through all of them")
    energy_weight: NotNegative = Field(0.0, description="weight of (ΔH)²/(N·(kT)²) by a frozen energy model")
    energy_run: Path | None = Field(None, description="folder of that energy model's run")
    variance_weight: NotNegative = Field(0.0, description="weight of (Σp̂²/Σp² − 1)², species by species")


class Optimizer(_Strict):
    """Adam, a cosine, and when to stop."""

    steps: int = Field(8000, ge=1, description="steps of the whole run, over which the cosine is laid")
    learning_rate: Positive = Field(4e-4, description="after the warm-up")
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    gradient_clip: Positive = Field(1.0, description="largest norm of the gradient")
    averaging: Fraction = Field(
        0.999, description="decay of the moving average of the weights, which is what is exported"
    )
    patience: int | None = Field(None, ge=1, description="validations without a better one after which a run ends")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the products under automatic mixed precision; float16 needs a GPU"
    )


class _Training(_Strict):
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    seed: int = Field(0, ge=0, description="of weights and batches")
    threads: int = Field(1, ge=1, description="threads of PyTorch per process")
    every: int = Field(250, ge=1, description="steps between validations and checkpoints")
    start: Path | None = Field(None, description="checkpoint whose averaged weights to begin from")


class DirectTraining(_Training):
    """A direct model's run."""

    model: DirectConfig = DirectConfig()
    loss: Loss = Loss()


class SplittingTraining(_Training):
    """A splitting model's run."""

    model: SplittingConfig = SplittingConfig()
    loss: Loss = Loss()
    force_steps: int = Field(1500, ge=0, description="steps on reference forces, before those on strides")


class EnergyTraining(_Training):
    """An energy model's run."""

    model: EnergyConfig = EnergyConfig()
    optimizer: Optimizer = Optimizer(steps=3000, learning_rate=1e-3)


T = TypeVar("T", bound=_Training)


def read(kind: type[T], path: Path, changes: list[str] | None = None) -> T:
    """A run's settings from a YAML or TOML file.

    Args:
        kind: which.
        path: ``.yaml``, ``.yml`` or ``.toml``; paths in it are relative to its folder.
        changes: ``"optimizer.steps=100"``, on top of the file; values are YAML.

    Raises:
        ValueError: with one line per setting that is wrong.
    """
    text = path.read_text()
    try:
        given = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text) or {}
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not {path.suffix.lstrip('.').upper() or 'YAML'}: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds {type(given).__name__}, wanted settings by name")
    for change in changes or []:
        name, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"got {change!r}, wanted NAME=VALUE such as optimizer.steps=100")
        *sections, last = name.split(".")
        section = given
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = yaml.safe_load(value)
    try:
        settings = kind.model_validate(given)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r:.80}" for e in error.errors()]
        raise ValueError("\n".join([f"{path}:", *lines, "`flashmd-train config` prints what is known"])) from None
    return _from(settings, path.parent)


def _from(settings: T, folder: Path) -> T:
    """Paths relative to ``folder``."""
    data = settings.data.model_copy(update={"files": tuple(folder / file for file in settings.data.files)})
    update: dict = {"data": data}
    if settings.start is not None:
        update["start"] = folder / settings.start
    loss = getattr(settings, "loss", None)
    if loss is not None and loss.energy_run is not None:
        update["loss"] = loss.model_copy(update={"energy_run": folder / loss.energy_run})
    return settings.model_copy(update=update)


def template(kind: type[_Training]) -> str:
    """Every setting with its default, as commented YAML."""
    return "\n".join(_lines(kind, 0)) + "\n"


def _lines(kind: type[BaseModel], depth: int) -> list[str]:
    lines = []
    for name, field in kind.model_fields.items():
        default = field.get_default()
        if isinstance(default, BaseModel):
            doc = (type(default).__doc__ or "").splitlines()[0]
            lines += [f"{'  ' * depth}{name}:  # {doc}", *_defaults(default, depth + 1)]
        else:
            lines.append(_line(name, default, field.description, depth))
    return lines


def _defaults(section: BaseModel, depth: int) -> list[str]:
    fields = type(section).model_fields
    return [_line(name, getattr(section, name), fields[name].description, depth) for name in fields]


def _line(name: str, value: object, description: str | None, depth: int) -> str:
    return f"{'  ' * depth}{name}: {json.dumps(value, default=str)}  # {description}"
