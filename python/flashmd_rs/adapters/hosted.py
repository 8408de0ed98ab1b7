"""What every adapter does: a simulation that leaves length, files and observers to its host, stride by stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import Output, PathLike
from flashmd_rs.simulation import Simulation

if TYPE_CHECKING:
    import ase

# No frame is kept beside the host's own.
_NEVER = 2**62


def hosted_simulation(
    atoms: ase.Atoms | Sequence[ase.Atoms],
    model: PathLike | Model,
    host: str,
    instead: Mapping[str, str],
    options: Mapping[str, Any],
    **given: Any,
) -> Simulation:
    """A simulation whose frames are the host's.

    Args:
        atoms: where it begins, or a list of replicas.
        model: what moves it.
        host: name of the program, for the error.
        instead: options of :class:`~flashmd_rs.Simulation` that are the host's part, and how it is told.
        options: all others, as the user gave them.
        given: what the host gives where the user does not.

    Raises:
        InputError: an option is the host's part, or not usable.
    """
    for name, way in instead.items():
        if name in options:
            raise InputError(f"got {name}, which is {host}'s part here: give it by {way}")
    return Simulation(atoms, model, trajectory=Output(None), interval=_NEVER, **(given | dict(options)))


def check_timestep(model: Model, timestep_fs: float) -> None:
    """Raise InputError unless the host's time step, fs, is the model's stride."""
    if model.stride_fs is None or abs(timestep_fs - model.stride_fs) > 1e-6 * model.stride_fs:
        raise InputError(f"got a timestep of {timestep_fs:g} fs; strides of {model.name} are {model.stride_fs} fs")
