"""``flashmd-rs run``: molecular dynamics from a structure."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flashmd_rs.cli.arguments import Device, Kernels, ProgressBar, Seed, Threads
from flashmd_rs.cli.config_file import Config, SaveConfig, write_config
from flashmd_rs.cli.dry_run import dry_run as tell_plan
from flashmd_rs.cli.ending import says_how_to_go_on, tell_end
from flashmd_rs.cli.flags import GROUPS, with_option_flags
from flashmd_rs.cli.wall_time import WallTimeOption, seconds_left
from flashmd_rs.options import GuardPolicy, MomentaChoice, Output

Switch = Literal["auto", "on", "off"]
Rescaling = Literal["auto", "on", "off", "global", "species", "molecule"]
_SWITCHES: dict[str, bool | str] = {"on": True, "off": False}


@with_option_flags
def run(
    context: typer.Context,
    structure: Annotated[
        str,
        typer.Argument(
            help="Structure file that ASE reads (its last frame; FILE@INDEX another), - for standard input, or a "
            "bundled name."
        ),
    ],
    *,
    model: Annotated[str, typer.Option(help="Model file, or bundled or fetched name.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="Format of STRUCTURE as ASE calls it.",
            show_default="by its name and contents",
        ),
    ] = None,
    index: Annotated[int | None, typer.Option(help="Frame of STRUCTURE.", show_default="the last")] = None,
    units: Annotated[
        str | None,
        typer.Option(
            help="Units of a LAMMPS file, or of a column of velocities in extended XYZ, as LAMMPS calls them: real, "
            "metal, ….",
            show_default="what the file states, else metal",
        ),
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            help="Structure, .psf, .prmtop, .top or .tpr with the elements of an .xtc, .dcd, .trr or .nc.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of strides (or give --time-ps).")] = None,
    time_ps: Annotated[float | None, typer.Option(help="Simulated time, ps, rounded up to whole strides.")] = None,
    temperature_k: Annotated[
        float | None,
        typer.Option(help="Temperature of the thermostat and of drawn momenta, K."),
    ] = None,
    momenta: Annotated[
        MomentaChoice,
        typer.Option(
            help="Those of the structure, drawn ones, or (auto) drawn where it has none, or none but zeros with "
            "--temperature-k.",
        ),
    ] = "auto",
    thermostat: Annotated[
        Literal["langevin", "bussi", "none"] | None,
        typer.Option(help="none is NVE.", show_default="langevin with --temperature-k, else none"),
    ] = None,
    pressure_bar: Annotated[
        float | None,
        typer.Option(help="Pressure of the barostat, bar.", show_default="no barostat"),
    ] = None,
    barostat: Annotated[
        Literal["cell_rescaling", "monte_carlo", "none"] | None,
        typer.Option(
            help="How the cell changes.",
            show_default="cell_rescaling with --pressure-bar, else none",
        ),
    ] = None,
    metropolis: Annotated[
        bool,
        typer.Option(
            "--metropolis",
            help="Accept each stride by its change of energy or take it back: an NVT without bias.",
        ),
    ] = False,
    rescale_energy: Annotated[
        Rescaling,
        typer.Option(
            help="Keep the conserved energy by rescaling momenta: all by one factor (on, global), per species, per "
            "molecule; auto: global in NVE, if an energy is known.",
        ),
    ] = "auto",
    guard: Annotated[
        GuardPolicy,
        typer.Option(
            help="What becomes of a state that the model was not trained for: warn once; stop; fall back to velocity "
            "Verlet with the energy model; collect its structure for relabelling.",
        ),
    ] = "warn",
    energy_model: Annotated[str | None, typer.Option(help="Energy model file, or bundled or fetched name.")] = None,
    bias: Annotated[
        str | None,
        typer.Option(help="Energy model whose forces act as an impulse around each stride."),
    ] = None,
    random_rotation: Annotated[
        Switch,
        typer.Option(help="Turn the model's frame each stride; auto: if it is not equivariant."),
    ] = "auto",
    seed: Seed = None,
    replica: Annotated[int, typer.Option(help="Number of the replica: whose random numbers are drawn.")] = 0,
    trajectory: Annotated[
        Path | None,
        typer.Option(
            help="File for the frames: .extxyz, .xyz, .traj, .h5md, .xtc or .dcd; replaced if it exists.",
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(help="Strides between kept frames.", show_default="steps / 1000"),
    ] = None,
    logfile: Annotated[
        str | None,
        typer.Option(help="File for one line per kept frame; - is standard output."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="HTML file for the report of the run, written at its end; pictures beside it.",
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File to restart from with `flashmd-rs resume FILE`.")] = None,
    resume: Annotated[
        Switch,
        typer.Option(
            help="Go on from the checkpoint; auto: if there is one, else begin: for jobs that are requeued.",
        ),
    ] = "off",
    stride_fs: Annotated[float | None, typer.Option(help="Only checked against the model, fs.")] = None,
    json_summary: Annotated[
        bool,
        typer.Option("--json", help="Print the summary as JSON on standard output."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only check everything, time some strides, and say what the run would take.",
        ),
    ] = False,
    config: Config = None,
    save_config: SaveConfig = None,
    progress: ProgressBar = True,
    wall_time: WallTimeOption = None,
    device: Device = "auto",
    threads: Threads = None,
    kernels: Kernels = "auto",
    **options: Any,
) -> None:
    """Run molecular dynamics from STRUCTURE."""
    from flashmd_rs.describe import summary_figures
    from flashmd_rs.errors import InputError
    from flashmd_rs.model import Model
    from flashmd_rs.rollout import rollout
    from flashmd_rs.structure_files import read_structure, structure_path

    atoms = read_structure(structure, format=format, index=index, units=units, topology=topology)
    read = [path for name in (structure, topology) if name is not None and (path := structure_path(name)) is not None]
    if json_summary and logfile == "-":
        raise InputError("got --json and --logfile -, which both write to standard output: give the log a file")
    if report is not None:
        from flashmd_rs.report.write import check_page

        check_page(report)
    outputs = {
        "trajectory": trajectory,
        "log": logfile,
        "file of violations": options["guard_violations_file"],
        "file of options": save_config,
    }
    for what, file in outputs.items():
        output = Path("-" if file is None else file)
        if output.exists() and any(output.samefile(path) for path in read):
            raise InputError(f"the {what} would replace the structure it starts from: {output}")
    if guard == "collect" and options["guard_violations_file"] is None:
        raise InputError("--guard collect needs the file for the structures: give --guard-violations-file FILE")
    if wall_time is not None and checkpoint is None:
        raise InputError("--wall-time needs a checkpoint to go on from: give --checkpoint FILE")
    if resume == "off" and checkpoint is not None and checkpoint.exists():
        raise InputError(
            f"there is a checkpoint already: go on from it with `flashmd-rs resume {checkpoint}` or --resume auto, or "
            "remove it"
        )
    options |= {
        "thermostat": thermostat,
        "barostat": barostat,
        "rescale_energy": "global" if rescale_energy == "on" else rescale_energy,
        "guard": guard,
        "trajectory": trajectory,
        "checkpoint": checkpoint,
    }
    options = {group.argument: group.take(options) for group in GROUPS}
    options["trajectory"] = options["trajectory"] or Output(None)
    if options["rescale_energy"] == "off":
        options["rescale_energy"] = False
    if save_config is not None:
        write_config(context, save_config)
    opened = Model(model, device=device, threads=threads, kernels=kernels)
    arguments = {
        "steps": steps,
        "time_ps": time_ps,
        "temperature_K": temperature_k,
        "momenta": momenta,
        "pressure_bar": pressure_bar,
        "metropolis": metropolis,
        "energy_model": energy_model,
        "bias": bias,
        "random_rotation": _SWITCHES.get(random_rotation, random_rotation),
        "seed": seed,
        "replica": replica,
        "interval": interval,
        "logfile": logfile,
        "resume": _SWITCHES.get(resume, resume),
        "stride_fs": stride_fs,
        **options,
    }
    if dry_run:
        tell_plan(atoms, opened, arguments)
        return
    with says_how_to_go_on(checkpoint):
        result = rollout(atoms, opened, progress=progress, wall_time_s=seconds_left(wall_time), **arguments)
    if json_summary:
        typer.echo(json.dumps(summary_figures(result), indent=1, allow_nan=False))
    kept = f"{len(result)} frames in {trajectory}" if trajectory else "not kept (give --trajectory FILE)"
    tell_end([result], checkpoint, err=logfile == "-" or json_summary, kept=f"trajectory  {kept}")
    # A run that its wall time ended is not here any more, and one that was complete before has no frames.
    if report is not None and len(result):
        from flashmd_rs.report import write_report

        write_report(result, report, command=shlex.join(["flashmd-rs", *sys.argv[1:]]))
        typer.echo(f"report      {report}", err=logfile == "-" or json_summary)
