"""Pairs of frames one stride apart, and what training does to them: rotations, time reversal, noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.sampler import Sampler
from flashmd_train.graph.nef import Graph, join


def random_orthogonal(rng: np.random.Generator) -> Tensor:
    """Random matrix [3, 3] of O(3), Haar-uniform: QR of a Gaussian with the signs of R's diagonal fixed."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return torch.tensor(q * np.sign(np.diag(r)), dtype=torch.float32)


def random_rotations(rng: np.random.Generator, count: int) -> Tensor:
    """Random matrices of O(3) [count, 3, 3]."""
    return torch.stack([random_orthogonal(rng) for _ in range(count)])


@dataclass
class Batch:
    """Boxes, and where their atoms will be after each of T strides.

    Attributes:
        graph: at the start.
        displacement: √m (q' − q) of each stride [T, N, 3], Å·√u.
        momenta: p'/√m at the end of each stride [T, N, 3], √eV.
        box: which box an atom belongs to [N].
        energies: of the reference at the start [B], eV, float64; None where a file has none.
        files: which file a box is of [B].
    """

    graph: Graph
    displacement: Tensor
    momenta: Tensor
    box: Tensor
    energies: Tensor | None = None
    files: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        if device.type == "cpu":
            return self
        return Batch(*(None if part is None else part.to(device) for part in vars(self).values()))


class StridePairs:
    """Frames one or several strides apart: graphs at the start, and where the atoms will be.

    Args:
        data: the files.
        index: (file, segment) [n, 2] to draw from.
        stride_fs: a multiple of each file's frame spacing.
        cutoff: of the graphs' edges, Å.
        augment: rotate and invert each drawn box at random.
        strides: how many strides the targets go on for.
        time_reversal: share of the drawn pairs that run backwards, (q', −p') to (q, −p).
        position_noise_A: standard deviation of Gaussian noise on the positions that the model is given, Å.
        momentum_noise: likewise on p/√m, √eV. Targets get no noise, so that the model learns to come back.

    Attributes:
        jumps: frames per stride, by file.
        starts: how many frames of a segment can be the start of a pair, by file.

    Raises:
        ValueError: the stride is no multiple of a file's frame spacing, or the segments are too short.
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
        self.sampler = Sampler(data, index, cutoff)
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

    def draw(self, rng: np.random.Generator, boxes: int, edges: int | None = None) -> Batch:
        """A random batch of ``boxes`` boxes, or of as many as have about ``edges`` edges (``data/sampler.py``)."""
        picks = self.sampler.draw(rng, boxes, edges)
        starts = [int(rng.integers(self.starts[f])) for f, _ in picks]
        reverse = rng.random(len(picks)) < self.time_reversal
        return self.batch(picks, starts, reverse, rng)

    def unaugmented(self, k: int) -> Batch:
        """The k-th box of the index as it is stored: forward in time, without rotation and noise."""
        pick = self.index[k]
        return self.batch(pick[None], [k % self.starts[pick[0]]], np.array([False]), None)

    def frames(self, file: int, start: int, reverse: bool) -> np.ndarray:
        """Frame numbers after 0, 1, … strides; with ``reverse`` the same frames backwards."""
        frames = start + self.jumps[file] * np.arange(self.strides + 1)
        return frames[::-1] if reverse else frames

    def batch(
        self, picks: np.ndarray, starts: list[int], reverse: np.ndarray, rng: np.random.Generator | None
    ) -> Batch:
        """The boxes from frames ``starts`` of the segments ``picks`` [B, 2], time-reversed where ``reverse`` [B].

        Without ``rng`` nothing is rotated and there is no noise.
        """
        graphs, displacements, momenta, energies = [], [], [], []
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
            energies.append(None if file.energy is None else float(file.energy[segment, frames[0]]))
        box = np.repeat(np.arange(len(graphs)), [len(g.species) for g in graphs])
        batch = Batch(
            join(graphs),
            torch.tensor(np.concatenate(displacements, 1), dtype=torch.float32),
            torch.tensor(np.concatenate(momenta, 1), dtype=torch.float32),
            torch.tensor(box),
            None if None in energies else torch.tensor(energies, dtype=torch.float64),
            torch.tensor([int(f) for f, _ in picks]),
        )
        return rotated(batch, random_rotations(rng, len(graphs))) if rng is not None and self.augment else batch

    def forces(self, k: int, start: int) -> tuple[Tensor, Tensor | None]:
        """Displacements since frame ``start`` (Å) and forces (eV/Å) of every frame of a stride, [A, T, 3] each.

        None for the forces of a file without.
        """
        f, segment = self.index[k]
        file = self.data.files[f]
        frames = start + np.arange(self.jumps[f] + 1)
        q = file.positions[segment, frames]
        force = None if file.forces is None else torch.tensor(file.forces[segment, frames]).transpose(0, 1)
        return torch.tensor(q - q[:1]).transpose(0, 1), force


def rotated(batch: Batch, rotations: Tensor) -> Batch:
    """The batch with each box in a frame of its own: of orthogonal ``rotations`` [B, 3, 3], v becomes R v."""
    of_atoms = rotations[batch.box]
    ends = (torch.stack([turned(x, of_atoms) for x in end]) for end in (batch.displacement, batch.momenta))
    return replace(batch, graph=rotated_graph(batch.graph, of_atoms), displacement=next(ends), momenta=next(ends))


def rotated_graph(graph: Graph, rotations: Tensor) -> Graph:
    """The graph with the vectors of each atom turned by its own of ``rotations`` [N, 3, 3]."""
    momenta, edges = turned(graph.momenta, rotations), turned(graph.edge_vectors, rotations)
    bonded = graph.bonded
    if bonded is not None:
        bonded = bonded._replace(vectors=turned(bonded.vectors, rotations[bonded.pairs[:, 0]]))
    return graph._replace(momenta=momenta, edge_vectors=edges, bonded=bonded)


def turned(vectors: Tensor, rotations: Tensor) -> Tensor:
    """R v of vectors [N, 3] or [N, K, 3] with ``rotations`` [N, 3, 3]."""
    if vectors.ndim == 3:
        return vectors @ rotations.transpose(1, 2)
    return (rotations @ vectors[..., None]).squeeze(-1)
