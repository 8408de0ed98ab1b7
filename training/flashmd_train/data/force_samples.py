"""Single frames with reference forces and energies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import rotated_graph, turned
from flashmd_train.data.sampler import Sampler
from flashmd_train.graph.nef import Graph, join


class ForceSample(NamedTuple):
    """One frame of the reference.

    Attributes:
        graph: of the frame.
        positions: [N, 3] Å.
        forces: [N, 3] eV/Å.
        energy: potential energy, eV; None where the file holds none.
    """

    graph: Graph
    positions: Tensor
    forces: Tensor
    energy: float | None


class ForceBatch(NamedTuple):
    """B boxes side by side: as :class:`ForceSample`, with energies [B] (eV, float64) and the box of each atom [N]."""

    graph: Graph
    positions: Tensor
    forces: Tensor
    energies: Tensor
    box: Tensor

    def to(self, device: torch.device) -> ForceBatch:
        """The batch on ``device``."""
        return ForceBatch(*(x.to(device) for x in self))

    def rotated(self, rotations: Tensor) -> ForceBatch:
        """The batch with each box in a frame of reference of its own, by orthogonal ``rotations`` [B, 3, 3]."""
        of_atoms = rotations[self.box]
        vectors = {name: turned(getattr(self, name), of_atoms) for name in ("positions", "forces")}
        return self._replace(graph=rotated_graph(self.graph, of_atoms), **vectors)


def force_sample(data: Dataset, pick: np.ndarray, frame: int, cutoff: float) -> ForceSample:
    """Frame ``frame`` of the segment ``pick`` (file, segment), with edges up to ``cutoff`` (Å)."""
    file, segment = (int(x) for x in pick)
    segments = data.files[file]
    q, p, forces = (x[segment, frame] for x in (segments.positions, segments.momenta, segments.forces))
    energy = None if segments.energy is None else float(segments.energy[segment, frame])
    return ForceSample(data.graph(file, q, p, cutoff), torch.tensor(q), torch.tensor(forces), energy)


def random_frame(data: Dataset, pick: np.ndarray, cutoff: float, rng: np.random.Generator) -> ForceSample:
    """A random frame of the segment ``pick`` (file, segment)."""
    return force_sample(data, pick, int(rng.integers(data.files[pick[0]].positions.shape[1])), cutoff)


def draw_force_batch(sampler: Sampler, rng: np.random.Generator, boxes: int, edges: int | None = None) -> ForceBatch:
    """Random frames of the segments that ``sampler`` draws; all hold energies."""
    picks = sampler.draw(rng, boxes, edges)
    graphs, q, forces, energies = zip(*(random_frame(sampler.data, pick, sampler.cutoff, rng) for pick in picks))
    box = torch.repeat_interleave(torch.arange(len(picks)), torch.tensor([len(x) for x in q]))
    return ForceBatch(
        join(list(graphs)), torch.cat(q), torch.cat(forces), torch.tensor(energies, dtype=torch.float64), box
    )
