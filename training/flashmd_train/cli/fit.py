"""Commands for training: config, bonded, direct, splitting, energy, action."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from flashmd_train.learning.config import (
    ActionTraining,
    DirectTraining,
    EnergyTraining,
    SplittingTraining,
    Training,
    read,
    template,
)

Config = Annotated[Path, typer.Argument(help="YAML or TOML; `flashmd-train config` prints all there is.")]
RunFolder = Annotated[
    Path, typer.Argument(help="Folder: checkpoint.pt, log.jsonl, TensorBoard events; rerun to resume.")
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE over the file; repeat for several.")]


def config(
    kind: Annotated[str, typer.Argument(help="direct, splitting, energy or action.")],
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin from, as `start` takes: with the settings that go with them.")
    ] = None,
) -> None:
    """Print every setting of a training run, with its default and its meaning."""
    settings = _kind(kind)()
    if start is not None:
        from flashmd_train.learning.start import read_start

        model = read_start(start).config
        if type(model) is not type(settings.model):
            raise typer.BadParameter(f"{start} is of another kind than {kind}: its settings are {type(model).__name__}")
        settings = settings.model_copy(update={"model": model, "start": start.resolve()})
    typer.echo(template(settings), nl=False)


def bonded(
    data: Annotated[list[Path], typer.Argument(help="HDF5 files of `flashmd-train generate`, with forces.")],
) -> None:
    """Print the bonds and angles of molecules for `model.bonded` of a splitting, fitted to the data's forces."""
    from flashmd_train.data.dataset import Dataset
    from flashmd_train.learning.fit_bonded import fit_bonded

    kinds, left = fit_bonded(Dataset(data))
    typer.echo(f"# Bonds and angles leave {100 * left:.1f} % of the forces.")
    typer.echo(yaml.safe_dump({"bonded": kinds.model_dump(mode="json")}, sort_keys=False), nl=False)


def direct(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train a direct model. Over N processes: torchrun --nproc-per-node N -m flashmd_train direct CONFIG RUN."""
    from flashmd_train.learning.direct import train_direct

    train_direct(read(DirectTraining, config, changes), run)


def splitting(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train a splitting model, whose strides are symplectic; over several processes as `direct`."""
    from flashmd_train.learning.splitting import train_splitting

    train_splitting(read(SplittingTraining, config, changes), run)


def energy(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train an energy model on reference energies and forces; over several processes as `direct`."""
    from flashmd_train.learning.energy import train_energy

    train_energy(read(EnergyTraining, config, changes), run)


def action(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train an action model of PET, whose strides are symplectic and implicit; over several processes as `direct`."""
    from flashmd_train.learning.action import train_action

    train_action(read(ActionTraining, config, changes), run)


def _kind(name: str) -> type[Training]:
    kinds = {
        "direct": DirectTraining,
        "splitting": SplittingTraining,
        "energy": EnergyTraining,
        "action": ActionTraining,
    }
    if name not in kinds:
        raise typer.BadParameter(f"got {name!r}, wanted one of {sorted(kinds)}")
    return kinds[name]
