"""The command ``flashmd-rs``."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    name="flashmd-rs",
    help="Molecular dynamics in the long strides of a learned model.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Switch = Literal["auto", "on", "off"]
Rescaling = Literal["auto", "on", "off", "global", "species", "molecule"]
_SWITCHES: dict[str, bool | str] = {"on": True, "off": False}

Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where it is usable, else the CPU.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the network on the CPU.", show_default="every core")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="drawn and printed")]
ProgressBar = Annotated[bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")]


def _plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors and warnings as one line on standard error, and an exit code: 1 for an error, 130 for Ctrl-C."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                command(*args, **kwargs)
            except typer.Exit:
                raise
            except KeyboardInterrupt:
                typer.echo("interrupted", err=True)
                raise typer.Exit(130) from None
            except Exception as error:
                if os.environ.get("FLASHMD_TRACEBACK"):
                    raise
                typer.echo(f"error: {_one_line(error)}", err=True)
                raise typer.Exit(1) from None

    return wrapped


@contextmanager
def _going_on(checkpoint: Path | None) -> Iterator[None]:
    """Say how to go on with a run that Ctrl-C or SIGTERM ended."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if checkpoint is not None and checkpoint.exists():
            typer.echo(f"saved: go on with `flashmd-rs resume {checkpoint}`", err=True)
        raise


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


def _one_line(error: Exception) -> str:
    from flashmd_rs.errors import FlashMDError

    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    if isinstance(error, FlashMDError | OSError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error} (unexpected; FLASHMD_TRACEBACK=1 shows where it came from)"


@app.command()
@_plainly
def run(
    structure: Annotated[
        str, typer.Argument(help="Structure file that ASE reads (its last frame), or a bundled name.")
    ],
    model: Annotated[str, typer.Option(help="Model file or bundled name.")],
    steps: Annotated[int | None, typer.Option(help="Number of strides (or give --time-ps).")] = None,
    time_ps: Annotated[float | None, typer.Option(help="Simulated time, ps, rounded up to whole strides.")] = None,
    temperature_k: Annotated[
        float | None, typer.Option(help="Temperature of the thermostat and of drawn momenta, K.")
    ] = None,
    thermostat: Annotated[
        Literal["langevin", "bussi", "none"] | None,
        typer.Option(help="none is NVE.", show_default="langevin with --temperature-k, else none"),
    ] = None,
    time_constant_fs: Annotated[float, typer.Option(help="Relaxation time of the thermostat, fs.")] = 100.0,
    metropolis: Annotated[
        bool,
        typer.Option(
            "--metropolis", help="Accept each stride by its change of energy or take it back: an NVT without bias."
        ),
    ] = False,
    pressure_bar: Annotated[
        float | None, typer.Option(help="Pressure of the barostat, bar.", show_default="no barostat")
    ] = None,
    barostat: Annotated[
        Literal["cell_rescaling", "monte_carlo", "none"] | None,
        typer.Option(help="How the cell changes.", show_default="cell_rescaling with --pressure-bar, else none"),
    ] = None,
    barostat_time_constant_fs: Annotated[
        float, typer.Option(help="Relaxation time of the volume under cell rescaling, fs.")
    ] = 2000.0,
    barostat_interval: Annotated[int, typer.Option(help="Strides between moves of the barostat.")] = 10,
    barostat_coupling: Annotated[
        Literal["isotropic", "anisotropic"], typer.Option(help="Which lengths of the cell change together.")
    ] = "isotropic",
    compressibility_per_bar: Annotated[
        float, typer.Option(help="Isothermal compressibility, 1/bar; the default is water's.")
    ] = 4.5e-5,
    rescale_energy: Annotated[
        Rescaling,
        typer.Option(
            help="Keep the conserved energy by rescaling momenta: all by one factor (on, global), per species, per "
            "molecule; auto: global in NVE, if an energy is known."
        ),
    ] = "auto",
    rescale_fallback: Annotated[
        Literal["stop", "skip", "clamp"], typer.Option(help="What to do where a stride cannot be rescaled.")
    ] = "stop",
    rescale_limit: Annotated[float, typer.Option(help="Largest |α − 1| of a stride's factor α.")] = 0.25,
    guard: Annotated[
        Literal["warn", "stop", "fallback", "collect", "off"],
        typer.Option(
            help="What becomes of a state that the model was not trained for: warn once; stop; fall back to velocity "
            "Verlet with the energy model; collect its structure for relabelling."
        ),
    ] = "warn",
    guard_fallback_strides: Annotated[int, typer.Option(help="Strides done by velocity Verlet each time.")] = 1,
    guard_timestep_fs: Annotated[float, typer.Option(help="Time step of velocity Verlet, fs.")] = 0.5,
    collected: Annotated[
        Path | None, typer.Option(help="File for collected structures, in a format of --trajectory.")
    ] = None,
    random_rotation: Annotated[
        Switch, typer.Option(help="Turn the model's frame each stride; auto: if it is not equivariant.")
    ] = "auto",
    seed: Seed = None,
    energy_model: Annotated[str | None, typer.Option(help="Energy model file or bundled name.")] = None,
    trajectory: Annotated[
        Path | None,
        typer.Option(help="File for the frames: .extxyz, .xyz, .traj, .h5md, .xtc or .dcd; replaced if it exists."),
    ] = None,
    interval: Annotated[
        int | None, typer.Option(help="Strides between kept frames.", show_default="steps / 1000")
    ] = None,
    logfile: Annotated[str | None, typer.Option(help="File for one line per kept frame; - is standard output.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File to restart from with `flashmd-rs resume FILE`.")] = None,
    checkpoint_interval: Annotated[
        int | None, typer.Option(help="Strides between checkpoints.", show_default="steps / 10, at most 1000")
    ] = None,
    progress: ProgressBar = True,
    stride_fs: Annotated[float | None, typer.Option(help="Only checked against the model, fs.")] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Run molecular dynamics from STRUCTURE."""
    from flashmd_rs.describe import summary
    from flashmd_rs.errors import InputError
    from flashmd_rs.rollout import rollout

    atoms = _read_structure(structure)
    if trajectory is not None and Path(structure).is_file() and trajectory.exists() and trajectory.samefile(structure):
        raise InputError(f"the trajectory would replace the structure it starts from: {trajectory}")
    with _going_on(checkpoint):
        result = rollout(
            atoms,
            model,
            steps=steps,
            time_ps=time_ps,
            temperature_K=temperature_k,
            thermostat=thermostat,
            time_constant_fs=time_constant_fs,
            metropolis=metropolis,
            pressure_bar=pressure_bar,
            barostat=barostat,
            barostat_time_constant_fs=barostat_time_constant_fs,
            barostat_interval=barostat_interval,
            barostat_coupling=barostat_coupling,
            compressibility_per_bar=compressibility_per_bar,
            rescale_energy=_SWITCHES.get(rescale_energy, rescale_energy),
            rescale_fallback=rescale_fallback,
            rescale_limit=rescale_limit,
            guard=guard,
            guard_fallback_strides=guard_fallback_strides,
            guard_timestep_fs=guard_timestep_fs,
            collected=collected,
            random_rotation=_SWITCHES.get(random_rotation, random_rotation),
            seed=seed,
            energy_model=energy_model,
            trajectory=trajectory,
            interval=interval,
            logfile=logfile,
            checkpoint=checkpoint,
            checkpoint_interval=checkpoint_interval,
            progress=progress,
            stride_fs=stride_fs,
            device=device,
            threads=threads,
        )
    typer.echo(summary(result), err=logfile == "-")
    where = f"{len(result)} frames in {trajectory}" if trajectory else "not kept (give --trajectory FILE)"
    typer.echo(f"trajectory  {where}", err=logfile == "-")


@app.command()
@_plainly
def resume(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint that a run left.")],
    steps: Annotated[
        int | None, typer.Option(help="Strides of the whole run.", show_default="the end that was planned")
    ] = None,
    time_ps: Annotated[float | None, typer.Option(help="Simulated time of the whole run, ps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed from here on.", show_default="that of the run")] = None,
    model: Annotated[str | None, typer.Option(help="The model's file, if it has moved.")] = None,
    allow_other_model: Annotated[
        bool, typer.Option("--allow-other-model", help="Go on with another model than the checkpoint was made with.")
    ] = False,
    energy_model: Annotated[str | None, typer.Option(help="Energy model file or bundled name.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(show_default="as the run was given")] = None,
    threads: Annotated[int | None, typer.Option(show_default="as the run was given")] = None,
    progress: ProgressBar = True,
) -> None:
    """Go on with a run from its CHECKPOINT, to the last bit as if it had not stopped."""
    from flashmd_rs.describe import summary
    from flashmd_rs.rollout import resume as go_on

    with _going_on(checkpoint):
        result = go_on(
            checkpoint,
            steps=steps,
            time_ps=time_ps,
            seed=seed,
            model=model,
            allow_other_model=allow_other_model,
            energy_model=energy_model,
            device=device,
            threads=threads,
            progress=progress,
        )
    for run in result if isinstance(result, list) else [result]:
        typer.echo(summary(run))


def _read_structure(name: str) -> Any:
    """A structure file, or a bundled one; every failure to read is an InputError or OSError."""
    from ase.io import read

    from flashmd_rs.bundled import bundled, load_structure
    from flashmd_rs.errors import InputError

    path = Path(name)
    if not path.exists():
        names = bundled()["structures"]
        if name.removesuffix(".extxyz") in names:
            return load_structure(name)
        raise FileNotFoundError(f"no structure file {name!r}, nor a bundled one ({', '.join(names) or 'none'})")
    try:
        return read(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is not a structure that ASE can read: {reason}") from None


@app.command()
@_plainly
def info(model: Annotated[str, typer.Argument(help="Model file or bundled name.")]) -> None:
    """Print what a model is: its metadata with units."""
    import hashlib

    from flashmd_rs.describe import describe_model
    from flashmd_rs.model import find_model, read_metadata, read_model

    path = find_model(model)
    metadata = read_metadata(path)
    data = read_model(path)
    typer.echo(describe_model(str(path), metadata, hashlib.sha256(data).hexdigest(), len(data)))


@app.command()
@_plainly
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="metatrain checkpoint (.ckpt) of FlashMD or PET.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
) -> None:
    """Import a metatrain checkpoint: proved against metatrain and ONNX Runtime, then written in one go.

    Reading a checkpoint runs code inside it: convert only files you trust.
    """
    from flashmd_rs.errors import ModelError

    with _training_package("convert", "./training[convert]"):
        from flashmd_train.convert import ConversionError
        from flashmd_train.convert import convert as import_checkpoint
    try:
        metadata = import_checkpoint(checkpoint, output)
    except ConversionError as error:
        raise ModelError(str(error)) from None
    typer.echo(f"{output}: kind {metadata['kind']}, species {', '.join(metadata['species'])}")
    for name, figure in metadata["validation"].items():
        typer.echo(f"  {name} {figure:.1e} of the largest value")


@app.command()
@_plainly
def evaluate(
    movers: Annotated[
        list[str],
        typer.Argument(
            help="What is compared: a model file or bundled name, MODEL:POLICY with rescaling global, species or "
            "molecule, or with a metropolis test, verlet:FS, respa:FS (bonds every 0.5 fs)."
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Folder of the runs and the page; a rerun goes on.")] = Path(
        "evaluation"
    ),
    system: Annotated[Literal["water", "aluminium"], typer.Option(help="Flexible TIP3P, or ASE's EMT.")] = "water",
    size: Annotated[int | None, typer.Option(help="Molecules or cells.", show_default="the system's own")] = None,
    temperature_k: Annotated[float, typer.Option(help="Of the starts and of the weak bath, K.")] = 300.0,
    nve_ps: Annotated[float, typer.Option(help="Length of a run without a bath, ps; 0 for none.")] = 20.0,
    nvt_ps: Annotated[float, typer.Option(help="Length of a run under Langevin with 1 ps, ps; 0 for none.")] = 0.0,
    seeds: Annotated[int, typer.Option(help="Runs from different starts.")] = 1,
    equilibration_ps: Annotated[float, typer.Option(help="In the reference's own bath before each start, ps.")] = 15.0,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
) -> None:
    """Judge models and integrators by the reference's energies: drift, equipartition, structure, motion, cost."""
    from flashmd_rs.errors import InputError

    with _training_package("evaluate", ".[evaluate]"):
        from flashmd_rs.evaluation.evaluate import evaluate as judge
        from flashmd_rs.evaluation.protocol import EvaluationProtocol
    try:
        protocol = EvaluationProtocol(system, size, temperature_k, nve_ps, nvt_ps, seeds, equilibration_ps)
        typer.echo(judge(movers, protocol, folder, workers))
    except ValueError as error:
        raise InputError(str(error)) from None


@contextmanager
def _training_package(command: str, distribution: str) -> Iterator[None]:
    """Say what to install where the training package, or what it needs, is not there."""
    from flashmd_rs.errors import FlashMDError

    try:
        yield
    except ImportError as error:
        raise FlashMDError(
            f"{command} needs the training package ({error}); from a clone of this repository: "
            f"pip install '{distribution}'"
        ) from None


@app.command()
@_plainly
def doctor() -> None:
    """Print what this installation found, and why."""
    from flashmd_rs.doctor import diagnose

    text, usable = diagnose()
    typer.echo(text)
    if not usable:
        raise typer.Exit(1)


@app.command()
@_plainly
def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for the picture and the trajectory.")] = Path("flashmd-demo"),
    time_ps: Annotated[float | None, typer.Option(help="Simulated time, ps.")] = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    progress: ProgressBar = True,
) -> None:
    """Simulate 258 waters at 300 K with the bundled model, and show what came of it."""
    from flashmd_rs.demo import TIME_PS, run_demo

    made = run_demo(
        output_dir,
        time_ps=TIME_PS if time_ps is None else time_ps,
        seed=seed,
        device=device,
        threads=threads,
        progress=progress,
    )
    typer.echo(made.text)
    typer.echo(f"picture     {made.figure}\ntrajectory  {made.frames}")


def _version(shown: bool) -> None:
    if shown:
        from flashmd_rs import __version__

        typer.echo(f"flashmd-rs {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Molecular dynamics in the long strides of a learned model."""


if __name__ == "__main__":
    sys.exit(app())
