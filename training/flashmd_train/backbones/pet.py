"""The Point-Edge Transformer of metatrain, on the NEF graph of the model contract.

Every atom and every edge carries features. A layer is attention among an atom and its edges; between layers an edge
gets the features of its reverse edge, which is message passing. Cartesian components go in and come out: rotational
symmetry is learned from the data.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from flashmd_train.backbones.adaptive import ADAPTIVE
from flashmd_train.backbones.layers import LayerNorm, Linear, Swish
from flashmd_train.backbones.transformer import Block
from flashmd_train.graph.distances import bump_cutoff, cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.reverse import gather_neighbors, swap_edges
from flashmd_train.settings import Count, Positive

# Added to the scores of masked edges: their attention weight is exactly zero.
MASKED_SCORE = -1e9


@dataclass(config=ConfigDict(extra="forbid"))
class PETConfig:
    """Everything that fixes a PET; defaults are those of metatrain's FlashMD.

    Attributes:
        species: number of species.
        cutoff_A: largest cutoff, Å.
        cutoff_width_A: of its flank, Å.
        cutoff_function: ``"cosine"`` or ``"bump"``.
        features: of an edge. node_features: of an atom. head_features: of a readout.
        hidden: of the perceptrons in a block.
        heads: of attention.
        blocks: per layer.
        layers: between which edges exchange features with their reverse edges.
        temperature: divides the scores of attention.
        norm: ``"RMSNorm"`` or ``"LayerNorm"``.
        activation: ``"SwiGLU"`` or ``"SiLU"``.
        pre_norm: normalise before attention and perceptron instead of after.
        residual: read every layer instead of the last one.
        sees_momenta: true for models that move atoms, false for energies.
        adaptive_neighbors: number of neighbours within an adaptive cutoff; None for a fixed one.
        adaptive_method: ``"solver"`` or ``"grid"``.
        adaptive_width_A: of the smoothed count of neighbours, Å.
    """

    species: Count
    cutoff_A: Positive = 4.5
    cutoff_width_A: Positive = 0.2
    cutoff_function: Literal["cosine", "bump"] = "cosine"
    features: Count = 128
    node_features: Count = 512
    head_features: Count = 128
    hidden: Count = 256
    heads: Count = 8
    blocks: Count = 2
    layers: Count = 3
    temperature: Positive = 1.0
    norm: Literal["RMSNorm", "LayerNorm"] = "RMSNorm"
    activation: Literal["SwiGLU", "SiLU"] = "SwiGLU"
    pre_norm: bool = True
    residual: bool = False
    sees_momenta: bool = True
    adaptive_neighbors: Positive | None = None
    adaptive_method: Literal["solver", "grid"] = "solver"
    adaptive_width_A: Positive = 1.0

    @model_validator(mode="after")
    def _heads_divide_features(self) -> PETConfig:
        if self.features % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide features: {self.features}")
        return self

    @property
    def reach(self) -> int:
        """Cutoffs beyond which no atom changes an output.

        One for each layer; one for the reverse edges that are read after the last, unless every layer is read before;
        one for an adaptive cutoff, which depends on the neighbours' neighbours.
        """
        return self.layers + (not self.residual) + (self.adaptive_neighbors is not None)

    @property
    def receptive_field_A(self) -> float:
        """Distance beyond which no atom changes an output, Å."""
        return self.reach * self.cutoff_A


class Edges(NamedTuple):
    """The edges as all layers take them.

    Attributes:
        geometry: vector and length [N, K, 4], Å.
        factor: cutoff factor [N, K, 1], zero where masked.
        bias: logarithms of the factors in the attention weights, of the atom itself (0) and its edges [N, 1, 1, 1 + K].
        species: of the other atom [N, K].
        reverse: [N, K].
    """

    geometry: Tensor
    factor: Tensor
    bias: Tensor
    species: Tensor
    reverse: Tensor


class Layer(nn.Module):
    """Edge tokens from geometry, species and messages, then transformer blocks."""

    def __init__(self, config: PETConfig, first: bool) -> None:
        super().__init__()
        c, d = config, config.features
        self.geometry = Linear(4, d)
        self.species = None if first else nn.Embedding(c.species, d)
        self.compress = nn.Sequential(Linear((2 if first else 3) * d, d), Swish(), Linear(d, d))
        self.blocks = nn.ModuleList(
            Block(d, c.node_features, c.hidden, c.heads, c.temperature, c.norm, c.activation, c.pre_norm)
            for _ in range(c.blocks)
        )

    def forward(self, node: Tensor, messages: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """node [N, D_node], messages [N, K, D]; the same shapes back."""
        tokens = self.compress[1:](self._compress_parts(messages, edges))
        for block in self.blocks:
            node, tokens = block(node, tokens, edges.bias)
        return node, tokens

    def _compress_parts(self, messages: Tensor, edges: Edges) -> Tensor:
        """The first linear layer of ``compress`` on (geometry, species, messages), as a sum of three products.

        The embeddings of the geometry (four numbers) and of the species are linear, so their weights are multiplied
        with the layer's first: only messages take a full product per edge.
        """
        first = self.compress[0]
        columns = range(0, first.in_features, first.out_features)
        of_geometry, *of_species, of_messages = (first.weight[:, i : i + first.out_features] for i in columns)
        parts = nn.functional.linear(messages, of_messages)
        parts = parts + nn.functional.linear(edges.geometry, of_geometry @ self.geometry.weight)
        if self.species is not None:
            parts = parts + nn.functional.embedding(edges.species, self.species.weight @ of_species[0].T)
        return parts + (of_geometry @ self.geometry.bias + first.bias)


class NodeEmbedding(nn.Module):
    """An atom's first features, from its species and, for models that move atoms, its momentum √(eV·u)."""

    def __init__(self, config: PETConfig) -> None:
        super().__init__()
        d = config.node_features
        self.species = nn.Embedding(config.species, d)
        self.momentum = self.mix = None
        if config.sees_momenta:
            widths = ((3, 4 * d), (4 * d, 4 * d), (4 * d, d))
            first, second, third = (Linear(*width, bias=False) for width in widths)
            self.momentum = nn.Sequential(first, Swish(), second, Swish(), third)
            self.mix = Linear(2 * d, d, bias=False)

    def forward(self, species: Tensor, momenta: Tensor) -> Tensor:
        """species [N], momenta [N, 3] to [N, D_node]."""
        known = self.species(species)
        if self.momentum is None:
            return known
        return self.mix(torch.cat([known, self.momentum(momenta)], -1))


class Head(nn.Module):
    """One readout: a perceptron on the atom plus one on each edge, the latter summed with the cutoff factor."""

    def __init__(self, config: PETConfig, outputs: int) -> None:
        super().__init__()
        self.node = self._perceptron(config.node_features, config.head_features, outputs)
        self.edge = self._perceptron(config.features, config.head_features, outputs)

    @staticmethod
    def _perceptron(features: int, hidden: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            Linear(features, hidden), Swish(), Linear(hidden, hidden), Swish(), Linear(hidden, outputs)
        )

    def last_features(self, node: Tensor, edges: Tensor, factor: Tensor) -> Tensor:
        """What the outputs are linear in [N, 2H + 1], of node [N, D_node], edges [N, K, D] and factor [N, K, 1]."""
        return torch.cat([self.node[:-1](node), (self.edge[:-1](edges) * factor).sum(1), factor.sum(1)], -1)

    def forward(self, last_features: Tensor) -> Tensor:
        """The outputs [N, outputs]; both last layers come after the sum over edges, whose number of rows they spare."""
        width = self.node[-1].in_features
        of_node, of_edges, count = last_features.split([width, width, 1], -1)
        of_edges = nn.functional.linear(of_edges, self.edge[-1].weight) + count * self.edge[-1].bias
        return self.node[-1](of_node) + of_edges


class PET(nn.Module):
    """Per-atom outputs of a graph with ``reverse`` and unscaled momenta.

    Args:
        config: everything that fixes the network.
        outputs: how many numbers each output has per atom.
    """

    def __init__(self, config: PETConfig, outputs: list[int]) -> None:
        super().__init__()
        self.config = config
        readouts = config.layers if config.residual else 1
        self.layers = nn.ModuleList(Layer(config, first=i == 0) for i in range(config.layers))
        self.nodes = nn.ModuleList(NodeEmbedding(config) for _ in range(readouts))
        self.neighbors = nn.Embedding(config.species, config.features)
        d = config.features
        self.combine = nn.ModuleList(
            nn.Sequential(LayerNorm(2 * d), Linear(2 * d, 2 * d), Swish(), Linear(2 * d, d))
            for _ in range(0 if config.residual else config.layers)
        )
        self.outputs = nn.ModuleList(nn.ModuleList(Head(config, n) for _ in range(readouts)) for n in outputs)

    def forward(self, graph: Graph) -> list[Tensor]:
        """One tensor [N, n] per output."""
        return self.read(self.last_features(graph))

    def last_features(self, graph: Graph) -> list[list[Tensor]]:
        """What the readouts of each output are linear in, [N, 2H + 1] each."""
        edges = self._edges(graph)
        features = (self._residual if self.config.residual else self._feed_forward)(graph, edges)
        return [
            [head.last_features(node, tokens, edges.factor) for head, (node, tokens) in zip(heads, features)]
            for heads in self.outputs
        ]

    def read(self, last_features: list[list[Tensor]]) -> list[Tensor]:
        """The outputs: of each the sum over its readouts."""
        read = ([head(x) for head, x in zip(heads, of)] for heads, of in zip(self.outputs, last_features))
        return [sum(parts[1:], parts[0]) for parts in read]

    def _feed_forward(self, graph: Graph, edges: Edges) -> list[tuple[Tensor, Tensor]]:
        """Features of atoms and edges after the last layer; both go from layer to layer."""
        node, messages = self.nodes[0](graph.species, graph.momenta), self.neighbors(edges.species)
        for layer, combine in zip(self.layers, self.combine):
            node, tokens = layer(node, messages, edges)
            both = torch.cat([tokens, swap_edges(tokens, edges.reverse)], -1)
            messages = messages + tokens + combine(both)
        return [(node, messages)]

    def _residual(self, graph: Graph, edges: Edges) -> list[tuple[Tensor, Tensor]]:
        """Features of atoms and edges after every layer; only edges go from layer to layer."""
        messages, read = self.neighbors(edges.species), []
        for layer, embedding in zip(self.layers, self.nodes):
            node, tokens = layer(embedding(graph.species, graph.momenta), messages, edges)
            read.append((node, tokens))
            messages = 0.5 * (messages + swap_edges(tokens, edges.reverse))
        return read

    def _edges(self, graph: Graph) -> Edges:
        c = self.config
        lengths = norm(graph.edge_vectors)
        d = lengths.squeeze(-1)
        inside = graph.mask & (d < c.cutoff_A)
        cutoff: Tensor | float = c.cutoff_A
        if c.adaptive_neighbors is not None:
            own = ADAPTIVE[c.adaptive_method](d, inside, c.adaptive_neighbors, c.cutoff_A, c.adaptive_width_A)
            cutoff = 0.5 * (own + gather_neighbors(own, graph.neighbors, graph.reverse).squeeze(-1))
            inside = inside & (d <= cutoff)
        shape = {"cosine": cosine_cutoff, "bump": bump_cutoff}[c.cutoff_function]
        factor = torch.where(inside, shape(d, cutoff, c.cutoff_width_A), 0.0)
        bias = torch.where(inside, torch.log(factor.clamp(min=1e-15)), MASKED_SCORE)
        return Edges(
            torch.cat([graph.edge_vectors, lengths], -1),
            factor[..., None],
            nn.functional.pad(bias, (1, 0))[:, None, None],
            gather_rows(graph.species, graph.neighbors),
            graph.reverse,
        )
