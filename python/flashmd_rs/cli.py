"""The command ``flashmd-rs``."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
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
_SWITCHES: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}

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
        Literal["langevin", "none"] | None,
        typer.Option(help="none is NVE.", show_default="langevin with --temperature-k, else none"),
    ] = None,
    time_constant_fs: Annotated[float, typer.Option(help="Relaxation time of the thermostat, fs.")] = 100.0,
    rescale_energy: Annotated[
        Switch,
        typer.Option(help="Keep the conserved energy by rescaling momenta; auto: in NVE, if an energy is known."),
    ] = "auto",
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
    result = rollout(
        atoms,
        model,
        steps=steps,
        time_ps=time_ps,
        temperature_K=temperature_k,
        thermostat=thermostat,
        time_constant_fs=time_constant_fs,
        rescale_energy=_SWITCHES[rescale_energy],
        random_rotation=_SWITCHES[random_rotation],
        seed=seed,
        energy_model=energy_model,
        trajectory=trajectory,
        interval=interval,
        logfile=logfile,
        progress=progress,
        stride_fs=stride_fs,
        device=device,
        threads=threads,
    )
    typer.echo(summary(result), err=logfile == "-")
    where = f"{len(result)} frames in {trajectory}" if trajectory else "not kept (give --trajectory FILE)"
    typer.echo(f"trajectory  {where}", err=logfile == "-")


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
