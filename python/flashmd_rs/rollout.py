"""The main call: a structure and a model in, a trajectory out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _core
from flashmd_rs.companion import EnergySource, companion_model, energy_source
from flashmd_rs.describe import drift_at_export, run_header, versions
from flashmd_rs.errors import InputError, ModelError, StabilityError
from flashmd_rs.model import Model, check_device, check_threads
from flashmd_rs.progress import Progress, ns_per_day
from flashmd_rs.recorder import Recorder
from flashmd_rs.settings import Settings, settle
from flashmd_rs.structure import F64, check_unconstrained, geometry, momenta, with_state
from flashmd_rs.temperature import draw_momenta
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import check_trajectory_path, check_writable, open_frames

if TYPE_CHECKING:
    import ase


def rollout(
    atoms: ase.Atoms,
    model: str | os.PathLike[str] | Model,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    temperature_K: float | None = None,
    thermostat: str | None = None,
    time_constant_fs: float = 100,
    rescale_energy: bool | str = "auto",
    random_rotation: bool | str = "auto",
    seed: int | None = None,
    energy_model: Any = None,
    trajectory: str | os.PathLike[str] | None = None,
    interval: int | None = None,
    logfile: str | os.PathLike[str] | None = None,
    progress: bool = True,
    stride_fs: float | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Trajectory:
    """Run molecular dynamics in the long strides of a learned model.

    The loop runs in Rust, without Python and with the GIL released. ``atoms`` is not changed.

    Args:
        atoms: start structure, with any mix of periodic axes. Momenta are taken from it if it has them.
        model: a model file, a bundled name (``"water"``), or an open :class:`Model`.
        steps: number of strides. Give exactly one of ``steps`` and ``time_ps``.
        time_ps: simulated time in ps, rounded up to whole strides.
        temperature_K: temperature of the thermostat in K. If ``atoms`` has no momenta, they are drawn at this
            temperature, without net momentum.
        thermostat: None is Langevin if ``temperature_K`` is given, else none (NVE); ``"langevin"``; ``"none"``
            forces NVE.
        time_constant_fs: relaxation time of the thermostat, fs.
        rescale_energy: keep the conserved energy by rescaling momenta after each stride. ``"auto"``: in NVE with a
            direct model whose energy model is known.
        random_rotation: turn the model's frame at random each stride. ``"auto"``: for direct models that are not
            equivariant.
        seed: of everything random; None draws one, kept in the result.
        energy_model: energy model file, bundled name, :class:`Model` or ASE calculator. Its energies are recorded
            with each frame; None uses the companion named by the model's metadata where rescaling needs it.
        trajectory: file for the frames as they come: ``.extxyz``, ``.xyz`` or ``.traj``. An existing file is
            replaced, after every argument was found good.
        interval: strides between kept frames, default ``max(1, steps // 1000)``; the first and the last frame are
            always kept.
        logfile: file for one line per kept frame (replaced if it exists), ``"-"`` for standard output.
        progress: show a progress bar where standard error is a terminal.
        stride_fs: only checked against the model, whose stride it is.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: threads of the network on the CPU; None uses every core.

    Returns:
        The kept frames, unwrapped, with times, temperatures, energies and a report.

    Raises:
        InputError: an argument or the structure is not usable.
        ModelError: the model is not one, or does not know the structure's species or masses.
        StabilityError: the run left the numbers it can go on from. ``last_good`` holds the last sound frame, which
            is also written beside ``trajectory`` if that was given.
        RuntimeLibraryError: ONNX Runtime is missing, or CUDA was asked for and is not usable.
        OSError: a file cannot be read or written.

    Example:
        >>> import flashmd_rs
        >>> water = flashmd_rs.load_structure("water258")
        >>> run = flashmd_rs.rollout(water, "water", time_ps=1, temperature_K=300)
        >>> run.temperature_K["O"].mean()
    """
    check_device(device)
    check_threads(threads)
    where = geometry(atoms)
    check_unconstrained(atoms)
    outputs = _check_outputs(trajectory, logfile)
    opened = _open(model, device, threads)
    settings = settle(
        opened,
        steps=steps,
        time_ps=time_ps,
        temperature_K=temperature_K,
        thermostat=thermostat,
        time_constant_fs=time_constant_fs,
        rescale_energy=rescale_energy,
        random_rotation=random_rotation,
        seed=seed,
        interval=interval,
        stride_fs=stride_fs,
    )
    start = _start_momenta(atoms, where.masses, settings)
    energy = energy_source(energy_model, atoms, opened) if energy_model is not None else None
    energy, rescale, warning = _decide_rescaling(opened, settings, energy)
    report = _settings_report(opened, settings, energy, rescale)
    recorder = Recorder(atoms, outputs, logfile, run_header(report), warning)
    bar = Progress(settings.steps, settings.stride_fs, progress)
    try:
        report |= _core.rollout(
            opened._core,
            where.positions,
            start,
            where.masses,
            where.numbers,
            where.cell,
            where.pbc,
            steps=settings.steps,
            interval=settings.interval,
            seed=settings.seed,
            temperature_K=settings.bath_K,
            time_constant_fs=settings.time_constant_fs,
            random_rotation=settings.random_rotation,
            rescale_energy=rescale,
            energy=energy._core if isinstance(energy, Model) else energy,
            on_frame=recorder,
            on_progress=bar,
        )
    except StabilityError as error:
        raise _with_last_good(error, atoms, outputs) from None
    finally:
        bar.close()
        recorder.close()
    report["time_ps"] = recorder.time_ps
    report["ns_per_day"] = ns_per_day(recorder.time_ps, report["seconds"])
    return recorder.trajectory(settings.seed, report)


def _open(model: str | os.PathLike[str] | Model, device: str, threads: int | None) -> Model:
    if not isinstance(model, Model):
        return Model(model, device=device, threads=threads)
    if device not in ("auto", model.device):
        raise InputError(f"got device={device!r}, but {model.name} is open on {model.device!r}: open it there instead")
    if threads is not None and threads != model.threads:
        raise InputError("threads is chosen when a Model is opened: Model(path, threads=…)")
    return model


def _check_outputs(trajectory: str | os.PathLike[str] | None, logfile: str | os.PathLike[str] | None) -> Path | None:
    """The trajectory's path; nothing is written, but everything is known to be writable."""
    frames = check_trajectory_path(trajectory) if trajectory is not None else None
    if logfile is not None and logfile != "-":
        log = Path(logfile)
        if frames is not None and log.absolute() == frames.absolute():
            raise InputError(f"trajectory and logfile are the same file: {log}")
        check_writable(log, "log file")
    return frames


def _start_momenta(atoms: ase.Atoms, masses: F64, settings: Settings) -> F64:
    given = momenta(atoms)
    if given is not None:
        return given
    if settings.temperature_K is None:
        raise InputError(
            "the structure has no momenta and no temperature was given: set temperature_K, or momenta on the structure"
        )
    return draw_momenta(masses, settings.temperature_K, settings.seed)


def _decide_rescaling(
    model: Model, settings: Settings, energy: EnergySource | None
) -> tuple[EnergySource | None, bool, str | None]:
    """The energy to use, whether to rescale by it, and what the user should be warned of."""
    choice = settings.rescale_energy
    if choice is False:
        return energy, False, None
    if choice is True:
        energy = energy or companion_model(model)
        if energy is None:
            raise InputError(f"rescale_energy=True needs an energy, and {model.name} names no energy model: give one")
        return energy, True, None
    if settings.thermostat != "none" or model.kind != "direct":
        return energy, False, None
    try:
        energy = energy or companion_model(model)
    except ModelError as error:
        return None, False, _drift_warning(model, f" ({error})")
    return energy, energy is not None, _drift_warning(model, "") if energy is None else None


def _drift_warning(model: Model, why: str) -> str:
    return (
        f"NVE with {model.name}, a direct model, without an energy model{why}: its energy drifts "
        f"({drift_at_export(model.metadata)}). Give temperature_K for a thermostat, "
        "or energy_model to rescale energies."
    )


def _settings_report(model: Model, settings: Settings, energy: EnergySource | None, rescale: bool) -> dict[str, Any]:
    langevin = settings.thermostat == "langevin"
    return {
        "model": model.name,
        "kind": model.kind,
        "sha256": model.sha256,
        "device": model.device,
        "threads": model.threads,
        "stride_fs": settings.stride_fs,
        "interval": settings.interval,
        "seed": settings.seed,
        "thermostat": settings.thermostat,
        "temperature_K": settings.bath_K,
        "time_constant_fs": settings.time_constant_fs if langevin else None,
        "random_rotation": settings.random_rotation,
        "rescale_energy": rescale,
        "energy_model": None if energy is None else energy.name,
        "energy_model_sha256": energy.sha256 if isinstance(energy, Model) else None,
        "versions": versions(),
    }


def _with_last_good(error: StabilityError, atoms: ase.Atoms, trajectory: Path | None) -> StabilityError:
    """The core's error with its last good frame as ``ase.Atoms``, saved beside the trajectory if there is one."""
    good: Any = error.last_good
    if not isinstance(good, dict):
        return error
    frame = with_state(atoms, good["positions"], good["momenta"])
    details = {"step": error.step, "time_ps": error.time_ps, "atoms": error.atoms, "quantity": error.quantity}
    message = str(error)
    saved_to = None
    if trajectory is not None:
        target = trajectory.with_name(f"{trajectory.stem}.last_good.extxyz")
        try:
            writer = open_frames(target)
            writer.write(frame)
            writer.close()
        except OSError as failure:
            message += f"; the last good frame could not be saved to {target}: {failure.strerror}"
        else:
            saved_to = str(target)
            message += f"; the last good frame is in {target}"
    return StabilityError(message, **details, last_good=frame, saved_to=saved_to)
