"""Commands for reference data: generate, check, structure, frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.reference.systems import SYSTEMS
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.cli.errors import plain_errors


def generate(
    system: Annotated[str, typer.Argument(help=f"One of {', '.join(SYSTEMS)}.")],
    output: Annotated[Path, typer.Argument(help="HDF5 file; a rerun goes on where it stopped.")],
    size: Annotated[int | None, typer.Option(help="Molecules or cells; the system's own by default.")] = None,
    segments: Annotated[int, typer.Option(help="NVE segments to store.")] = 1000,
    temperature_k: Annotated[list[float] | None, typer.Option(help="Temperatures in K; repeat for several.")] = None,
    replicas: Annotated[int, typer.Option(help="Independent chains of segments per temperature.")] = 1,
    seed: int = 1,
    timestep_fs: Annotated[float | None, typer.Option(help="Step of velocity Verlet, fs.")] = None,
    spacing_fs: Annotated[float | None, typer.Option(help="Time between stored frames, fs.")] = None,
    length_fs: Annotated[float | None, typer.Option(help="Length of a segment, fs.")] = None,
    decorrelation_fs: Annotated[
        float | None,
        typer.Option(help="Time under the thermostat between segments, fs; 0 makes each chain one NVE run."),
    ] = None,
    equilibration_ps: Annotated[
        float | None, typer.Option(help="Time under the thermostat before the first segment of a chain, ps.")
    ] = None,
    density_g_per_cm3: Annotated[
        float | None, typer.Option(help="Density of water; models for NpT want several.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, or 'local' for one on this machine.")
    ] = None,
) -> None:
    """Simulate a reference system and store NVE segments, on all cores or a Dask cluster."""
    from flashmd_rs.reference.generate import generate as generate_segments
    from flashmd_rs.reference.recipe import Recipe

    with plain_errors():
        recipe = Recipe.of(
            system,
            size=size,
            temperatures_K=tuple(temperature_k) if temperature_k else None,
            replicas=replicas,
            seed=seed,
            timestep_fs=timestep_fs,
            spacing_fs=spacing_fs,
            length_fs=length_fs,
            decorrelation_fs=decorrelation_fs,
            equilibration_ps=equilibration_ps,
            density_g_per_cm3=density_g_per_cm3,
        )
        generate_segments(output, recipe, segments, workers, cluster)


def check(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    plot: Annotated[Path | None, typer.Option(help="Image of the distributions and of the energy.")] = None,
) -> None:
    """Test momenta against Maxwell–Boltzmann, print temperatures and drifts; exit 1 if a test fails."""
    from flashmd_rs.reference import check as checks

    with plain_errors():
        temperatures = checks.check(data)
    for temperature in temperatures:
        typer.echo(json.dumps(temperature.figures()))
    if plot:
        checks.plot(temperatures, plot, data.name)
    refused = checks.refusals(temperatures)
    for message in refused:
        typer.echo(message, err=True)
    raise typer.Exit(bool(refused))


def structure(
    system: Annotated[str, typer.Argument(help=f"One of {', '.join(SYSTEMS)}.")],
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    size: Annotated[int | None, typer.Option(help="Molecules or cells; the system's own by default.")] = None,
    temperature_k: float = 300.0,
    time_ps: Annotated[float, typer.Option(help="Equilibration, ps.")] = 30.0,
    seed: int = 7,
) -> None:
    """Write an equilibrated structure with momenta."""
    import numpy as np
    from ase.io import write

    from flashmd_rs.reference.recipe import Recipe

    with plain_errors(), atomic_write(output) as temporary:
        reference = Recipe.of(system, size=size).build()
        reference.equilibrate(temperature_k, np.random.default_rng(seed), time_ps)
        write(temporary, reference.atoms(), columns=["symbols", "positions", "momenta", "masses"])


def frames(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    stride_fs: Annotated[float, typer.Option(help="Time from a frame to its future, fs.")],
    midpoint: Annotated[bool, typer.Option(help="For symplectic FlashMD: midpoints and differences.")] = False,
) -> None:
    """Write stored segments as frames for `mtt train`, with the positions and momenta of the future as arrays."""
    from ase.io import write

    from flashmd_train.data.frames import frames as frames_of

    with plain_errors(), atomic_write(output) as temporary:
        write(temporary, list(frames_of(data, stride_fs, midpoint)))
