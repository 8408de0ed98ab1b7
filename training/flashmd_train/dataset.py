"""Frames one stride apart, from the HDF5 files of ``flashmd_train.data``: any atoms, any cell, several files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from flashmd_train.graph import Graph, build_graph, join

# Masses of one element may differ between files by this much, relatively.
MASS_TOLERANCE = 1e-6


@dataclass
class Segments:
    """NVE segments of one file in memory.

    Attributes:
        positions, momenta, forces: [S, F, A, 3] in Å, √(eV·u), eV/Å.
        energy: potential energy [S, F], eV.
        temperature_K: of the bath each segment was drawn from [S].
        numbers, masses: atomic numbers and masses (u) [A].
        cell: [3, 3] Å; periodic: [3].
        spacing_fs: time between frames.
        recipe: how the file was made.
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    temperature_K: np.ndarray
    numbers: np.ndarray
    masses: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    spacing_fs: float
    recipe: dict
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Segments:
        """Read a file."""
        with h5py.File(path, "r") as file:
            arrays = {
                name: file[name][:]
                for name in ("positions", "momenta", "forces", "energy", "temperature_K", "numbers", "masses", "cell")
            }
            recipe = json.loads(file.attrs["recipe"])
            periodic = file["periodic"][:] if "periodic" in file else np.ones(3, bool)
        return cls(
            **arrays,
            periodic=periodic,
            spacing_fs=recipe["spacing_fs"],
            recipe=recipe,
            sha256=hashlib.sha256(arrays["positions"].tobytes()).hexdigest(),
        )

    @property
    def density_g_per_cm3(self) -> float:
        """Mass over the volume of the cell."""
        return float(self.masses.sum() * 1.66053906660 / abs(np.linalg.det(self.cell)))


class Dataset:
    """Segments of several files under one table of species.

    Attributes:
        files: the segments, one entry per file.
        symbols: chemical symbols, in the order in which they are first met.
        masses: u, by species. species: [A] per file.
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
        """Of everything a model is trained on, in order."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()

    @property
    def recipe(self) -> list[dict]:
        """How each file was made."""
        return [file.recipe for file in self.files]

    def split(self, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(file, segment) of training and of validation [n, 2].

        Validation takes the last segments of each file and temperature, so that they are unseen in time.
        """
        training, held_out = [], []
        for f, file in enumerate(self.files):
            for temperature in np.unique(file.temperature_K):
                of = [(f, int(s)) for s in np.flatnonzero(file.temperature_K == temperature)]
                count = max(1, round(validation * len(of)))
                training += of[:-count]
                held_out += of[-count:]
        return np.array(sorted(training)), np.random.default_rng(seed).permutation(np.array(sorted(held_out)))

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        """Graph of positions (Å) and momenta (√(eV·u)) [A, 3] of the atoms of ``file``."""
        s = self.files[file]
        return build_graph(q, p, s.masses, self.species[file], s.cell, cutoff, s.periodic)


def random_orthogonal(rng: np.random.Generator) -> Tensor:
    """Haar-uniform O(3) matrix (QR of a Gaussian, signs fixed)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return torch.tensor(q * np.sign(np.diag(r)), dtype=torch.float32)


@dataclass
class Batch:
    """Boxes and where their atoms will be.

    Attributes:
        graph: at the start, edges up to the cutoff that was asked for.
        displacement: √m (q' − q) [T, N, 3] in Å·√u after 1, 2, … strides, counted from the stride before.
        momenta: p'/√m [T, N, 3] in √eV.
        box: which box an atom belongs to [N].
    """

    graph: Graph
    displacement: Tensor
    momenta: Tensor
    box: Tensor


class Pairs:
    """Graphs and targets ``strides`` strides long.

    Args:
        data: the files. index: (file, segment) to draw from [n, 2].
        stride_fs: a multiple of each file's frame spacing.
        cutoff: of the graph's edges, Å.
        augment: rotate and invert each batch at random.
        strides: length of the targets.
        time_reversal: share of the draws that run backwards, (q', −p') to (q, −p).
        position_noise_A, momentum_noise: standard deviations added to what the model is given, Å and in units of p/√m
            (√eV); targets are left alone, so that the model learns to come back.
    """

    def __init__(
        self,
        data: Dataset,
        index: np.ndarray,
        stride_fs: float,
        cutoff: float,
        augment: bool = False,
        strides: int = 1,
        time_reversal: float = 0.5,
        position_noise_A: float = 0.0,
        momentum_noise: float = 0.0,
    ) -> None:
        self.data, self.index, self.cutoff, self.augment, self.strides = data, index, cutoff, augment, strides
        self.time_reversal, self.position_noise_A, self.momentum_noise = time_reversal, position_noise_A, momentum_noise
        self.jumps = [round(stride_fs / file.spacing_fs) for file in data.files]
        self.starts = []
        for jump, file in zip(self.jumps, data.files):
            if jump < 1 or abs(jump * file.spacing_fs - stride_fs) > 1e-9:
                raise ValueError(f"stride {stride_fs} fs is not a multiple of the frame spacing {file.spacing_fs} fs")
            self.starts.append(file.positions.shape[1] - strides * jump)
            if self.starts[-1] < 1:
                raise ValueError(
                    f"segments of {(file.positions.shape[1] - 1) * file.spacing_fs:g} fs are shorter than {strides} "
                    f"strides of {stride_fs} fs; generate longer ones"
                )

    def draw(self, rng: np.random.Generator, boxes: int) -> Batch:
        """A random batch of ``boxes`` boxes."""
        picks = self.index[rng.integers(len(self.index), size=boxes)]
        starts = [int(rng.integers(self.starts[f])) for f, _ in picks]
        reverse = rng.random(boxes) < self.time_reversal
        return self.batch(picks, starts, reverse, rng)

    def held(self, k: int) -> Batch:
        """The k-th box of the index as it is: forward in time, neither turned nor noisy."""
        pick = self.index[k]
        return self.batch(pick[None], [k % self.starts[pick[0]]], np.array([False]), None)

    def frames(self, file: int, start: int, reverse: bool) -> np.ndarray:
        """Frame numbers at 0, 1, … strides."""
        frames = start + self.jumps[file] * np.arange(self.strides + 1)
        return frames[::-1] if reverse else frames

    def batch(
        self, picks: np.ndarray, starts: list[int], reverse: np.ndarray, rng: np.random.Generator | None
    ) -> Batch:
        """The boxes from frames ``starts`` of the segments ``picks`` [B, 2], time-reversed where ``reverse``."""
        graphs, displacements, momenta = [], [], []
        for (f, segment), start, back in zip(picks, starts, reverse):
            file, frames = self.data.files[f], self.frames(f, start, bool(back))
            root = np.sqrt(file.masses)[:, None]
            q = file.positions[segment, frames].astype(np.float64)
            scaled = (-1.0 if back else 1.0) * file.momenta[segment, frames] / root
            q_in, p_in = q[0], scaled[0]
            if rng is not None and (self.position_noise_A or self.momentum_noise):
                q_in = q_in + self.position_noise_A * rng.normal(size=q_in.shape)
                p_in = p_in + self.momentum_noise * rng.normal(size=p_in.shape)
            graphs.append(self.data.graph(f, q_in, p_in * root, self.cutoff))
            before = np.concatenate([q_in[None], q[1:-1]])
            displacements.append((q[1:] - before) * root)
            momenta.append(scaled[1:])
        box = np.repeat(np.arange(len(graphs)), [len(g.species) for g in graphs])
        batch = Batch(
            join(graphs),
            torch.tensor(np.concatenate(displacements, 1), dtype=torch.float32),
            torch.tensor(np.concatenate(momenta, 1), dtype=torch.float32),
            torch.tensor(box),
        )
        return turned(batch, random_orthogonal(rng)) if rng is not None and self.augment else batch

    def forces(self, k: int, start: int) -> tuple[Tensor, Tensor]:
        """Displacements since the start and forces of every frame of a stride, [A, T, 3] each."""
        f, segment = self.index[k]
        file = self.data.files[f]
        frames = start + np.arange(self.jumps[f] + 1)
        q, force = file.positions[segment, frames], file.forces[segment, frames]
        return torch.tensor(q - q[:1]).transpose(0, 1), torch.tensor(force).transpose(0, 1)


def turned(batch: Batch, turn: Tensor) -> Batch:
    """The batch seen from another frame; ``turn`` [3, 3] is orthogonal."""
    graph = batch.graph._replace(momenta=batch.graph.momenta @ turn.T, edge_vectors=batch.graph.edge_vectors @ turn.T)
    return Batch(graph, batch.displacement @ turn.T, batch.momenta @ turn.T, batch.box)
