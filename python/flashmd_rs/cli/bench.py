"""``flashmd-rs bench``: how fast a model moves a structure here, beside the potential it stands for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from ase import Atoms

MS_PER_DAY = 86_400_000.0
# Time step of velocity Verlet by a learned energy, fs.
LEARNED_TIMESTEP_FS = 0.5


class _Contender(NamedTuple):
    name: str
    threads: int
    step_fs: float
    # Takes so many steps.
    advance: Callable[[int], object]


def bench(
    structure: Annotated[str, typer.Argument(help="Structure file that ASE reads, or a bundled name.")],
    *,
    model: Annotated[list[str], typer.Option(help="Model file, or bundled or fetched name; repeat for several.")],
    threads: Annotated[
        list[int] | None, typer.Option(help="Threads of the network and of an OpenMM reference; repeat for several.")
    ] = None,
    temperature_k: Annotated[float, typer.Option(help="Temperature of the Langevin bath of the strides, K.")] = 300.0,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or TOML file of a system, whose potential runs too.", show_default="no reference"),
    ] = None,
    timestep_fs: Annotated[float, typer.Option(min=0.001, help="Time step of that potential, fs.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in each of which all run in turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of a turn, about, s.")] = 1.0,
) -> None:
    """Time strides of STRUCTURE on this machine: with kernels, without, and beside the reference's steps.

    All take turns, so that what slows the machine slows all; figures are medians of the rounds. The reference is moved
    as `flashmd-rs evaluate` moves it: by its own velocity Verlet, the same to the last bit.
    """
    from flashmd_rs import _threads
    from flashmd_rs.errors import InputError
    from flashmd_rs.structure_files import read_structure

    atoms = read_structure(structure)
    with ExitStack() as stack:
        contenders = []
        try:
            for count in threads or [_threads.choose(None).count]:
                contenders += [] if config is None else [_reference(config, atoms, timestep_fs, count)]
                for name in model:
                    for kernels in ("auto", "off"):
                        contenders.append(_strides(name, atoms, temperature_k, count, kernels, stack))
        except ValueError as error:
            raise InputError(str(error)) from None
        typer.echo(f"{structure}, {len(atoms)} atoms; medians of {rounds} rounds\n")
        typer.echo(_table(contenders, _times_ms(contenders, rounds, seconds), config is not None))


def _strides(name: str, atoms: Atoms, temperature_k: float, threads: int, kernels: str, stack: ExitStack) -> _Contender:
    """Strides of a model, or forces of an energy."""
    from flashmd_rs import Model, Simulation

    opened = Model(name, device="cpu", threads=threads, kernels=kernels)
    label = f"{name}{'' if kernels == 'auto' else ', no kernels'}"
    if opened.stride_fs is None:

        def forces(steps: int) -> None:
            for _ in range(steps):
                opened.forces(atoms)

        return _Contender(f"Verlet by {label}", threads, LEARNED_TIMESTEP_FS, forces)
    simulation = stack.enter_context(Simulation(atoms, opened, temperature_K=temperature_k, seed=1, guard="warn"))
    return _Contender(label, threads, opened.stride_fs, simulation.step)


def _reference(config: Path, atoms: Atoms, timestep_fs: float, threads: int) -> _Contender:
    """Velocity Verlet by the potential of a system file."""
    from flashmd_rs.errors import FlashMDError
    from flashmd_rs.reference import require_extra

    try:
        require_extra()
    except ImportError as error:
        raise FlashMDError(str(error)) from None
    from flashmd_rs.reference.options import read_system_file

    potential = read_system_file(config)[0].load_potential()
    reference = potential.reference([potential.with_masses(atoms)], timestep_fs, threads)
    reference.set(atoms.positions, atoms.get_momenta())
    return _Contender("reference", threads, timestep_fs, lambda steps: reference.nve(steps * timestep_fs))


def _times_ms(contenders: list[_Contender], rounds: int, seconds: float) -> list[list[float]]:
    """Of one step of each, by round."""

    def step_ms(contender: _Contender, steps: int) -> float:
        start = time.perf_counter()
        contender.advance(steps)
        return 1000 * (time.perf_counter() - start) / steps

    # The first step opens what is opened once.
    steps = []
    for contender in contenders:
        step_ms(contender, 1)
        steps.append(max(1, round(1000 * seconds / step_ms(contender, 2))))
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for of_one, contender, count in zip(times, contenders, steps, strict=True):
            of_one.append(step_ms(contender, count))
    return times


def _table(contenders: list[_Contender], times_ms: list[list[float]], has_reference: bool) -> str:
    width = max(len(contender.name) for contender in contenders)
    lines = [f"{'':<{width}}  threads  step, fs    ms/step    ns/day" + ("  / reference" if has_reference else "")]
    reference: list[float] = []
    for contender, of_one in zip(contenders, times_ms, strict=True):
        speeds = [contender.step_fs * 1e-6 * MS_PER_DAY / ms for ms in of_one]
        if contender.name == "reference":
            reference = speeds
        line = f"{contender.name:<{width}}{contender.threads:>9}{contender.step_fs:>10g}{median(of_one):>11.2f}"
        line += f"{median(speeds):>10.3g}"
        if has_reference:
            line += f"{median(own / other for own, other in zip(speeds, reference, strict=True)):>13.2f}"
        lines.append(line)
    return "\n".join(lines)
