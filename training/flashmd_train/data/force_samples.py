"""Single frames with reference forces and energies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset
from flashmd_train.graph.nef import Graph, join


class ForceSample(NamedTuple):
    """One frame of the reference.

    Attributes:
        graph: of the frame.
        positions: [N, 3] Å.
        forces: [N, 3] eV/Å.
        energy: potential energy, eV.
    """

    graph: Graph
    positions: Tensor
    forces: Tensor
    energy: float


class ForceBatch(NamedTuple):
    """B boxes side by side: as :class:`ForceSample`, with energies [B] (eV) and the box of each atom [N]."""

    graph: Graph
    positions: Tensor
    forces: Tensor
    energies: Tensor
    box: Tensor

    def to(self, device: torch.device) -> ForceBatch:
        """The batch on ``device``."""
        return ForceBatch(*(x.to(device) for x in self))


def force_sample(data: Dataset, pick: np.ndarray, frame: int, cutoff: float) -> ForceSample:
    """Frame ``frame`` of the segment ``pick`` (file, segment), with edges up to ``cutoff`` (Å)."""
    file, segment = (int(x) for x in pick)
    segments = data.files[file]
    q, p = segments.positions[segment, frame], segments.momenta[segment, frame]
    forces = torch.tensor(segments.forces[segment, frame])
    return ForceSample(data.graph(file, q, p, cutoff), torch.tensor(q), forces, float(segments.energy[segment, frame]))


def random_frame(data: Dataset, pick: np.ndarray, cutoff: float, rng: np.random.Generator) -> ForceSample:
    """A random frame of the segment ``pick`` (file, segment)."""
    return force_sample(data, pick, int(rng.integers(data.files[pick[0]].positions.shape[1])), cutoff)


def draw_force_batch(
    data: Dataset, index: np.ndarray, boxes: int, cutoff: float, rng: np.random.Generator
) -> ForceBatch:
    """Random frames of ``boxes`` segments out of ``index`` [n, 2]."""
    picks = index[rng.integers(len(index), size=boxes)]
    graphs, q, forces, energies = zip(*(random_frame(data, pick, cutoff, rng) for pick in picks))
    box = torch.repeat_interleave(torch.arange(boxes), torch.tensor([len(x) for x in q]))
    return ForceBatch(
        join(list(graphs)), torch.cat(q), torch.cat(forces), torch.tensor(energies, dtype=torch.float32), box
    )
