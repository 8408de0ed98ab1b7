"""The settings of a training run: YAML or TOML files, checked before anything starts.

``flashmd-train config direct``, ``… splitting``, ``… energy`` and ``… action`` print every setting with its default and
meaning.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from flashmd_train.learning.tuning import Tune
from flashmd_train.models.config import ActionConfig, DirectConfig, EnergyConfig, SplittingConfig
from flashmd_train.settings import Fraction, NotNegative, Positive, Strict, problems


class Data(Strict):
    """The data files, and how batches are drawn from them."""

    files: tuple[Path, ...] = Field((), description="HDF5 files of `flashmd-train generate`; relative to this file")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of each file that is held out, its last part"
    )
    segments: int | None = Field(
        None, ge=1, description="segments of the training part that are trained on, evenly over the files; null: all"
    )
    boxes: int = Field(1, ge=1, description="boxes per step and process; the time of a step is proportional to it")
    edges: int | None = Field(
        None,
        ge=1,
        description="instead of boxes: edges per step and process, to a whole number of the largest box; files are "
        "drawn in proportion to segments × atoms, and small boxes several at a time",
    )
    rotate: bool = Field(True, description="rotate and invert batches at random where the network is not equivariant")
    time_reversal: Fraction = Field(0.5, description="share of the pairs that run backwards in time")
    position_noise_A: NotNegative = Field(
        0.0, description="noise on the positions that the model is given, Å; makes strides correct errors"
    )
    momentum_noise: NotNegative = Field(0.0, description="noise on p/√m that the model is given, √eV")


class Loss(Strict):
    """Mean square errors of positions and momenta, and further terms."""

    kind: Literal["mass_scaled", "plain", "scaled"] = Field(
        "mass_scaled",
        description="mass_scaled: errors in units of the thermal energy; plain: in Å and √(eV·u) over the data's rms; "
        "scaled: with prior none, over the rms of each species, as metatrain's",
    )
    position_weight: NotNegative = Field(1.0, description="weight of the positions, w_q")
    momentum_weight: NotNegative = Field(1.0, description="weight of the momenta, w_p")
    strides: int = Field(
        1, ge=1, description="strides in a row, with the gradient through all of them; memory and time grow with it"
    )
    energy_weight: NotNegative = Field(0.0, description="weight of (ΔH)²/(N·(kT)²) by a frozen energy model")
    energy_run: Path | None = Field(None, description="folder of that energy model's training run")
    variance_weight: NotNegative = Field(0.0, description="weight of (Σ p̂²/Σ p² − 1)² of each species")
    potential_weight: NotNegative = Field(
        0.0,
        description="weight of (ΔV)²/(N·(kT)²): potential energies of a hybrid's frames against the reference's, less "
        "what those of one file are all off by; with optimizer.restart from there on",
    )


class Optimizer(Strict):
    """Adam with a cosine schedule, and when to stop."""

    steps: int = Field(8000, ge=1, description="steps of the run, the length of the cosine")
    learning_rate: Positive = Field(4e-4, description="largest learning rate, after the warm-up")
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    restart: Fraction = Field(
        0.0,
        description="share of the steps after which schedule and average begin anew, at a fifth of the rate; 0: never",
    )
    gradient_clip: Positive = Field(1.0, description="largest norm of the gradient; longer ones are shortened to it")
    averaging: Fraction = Field(
        0.999, description="decay of the moving average of the weights, which is what is exported"
    )
    patience: int | None = Field(
        None, ge=1, description="end after so many validations without a better one; null: never"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="of matrix products; other than float32 is automatic mixed precision, float16 needs a GPU",
    )


class Training(Strict):
    """Settings of every training run."""

    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    seed: int = Field(0, ge=0, description="seed of the initial weights and of the batches")
    threads: int = Field(1, ge=1, description="PyTorch threads per process")
    every: int = Field(250, ge=1, description="steps between validations and checkpoints")
    start: Path | None = Field(
        None,
        description="weights to begin from: checkpoint.pt of a run, a model file .onnx whose network is PET, or a "
        "metatrain checkpoint .ckpt",
    )
    tune: Tune = Field(
        "all",
        description="weights that change: all; of PET also heads, its readouts, or adapters, low-rank ones beside",
    )
    rank: int = Field(8, ge=1, description="rank of the adapters")

    @model_validator(mode="after")
    def _something_to_tune(self) -> Training:
        if self.tune != "all" and self.start is None:
            raise ValueError(f"tune: {self.tune} leaves most weights as they are: name a start to have them from")
        return self


class DirectTraining(Training):
    """A direct model's run."""

    model: DirectConfig = DirectConfig()
    loss: Loss = Loss()


class SplittingTraining(Training):
    """A splitting model's run."""

    model: SplittingConfig = SplittingConfig()
    loss: Loss = Loss()
    force_steps: int = Field(1500, ge=0, description="steps on reference forces, before those on strides")


class MidpointLoss(Strict):
    """Mean square errors of the changes of positions and momenta, in units of the thermal energy."""

    position_weight: NotNegative = Field(1.0, description="weight of the positions, w_q")
    momentum_weight: NotNegative = Field(1.0, description="weight of the momenta, w_p")


class ActionTraining(Training):
    """An action model's run."""

    model: ActionConfig = ActionConfig()
    loss: MidpointLoss = MidpointLoss()


class EnergyTraining(Training):
    """An energy model's run."""

    model: EnergyConfig = EnergyConfig()
    optimizer: Optimizer = Optimizer(steps=3000, learning_rate=1e-3)


T = TypeVar("T", bound=Training)


def read(kind: type[T], path: Path, changes: list[str] | None = None) -> T:
    """A run's settings from a YAML or TOML file.

    Args:
        kind: DirectTraining, SplittingTraining, EnergyTraining or ActionTraining.
        path: ``.yaml``, ``.yml`` or ``.toml``; paths in it are relative to its folder.
        changes: ``"optimizer.steps=100"``, on top of the file; values are YAML.

    Raises:
        ValueError: the file cannot be read, or settings are wrong; one line for each.
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
    return _relative_to(checked(kind, given, str(path)), path.parent)


def checked(kind: type[T], given: dict[str, Any], source: str = "settings") -> T:
    """A run's settings from what is given by name.

    Raises:
        ValueError: settings are wrong; one line for each, after the ``source`` they are from.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        lines = [f"  {line}" for line in problems(error)]
        raise ValueError("\n".join([f"{source}:", *lines, "`flashmd-train config` prints what is known"])) from None


def _relative_to(settings: T, folder: Path) -> T:
    """The settings with paths relative to ``folder``."""
    data = settings.data.model_copy(update={"files": tuple(folder / file for file in settings.data.files)})
    update: dict = {"data": data}
    if settings.start is not None:
        update["start"] = folder / settings.start
    loss = getattr(settings, "loss", None)
    if getattr(loss, "energy_run", None) is not None:
        update["loss"] = loss.model_copy(update={"energy_run": folder / loss.energy_run})
    return settings.model_copy(update=update)


def template(settings: Training) -> str:
    """Every setting with its value and its meaning, as commented YAML."""
    return "\n".join(_lines(settings, 0)) + "\n"


def _lines(section: BaseModel, depth: int) -> list[str]:
    lines, indent = [], "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            meaning = field.description or (type(value).__doc__ or "").splitlines()[0]
            lines += [f"{indent}{name}:  # {meaning}", *_lines(value, depth + 1)]
        else:
            lines.append(f"{indent}{name}: {json.dumps(value, default=str)}  # {field.description}")
    return lines
