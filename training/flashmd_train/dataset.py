"""Pairs of frames one stride apart, from the HDF5 files of ``flashmd_train.data``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from flashmd_train.graph import Graph, build_graph


@dataclass
class Segments:
    """NVE segments in memory: positions, momenta, forces [S, F, A, 3], energy [S, F], the atoms, the box."""

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    temperature_K: np.ndarray
    masses: Tensor
    species: Tensor
    lengths: Tensor
    spacing_fs: float
    recipe: list[dict]
    sha256: str

    @classmethod
    def load(cls, paths: list[Path]) -> Segments:
        """Read and join files that hold the same atoms in the same box."""
        parts: dict[str, list[np.ndarray]] = {
            k: [] for k in ("positions", "momenta", "forces", "energy", "temperature_K")
        }
        recipes = []
        digest = hashlib.sha256()
        for path in paths:
            with h5py.File(path, "r") as file:
                for name, arrays in parts.items():
                    arrays.append(file[name][:])
                recipes.append(json.loads(file.attrs["recipe"]))
                numbers, masses, cell = file["numbers"][:], file["masses"][:], file["cell"][:]
            digest.update(parts["positions"][-1].tobytes())
        joined = {k: np.concatenate(v) for k, v in parts.items()}
        return cls(
            **joined,
            masses=torch.tensor(masses, dtype=torch.float32),
            species=torch.tensor((numbers == 1).astype(np.int64)),
            lengths=torch.tensor(np.diag(cell), dtype=torch.float32),
            spacing_fs=recipes[0]["spacing_fs"],
            recipe=recipes,
            sha256=digest.hexdigest(),
        )

    def split(self, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of training and validation segments: blocks at the end of each temperature, so unseen in time."""
        held = []
        for temperature in np.unique(self.temperature_K):
            index = np.flatnonzero(self.temperature_K == temperature)
            held.extend(index[-max(1, round(validation * len(index))) :])
        rng = np.random.default_rng(seed)
        held_out = rng.permutation(np.array(sorted(held)))
        return np.setdiff1d(np.arange(len(self.temperature_K)), held_out), held_out


def random_orthogonal(rng: np.random.Generator) -> Tensor:
    """Haar-uniform O(3) matrix (QR of a Gaussian, signs fixed)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return torch.tensor(q * np.sign(np.diag(r)), dtype=torch.float32)


class Pairs:
    """Graphs and targets one stride apart.

    Targets are mass-scaled: √m (q' − q) [N,3] in Å·√u and p'/√m [N,3] in √eV. Half of the pairs drawn
    are time-reversed, (q', −p') to (q, −p); all are rotated or inverted at random if ``augment``.
    """

    def __init__(self, segments: Segments, index: np.ndarray, stride_fs: float, cutoff: float, augment: bool) -> None:
        self.data, self.index, self.cutoff, self.augment = segments, index, cutoff, augment
        self.jump = round(stride_fs / segments.spacing_fs)
        if abs(self.jump * segments.spacing_fs - stride_fs) > 1e-9 or self.jump < 1:
            raise ValueError(f"stride {stride_fs} fs is not a multiple of the frame spacing {segments.spacing_fs} fs")
        self.starts = segments.positions.shape[1] - self.jump
        if self.starts < 1:
            raise ValueError(f"segments are shorter than a stride of {stride_fs} fs; generate longer ones")

    def draw(self, rng: np.random.Generator, boxes: int) -> tuple[Graph, Tensor, Tensor]:
        """A random batch of ``boxes`` boxes."""
        segments = rng.choice(self.index, boxes)
        starts = rng.integers(0, self.starts, boxes)
        return self.batch(segments, starts, rng.random(boxes) < 0.5, rng if self.augment else None)

    def batch(
        self, segments: np.ndarray, starts: np.ndarray, reverse: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[Graph, Tensor, Tensor]:
        """The pairs beginning at frames ``starts`` of ``segments``, time-reversed where ``reverse``."""
        first = np.where(reverse, starts + self.jump, starts)
        last = np.where(reverse, starts, starts + self.jump)
        sign = np.where(reverse, -1.0, 1.0).astype(np.float32)[:, None, None]
        d = self.data
        q, q2 = d.positions[segments, first], d.positions[segments, last]
        p, p2 = sign * d.momenta[segments, first], sign * d.momenta[segments, last]
        root = d.masses.sqrt()[:, None]
        graph = build_graph(torch.tensor(q), torch.tensor(p), d.masses, d.species, d.lengths, self.cutoff)
        displacement = (torch.tensor(q2 - q) * root).reshape(-1, 3)
        momenta = (torch.tensor(p2) / root).reshape(-1, 3)
        if rng is None:
            return graph, displacement, momenta
        turn = random_orthogonal(rng)
        graph = graph._replace(momenta=graph.momenta @ turn.T, edge_vectors=graph.edge_vectors @ turn.T)
        return graph, displacement @ turn.T, momenta @ turn.T

    def forces(self, segments: np.ndarray, starts: np.ndarray) -> tuple[Tensor, Tensor]:
        """Displacements since the start and forces of every frame of a stride, [N, T, 3] each."""
        d = self.data
        frames = starts[:, None] + np.arange(self.jump + 1)
        q = d.positions[segments[:, None], frames]
        f = d.forces[segments[:, None], frames]
        flat = (torch.tensor(x).transpose(1, 2).flatten(0, 1) for x in (q - q[:, :1], f))
        return tuple(flat)
