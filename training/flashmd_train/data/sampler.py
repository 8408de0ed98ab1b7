"""Which segments the boxes of a step are of: a fixed number of boxes, or about a fixed number of edges.

Losses are means over the atoms of a step, so what is drawn says what is weighted how:

- By boxes, each segment is as likely as any other. A file's share of all atoms that training sees is its share of
  segments times atoms, but a step of a crystal takes longer, and weighs no more, than one of a cluster.
- By edges, a step consists of equal portions of edges. Each is of one file, drawn in proportion to its segments times
  atoms, and holds one or several of its boxes: as many as make the portion up, on average. A portion is as large as the
  largest box, so that all steps take about as long and atoms of small structures weigh as much as those of large ones.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from flashmd_train.data.dataset import Dataset


class Sampler:
    """Draws segments for the boxes of a step.

    Args:
        data: the files.
        index: (file, segment) [n, 2] to draw from.
        cutoff: of the edges that are counted, Å.
    """

    def __init__(self, data: Dataset, index: np.ndarray, cutoff: float) -> None:
        self.data, self.index, self.cutoff = data, index, cutoff

    def draw(self, rng: np.random.Generator, boxes: int, edges: int | None = None) -> np.ndarray:
        """(file, segment) of the boxes of one step [B, 2]: ``boxes``, or about as many as make up ``edges``."""
        if edges is None:
            return self.index[rng.integers(len(self.index), size=boxes)]
        portions = max(1, round(edges / self._edges.max()))
        picks = []
        for f in rng.choice(len(self._edges), size=portions, p=self._weights):
            # Rounded up or down at random, to the right mean.
            count = int(self._edges.max() / self._edges[f] + rng.random())
            picks.append(rng.choice(self._rows[f], size=count))
        return self.index[np.concatenate(picks)]

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """Rows of the index, by file that it names."""
        return [np.flatnonzero(self.index[:, 0] == f) for f in np.unique(self.index[:, 0])]

    @cached_property
    def _weights(self) -> np.ndarray:
        sizes = [len(rows) * len(self.data.species[self.index[rows[0], 0]]) for rows in self._rows]
        return np.array(sizes) / sum(sizes)

    @cached_property
    def _edges(self) -> np.ndarray:
        """Edges of a box of each file, at least 1: those of its first frame."""
        picks = [self.index[rows[0]] for rows in self._rows]
        return np.array([max(1, int(self.data.frame_graph(f, s, 0, self.cutoff).mask.sum())) for f, s in picks])
