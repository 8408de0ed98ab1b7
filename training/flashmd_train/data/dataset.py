"""Segments of several HDF5 files under one table of species: any atoms, any cell."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from flashmd_train.data.segments import Segments
from flashmd_train.graph.nef import Graph, build_graph

# Masses of one element may differ between files by this much, relatively.
MASS_TOLERANCE = 1e-6


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

    @property
    def sha256(self) -> str:
        """Hash of the positions of all files, in order."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()

    @property
    def recipe(self) -> list[dict]:
        """How each file was made."""
        return [file.recipe for file in self.files]

    def evenly(self, count: int) -> list[tuple[int, int]]:
        """(file, segment) of at most ``count`` segments, evenly over all the data."""
        every = [(f, s) for f, file in enumerate(self.files) for s in range(len(file.temperature_K))]
        return [every[k] for k in np.linspace(0, len(every) - 1, min(count, len(every))).astype(int)]

    def split(self, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(file, segment) [n, 2] of the training part and of the validation part.

        Validation takes the last share ``validation`` of the segments of each file and temperature, so that it comes
        later in time than training; ``seed`` shuffles it.
        """
        training_part, validation_part = [], []
        for f, file in enumerate(self.files):
            for temperature in np.unique(file.temperature_K):
                segments = [(f, int(s)) for s in np.flatnonzero(file.temperature_K == temperature)]
                count = max(1, round(validation * len(segments)))
                training_part += segments[:-count]
                validation_part += segments[-count:]
        return np.array(sorted(training_part)), np.random.default_rng(seed).permutation(
            np.array(sorted(validation_part))
        )

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        """Graph of positions ``q`` (Å) and momenta ``p`` (√(eV·u)) [A, 3] of the atoms of ``file``; cutoff in Å."""
        s = self.files[file]
        return build_graph(q, p, s.masses, self.species[file], s.cell, cutoff, s.periodic)
