"""Labels: frames from elsewhere, such as domain violations of a run, that the reference goes on from.

Each frame is the start of an NVE segment, with its own momenta. The file has the layout of :mod:`.store` and keeps the
promises of :mod:`.generate`, so it can be a further data file of a training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from flashmd_rs import _core
from flashmd_rs.reference.explosion import hottest_K
from flashmd_rs.reference.generate import executor, in_order
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.recipe import Recipe, Segment, built_reference, record
from flashmd_rs.reference.store import Store
from flashmd_rs.reference.system import System
from flashmd_rs.temperature import draw_momenta, temperatures

# Segments in progress per process.
AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class LabelRecipe(Recipe):
    """Recipe of a file whose segments start from the structures of its system, with their momenta."""

    def attributes(self) -> dict[str, Any]:
        """As a recipe's, without its bath and with the hash of the momenta."""
        digest = hashlib.sha256()
        for atoms in self.system.structures:
            digest.update(atoms.get_momenta().tobytes())
        bath = ("replicas", "decorrelation_fs", "equilibration_ps", "anneal_K")
        kept = {name: value for name, value in super().attributes().items() if name not in bath}
        return kept | {"momenta_sha256": digest.hexdigest()}


def label(
    path: Path,
    frames: Sequence[Atoms],
    potential: Potential,
    temperature_K: float,
    *,
    seed: int = 1,
    timestep_fs: float | None = None,
    spacing_fs: float = 8.0,
    length_fs: float = 64.0,
    workers: int | None = 1,
    cluster: str | None = None,
) -> int:
    """Simulate an NVE segment from each frame into ``path``; a rerun goes on where it stopped.

    Frames that are given twice count once. Left out are those that the reference cannot go on from: where it fails,
    does not conserve its energy, or gets hotter than :func:`.explosion.hottest_K`.

    Args:
        path: HDF5 file (layout in :mod:`flashmd_rs.reference.store`).
        frames: of the same atoms in the same cell, with momenta; where there are none they are drawn.
        potential: what computes the forces.
        temperature_K: of the bath of the runs that the frames are of, and of momenta that are drawn, K.
        seed: of momenta that are drawn.
        timestep_fs: time step of velocity Verlet, fs; None for :func:`.system.default_timestep_fs`.
        spacing_fs: time between frames, fs; that of the data the labels are added to.
        length_fs: length of a segment, fs.
        workers: processes, None for as many as this one has processors.
        cluster: see :func:`.generate.executor`.

    Returns:
        The number of segments in the file.

    Raises:
        ValueError: bad numbers, frames of different atoms, a file of other frames, or nothing could be labelled.
    """
    starts = _distinct([_start(atoms, temperature_K, seed, number) for number, atoms in enumerate(frames)])
    recipe = LabelRecipe(
        system=System(tuple(starts), potential),
        temperatures_K=(temperature_K,),
        seed=seed,
        timestep_fs=timestep_fs,
        spacing_fs=spacing_fs,
        length_fs=length_fs,
    )
    # What a process needs besides its frame.
    one = replace(recipe, system=System(recipe.system.structures[:1], potential))
    workers = workers or _core.available_processors()
    reason = None
    with Store(path, recipe, one.build()) as store, executor(workers, cluster) as pool:

        def submit(number: int) -> Future[Segment | str]:
            return pool.submit(segment_from, one, recipe.system.structures[number])

        for made in in_order(submit, range(_done(store, starts), len(starts)), AHEAD * workers):
            if isinstance(made, str):
                reason = made
            else:
                store.append(made)
        count = len(store)
    if not count:
        path.unlink()
        raise ValueError(f"none of {len(starts)} frames could be labelled; the last one: {reason}")
    return count


def segment_from(recipe: LabelRecipe, atoms: Atoms) -> Segment | str:
    """The segment that starts from a frame, or why there is none."""
    (temperature_K,) = recipe.temperatures_K
    try:
        reference = built_reference(recipe)
        reference.set(atoms.get_positions(), atoms.get_momenta())
        segment = record(reference, recipe, temperature_K)
    except Exception as error:  # whatever a potential may raise on a structure out of bounds
        return str(error) or repr(error)
    symbols = np.array(atoms.get_chemical_symbols())
    hottest = max(temperatures(p.astype(float), reference.masses, symbols)["total"] for p in segment.momenta)
    # It says nothing about what a model will meet in the bath.
    limit = hottest_K(temperature_K, len(atoms))
    if hottest > limit:
        return f"{atoms.get_chemical_formula()} gets as hot as {hottest:.0f} K, beyond {limit:.0f} K"
    return segment


def _start(atoms: Atoms, temperature_K: float, seed: int, number: int) -> Atoms:
    """Positions and momenta of a frame and nothing else."""
    momenta, masses = atoms.get_momenta(), atoms.get_masses()
    if not momenta.any():
        momenta = draw_momenta(masses, temperature_K, seed, replica=number)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=masses, momenta=momenta)


def _distinct(starts: list[Atoms]) -> list[Atoms]:
    """Without those whose momenta and positions came before."""
    return list({(a.positions.tobytes(), a.get_momenta().tobytes()): a for a in starts}.values())


def _done(store: Store, starts: list[Atoms]) -> int:
    """How many starts are done with: up to that of the last segment, which is known by its momenta."""
    if not len(store):
        return 0
    _, momenta = store.start(len(store) - 1)
    distances = [np.abs(atoms.get_momenta() - momenta).max() for atoms in starts]
    return 1 + int(np.nanargmin(distances))
