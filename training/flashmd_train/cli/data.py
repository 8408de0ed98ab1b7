"""Commands for reference data: generate, check, structure, frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions
from flashmd_rs.writers.atomic_write import atomic_write

TemperaturesK = Annotated[
    list[float] | None, typer.Option("--temperature-k", help="Temperature, K; repeat for several.")
]
TimestepFs = Annotated[
    float | None, typer.Option(help="Step of velocity Verlet, fs.", show_default="by the lightest mass")
]


@with_system_flags("generate", required=False)
def generate(
    output: Annotated[Path, typer.Argument(help="HDF5 file; a rerun goes on where it stopped.")],
    system: SystemOptions | None,
    context: typer.Context,
    segments: Annotated[int, typer.Option(help="NVE segments to store; of a trajectory all.")] = 1000,
    temperature_k: TemperaturesK = None,
    replicas: Annotated[
        int, typer.Option(help="Independent chains of segments per temperature; they take the structures in turn.")
    ] = 1,
    seed: int = 1,
    timestep_fs: TimestepFs = None,
    spacing_fs: Annotated[
        float | None, typer.Option(help="Time between stored frames, fs.", show_default="8, or as a trajectory states")
    ] = None,
    length_fs: Annotated[
        float | None, typer.Option(help="Length of a segment, fs.", show_default="64, of a trajectory about that")
    ] = None,
    decorrelation_fs: Annotated[
        float,
        typer.Option(help="Time under the thermostat between segments, fs; 0 makes each chain one NVE run."),
    ] = 40.0,
    equilibration_ps: Annotated[
        float, typer.Option(help="Time under the thermostat before the first segment of a chain, ps.")
    ] = 5.0,
    anneal_k: Annotated[float, typer.Option(help="The first third of that is at least this hot, K.")] = 0.0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, or 'local' for one on this machine.")
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Cut a trajectory with velocities into segments instead of simulating.")
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="Structure, .psf or .prmtop with the elements of a .trr, .nc, .dcd or .h5md.")
    ] = None,
    units: Annotated[
        str | None, typer.Option(help="Units of a LAMMPS dump, or of an extended XYZ file's velocities: metal, real, …")
    ] = None,
    synchronize: Annotated[
        bool, typer.Option(help="Move a trajectory's velocities that are half a step off, by the forces.")
    ] = False,
) -> None:
    """Store NVE segments: a system is simulated on all cores or a Dask cluster, a trajectory is cut."""
    from flashmd_rs.reference.generate import generate as generate_segments
    from flashmd_rs.reference.recipe import Recipe
    from flashmd_rs.reference.trajectory_data import TrajectorySource, store_trajectory

    if trajectory is not None:
        # A file of defaults is about what is simulated: a trajectory has its own temperature and times.
        given = {
            name: value
            for name, value in (("temperature_k", temperature_k), ("spacing_fs", spacing_fs), ("length_fs", length_fs))
            if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
        }
        temperatures = given.get("temperature_k") or [None]
        if len(temperatures) > 1:
            raise ValueError(f"got {len(temperatures)} temperatures for a trajectory, wanted one, or none for its mean")
        run = TrajectorySource(
            path=trajectory,
            topology=topology,
            units=units,
            potential=None if system is None else system.load_potential(),
            spacing_fs=given.get("spacing_fs"),
            length_fs=given.get("length_fs"),
            temperature_K=temperatures[0],
            synchronize=synchronize,
        )
        store_trajectory(output, run, typer.echo)
        return
    if system is None:
        raise ValueError(
            "got nothing to simulate: give --structure with --calculator, --openmm or --forcefield, "
            "--config FILE, or --trajectory FILE"
        )
    recipe = Recipe(
        system=system.load(),
        temperatures_K=tuple(temperature_k or ()),
        replicas=replicas,
        seed=seed,
        timestep_fs=timestep_fs,
        spacing_fs=8.0 if spacing_fs is None else spacing_fs,
        length_fs=64.0 if length_fs is None else length_fs,
        decorrelation_fs=decorrelation_fs,
        equilibration_ps=equilibration_ps,
        anneal_K=anneal_k,
    )
    generate_segments(output, recipe, segments, workers, cluster)


@with_system_flags("generate", required=False)
def check(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    system: SystemOptions | None,
    plot: Annotated[Path | None, typer.Option(help="Image of the distributions and of the energy.")] = None,
) -> None:
    """Test data before a training: momenta, energies, spacing, and, with a potential, forces; exit 1 if they fail."""
    from flashmd_rs.reference.checks import Severity, judge
    from flashmd_rs.reference.checks.plot import plot as draw
    from flashmd_rs.reference.checks.segments import measure

    temperatures = measure(data)
    for temperature in temperatures:
        typer.echo(json.dumps(temperature.figures()))
    if plot:
        draw(temperatures, plot, data.name)
    found = judge(data, temperatures, None if system is None else system.load_potential())
    for finding in found:
        typer.echo(f"{finding.severity}: {finding.sentence}", err=True)
    raise typer.Exit(any(finding.severity is Severity.REFUSAL for finding in found))


@with_system_flags("generate", strict=False)
def structure(
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    system: SystemOptions,
    temperature_k: TemperaturesK = None,
    time_ps: Annotated[float, typer.Option(help="Equilibration, ps.")] = 30.0,
    anneal_k: Annotated[float, typer.Option(help="The first third of that is at least this hot, K.")] = 0.0,
    timestep_fs: TimestepFs = None,
    seed: int = 7,
) -> None:
    """Write an equilibrated structure with momenta."""
    import numpy as np
    from ase.io import write

    with atomic_write(output) as temporary:
        if not temperature_k:
            raise ValueError("got no temperature_k, wanted that of the structure")
        reference = system.load().reference(timestep_fs)
        reference.equilibrate(temperature_k[0], np.random.default_rng(seed), time_ps, anneal_k)
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

    with atomic_write(output) as temporary:
        write(temporary, list(frames_of(data, stride_fs, midpoint)))
