"""Segments of several HDF5 files under one table of species: any atoms, any cell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from flashmd_rs.reference.system import MASS_TOLERANCE
from flashmd_train.data.segments import Segments
from flashmd_train.data.topology import Topology
from flashmd_train.graph.nef import Graph, build_graph
from flashmd_train.models.config import BondedConfig


def stratified(index: np.ndarray, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """About ``count`` rows of ``index`` [n, 2] (file, segment), each file's share of them and at least one of each.

    Evenly over the segments of a file, or with ``rng`` at random, where a row may come twice.
    """
    rows = []
    for file in np.unique(index[:, 0]):
        own = np.flatnonzero(index[:, 0] == file)
        share = max(1, round(count * len(own) / len(index)))
        if rng is None:
            rows.append(own[np.linspace(0, len(own) - 1, min(share, len(own))).astype(int)])
        else:
            rows.append(own[rng.integers(len(own), size=share)])
    return np.concatenate(rows)


class Frame(NamedTuple):
    """A stored frame: its file, segment, and number in it."""

    file: int
    segment: int
    number: int


class Dataset:
    """Segments of several files under one table of species.

    Args:
        paths: HDF5 files of ``flashmd-train generate``.

    Attributes:
        files: the segments of each file.
        symbols: chemical symbols, in the order in which the files name them first.
        masses: of each species, u.
        species: index into ``symbols`` of each atom [A], per file.

    Raises:
        ValueError: no file, or two files with different masses of one element.
    """

    def __init__(self, paths: list[Path]) -> None:
        if not paths:
            raise ValueError("no data file was named; wanted at least one")
        self.files = [Segments.load(path) for path in paths]
        table: dict[int, float] = {}
        for path, file in zip(paths, self.files):
            for number, mass in zip(file.numbers.tolist(), file.masses.tolist()):
                if abs(table.setdefault(number, mass) - mass) > MASS_TOLERANCE * mass:
                    raise ValueError(
                        f"{path} has {chemical_symbols[number]} of {mass} u, another file of {table[number]} u; "
                        "one model knows one mass per element"
                    )
        self.symbols = tuple(chemical_symbols[number] for number in table)
        self.masses = tuple(table.values())
        numbers = list(table)
        self.species = [np.array([numbers.index(z) for z in file.numbers.tolist()]) for file in self.files]
        self._topologies: list[Topology] = []

    def find_bonds(self, bonded: BondedConfig | None) -> None:
        """Make graphs that know their bonds and angles, by these kinds; None for graphs without.

        Raises:
            ValueError: a bond is of no kind.
        """
        self._topologies = [] if bonded is None else [Topology(file, bonded) for file in self.files]

    @property
    def sha256(self) -> str:
        """Hash of the positions of all files, in order."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()

    @property
    def recipe(self) -> list[dict]:
        """How each file was made."""
        return [file.recipe for file in self.files]

    def evenly(self, count: int) -> list[tuple[int, int]]:
        """(file, segment) of about ``count`` segments, evenly over each file."""
        every = np.array([(f, s) for f, file in enumerate(self.files) for s in range(len(file.temperature_K))])
        return [(int(f), int(s)) for f, s in every[stratified(every, count)]]

    def require(self, *names: str) -> None:
        """Raise ValueError for the first file without one of ``names``, out of ``forces`` and ``energy``."""
        for file in self.files:
            missing = [name for name in names if getattr(file, name) is None]
            if missing:
                raise ValueError(
                    f"{file.path} holds no {' and no '.join(missing)}, wanted {' and '.join(names)} for every frame; "
                    "direct models train without"
                )

    def split(self, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(file, segment) [n, 2] of the training part and of the validation part.

        Validation takes the last share ``validation`` of the segments of each file and temperature, at least one, so
        that it comes later in time than training. Temperatures of a single segment count as one temperature; where
        that is the only one of its file, it trains. ``seed`` shuffles validation within each file, and the files take
        turns.

        Raises:
            ValueError: no file has two segments.
        """
        training_part, validation_part = [], []
        rng = np.random.default_rng(seed)
        for f, file in enumerate(self.files):
            _, group, counts = np.unique(file.temperature_K, return_inverse=True, return_counts=True)
            group = np.where(counts[group] == 1, -1, group)
            held: list[int] = []
            for g in np.unique(group):
                segments = np.flatnonzero(group == g)
                if len(segments) > 1:
                    held += segments[-max(1, round(validation * len(segments))) :].tolist()
            training_part += [(f, s) for s in range(len(group)) if s not in set(held)]
            validation_part += [(turn, f, s) for turn, s in enumerate(rng.permutation(sorted(held)).tolist())]
        if not validation_part:
            raise ValueError(
                f"{', '.join(str(file.path) for file in self.files)} hold one segment each, so none can be held out; "
                "wanted two or more in one of them: cut it into shorter segments"
            )
        return np.array(training_part), np.array(sorted(validation_part))[:, 1:]

    def every_graph(self, cutoff: float) -> Iterator[tuple[Frame, Graph]]:
        """All frames with their graphs, with edges up to ``cutoff`` (Å)."""
        for number, file in enumerate(self.files):
            for segment, frame in np.ndindex(file.positions.shape[:2]):
                yield Frame(number, segment, frame), self.frame_graph(number, segment, frame, cutoff)

    def frame_graph(self, file: int, segment: int, frame: int, cutoff: float) -> Graph:
        """Graph of a stored frame, with edges up to ``cutoff`` (Å)."""
        s = self.files[file]
        return self.graph(file, s.positions[segment, frame], s.momenta[segment, frame], cutoff)

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        """Graph of positions ``q`` (Å) and momenta ``p`` (√(eV·u)) [A, 3] of the atoms of ``file``; cutoff in Å."""
        s = self.files[file]
        graph = build_graph(q, p, s.masses, self.species[file], s.cell, cutoff, s.periodic)
        return graph._replace(bonded=self._topologies[file].of(graph, q)) if self._topologies else graph
