"""Cost of a gradient: one thread's time of energy and edge gradient over that of the energy alone.

    python -m flashmd_train.studies.gradient_cost

729 atoms at the density of water, cutoff 5 Å, random weights, since only the cost matters. Best of several
runs, against the noise of the machine.
"""

from __future__ import annotations

import time
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from flashmd_train.backbones.layers import Linear, Swish
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.reverse import gather_neighbors
from flashmd_train.graph.structures import graph_of, random_structure
from flashmd_train.model_files.contract import ENERGY_OUTPUTS, PAIR_INPUTS
from flashmd_train.model_files.onnx_graph import export_forward, export_gradients
from flashmd_train.model_files.parity import open_onnx, run_session
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.pet import PETEnergy

CUTOFF_A, SPACING_A, ATOMS, RUNS = 5.0, 2.155, 729, 7
SYMBOLS, MASSES = ["H", "O"], [1.008, 15.999]


class EdgeMPEnergy(nn.Module):
    """The scalar of a network like EdgeMP: one small product per edge and layer."""

    def __init__(self, features: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(SYMBOLS), features)
        self.own = nn.ModuleList(Linear(features, features) for _ in range(layers))
        self.theirs = nn.ModuleList(Linear(features, features, bias=False) for _ in range(layers))
        self.edge = nn.ModuleList(Linear(4, features, bias=False) for _ in range(layers))
        self.update = nn.ModuleList(Linear(features, features) for _ in range(layers))
        self.act, self.head = Swish(), Linear(features, 1)

    def forward(
        self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor, reverse: Tensor
    ) -> Tensor:
        """Energy [N]."""
        d = norm(edge_vectors)
        factor = torch.where(mask[..., None], cosine_cutoff(d, CUTOFF_A, 1.0), 0.0)
        geometry, h = torch.cat([edge_vectors, d], -1), self.embed(species)
        for own, theirs, edge, update in zip(self.own, self.theirs, self.edge, self.update):
            messages = gather_neighbors(theirs(h), neighbors, reverse) + own(h)[:, None] + edge(geometry)
            h = h + update((self.act(messages) * factor).sum(1))
        return self.head(self.act(h)).squeeze(-1)


class Alone(nn.Module):
    """The scalar without its gradient, as one output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Energy [N]."""
        return (self.model(*inputs),)


def graph(atoms: int, seed: int) -> Graph:
    """Random water-like atoms."""
    return graph_of(random_structure(SYMBOLS, MASSES, atoms, SPACING_A, seed), SYMBOLS, CUTOFF_A)


def best_ms(model: onnx.ModelProto, box: Graph) -> float:
    """Least processor time of a run on one thread, ms."""
    session = open_onnx(model)
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        run_session(session, box, PAIR_INPUTS)
        times.append(1e3 * (time.thread_time() - start))
    return min(times)


def pet(**options: Any) -> PETEnergy:
    """An energy model of PET."""
    settings = dict(species=tuple(SYMBOLS), backbone="pet", prior="free", cutoff_A=CUTOFF_A, options=options)
    return PETEnergy(EnergyConfig.model_validate(settings))


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    sizes = dict(cutoff_width_A=0.5, head_features=64, blocks=1, layers=2)
    models: dict[str, nn.Module] = {
        "PET d64, 2 layers, 1 block, 4 heads": pet(**sizes, features=64, node_features=128, hidden=128, heads=4),
        "PET d32, 2 layers, 1 block, 2 heads": pet(
            **(sizes | dict(head_features=32)), features=32, node_features=64, hidden=64, heads=2
        ),
        "EdgeMP-like d64, 2 layers": EdgeMPEnergy(64, 2),
    }
    box, proofs = graph(ATOMS, 1), [graph(27, 2), graph(64, 3)]
    print(f"{len(box.mask)} atoms, {box.mask.sum() / len(box.mask):.1f} neighbours, K {box.mask.shape[1]}")
    for name, module in models.items():
        plain, _ = export_forward(Alone(module), PAIR_INPUTS, ENERGY_OUTPUTS[:1], proofs)
        both, error = export_gradients(module, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, proofs)
        a, b = best_ms(plain, box), best_ms(both, box)
        print(f"{name:38} energy {a:7.1f} ms, with gradient {b:7.1f} ms, ratio {b / a:.2f}, parity {error:.1e}")


if __name__ == "__main__":
    main()
