"""The command label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions
from flashmd_train.cli.data import TimestepFs

if TYPE_CHECKING:
    from ase import Atoms


@with_system_flags("generate", strict=False)
def label(
    frames: Annotated[Path, typer.Argument(help="Structures with momenta, such as those of --guard collect.")],
    output: Annotated[Path, typer.Argument(help="HDF5 file; a rerun goes on where it stopped.")],
    system: SystemOptions,
    temperature: Annotated[
        float,
        typer.Option("--temperature-k", help="Of the runs the frames are of, K; missing momenta are drawn at it."),
    ],
    seed: int = 1,
    timestep_fs: TimestepFs = None,
    spacing_fs: Annotated[float, typer.Option(help="Time between stored frames, fs; that of the data.")] = 8.0,
    length_fs: Annotated[float, typer.Option(help="Length of a segment, fs.")] = 64.0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, or 'local' for one on this machine.")
    ] = None,
) -> None:
    """Go on from frames by a reference: NVE segments to add to the data of a training."""
    from flashmd_rs.reference.label import label as label_frames

    found = _read(frames)
    count = label_frames(
        output,
        found,
        system.load_potential(),
        temperature,
        seed=seed,
        timestep_fs=timestep_fs,
        spacing_fs=spacing_fs,
        length_fs=length_fs,
        workers=workers,
        cluster=cluster,
    )
    typer.echo(f"{count} segments of {len(found)} frames in {output}")


def _read(path: Path) -> list[Atoms]:
    """All structures of a file."""
    from ase.io import read

    try:
        return list(read(path, ":"))
    except OSError:
        raise
    except Exception as error:  # whatever a reader of ASE may raise
        raise ValueError(f"{path} cannot be read as structures: {error}") from None
