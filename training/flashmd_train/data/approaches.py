"""How near atoms of each pair of species come in the data, and in which frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset, Frame
from flashmd_train.graph.distances import norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph

# Frames of each pair of species in which they are nearest: nothing else says what repels them there.
NEAREST = 20


class Approaches(NamedTuple):
    """Smallest distance of each pair of species in each frame.

    Attributes:
        frames: [F], all that there are.
        distances: [F, P] Å, at most the cutoff.
        cutoff: Å.
    """

    frames: list[Frame]
    distances: Tensor
    cutoff: float

    @property
    def closest(self) -> Tensor:
        """Smallest of all [P], Å."""
        return self.distances.amin(0)

    def nearest(self, index: np.ndarray) -> list[Frame]:
        """Frames of the (file, segment) of ``index`` [n, 2] with one of the :data:`NEAREST` smallest distances."""
        allowed = {tuple(pick) for pick in index.tolist()}
        rows = torch.tensor([k for k, frame in enumerate(self.frames) if (frame.file, frame.segment) in allowed])
        distances = self.distances[rows]
        order = distances.argsort(0)[:NEAREST]
        near = rows[order[distances.gather(0, order) < self.cutoff]].unique()
        return [self.frames[k] for k in near.tolist()]


def measure_approaches(data: Dataset, cutoff: float, pair_of: Tensor, counts: Callable[[Graph], Tensor]) -> Approaches:
    """Smallest distances in all frames.

    Args:
        data: the files.
        cutoff: Å, stands for a pair that is not nearer.
        pair_of: number of the pair of two species [S, S].
        counts: edges of a graph that count [N, K].
    """
    none = torch.full((int(pair_of.max()) + 1,), cutoff, dtype=torch.float64)
    frames, distances = [], []
    for frame, graph in data.every_graph(cutoff):
        pair = pair_of[graph.species[:, None], gather_rows(graph.species, graph.neighbors)]
        kept = counts(graph)
        d = norm(graph.edge_vectors).squeeze(-1).double()
        frames.append(frame)
        distances.append(none.scatter_reduce(0, pair[kept], d[kept], "amin"))
    return Approaches(frames, torch.stack(distances), cutoff)
