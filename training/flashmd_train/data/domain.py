"""The domain of a data set: what a model that was trained on it has seen."""

from __future__ import annotations

import numpy as np

from flashmd_train.data.dataset import Dataset
from flashmd_train.graph.distances import norm


def domain(data: Dataset, cutoff: float, frames: int = 60) -> dict:
    """What the data spans, as the contract's ``domain``: temperature, density, distances, momenta, neighbour counts.

    Distances, momenta and counts are those of the first frames of ``frames`` segments, with edges up to ``cutoff`` (Å).
    """
    closest: dict[str, float] = {}
    momentum, most, fewest = 0.0, 0, np.inf
    for f, segment in data.evenly(frames):
        graph = data.frame_graph(f, segment, 0, cutoff)
        d = norm(graph.edge_vectors).squeeze(-1)
        theirs = graph.species[graph.neighbors]
        for a, first in enumerate(data.symbols):
            for b, second in enumerate(data.symbols[a:], a):
                pair = graph.mask & (graph.species[:, None] == a) & (theirs == b)
                if pair.any():
                    name = f"{first}-{second}"
                    closest[name] = round(min(closest.get(name, np.inf), float(d[pair].min())), 3)
        momentum = max(momentum, float(graph.momenta.abs().max()))
        counts = graph.mask.sum(1)
        most, fewest = max(most, int(counts.max())), min(fewest, int(counts.min()))
    temperatures = np.concatenate([file.temperature_K for file in data.files])
    densities = [round(d, 4) for file in data.files if (d := file.density_g_per_cm3) is not None]
    limits = dict(
        temperature_K=[float(temperatures.min()), float(temperatures.max())],
        smallest_pair_distance_A=closest,
        largest_scaled_momentum_sqrt_eV=round(momentum, 3),
        largest_neighbor_count=most,
        smallest_neighbor_count=int(fewest),
    )
    return limits | (dict(density_g_per_cm3=[min(densities), max(densities)]) if densities else {})
