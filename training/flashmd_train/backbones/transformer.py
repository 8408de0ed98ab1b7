"""One transformer block of PET: attention among an atom and its edges.

Tokens of different atoms do not attend to each other. The attention weight of an edge is multiplied by its cutoff
factor, so that of a masked edge is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.compact import attend, split_first
from flashmd_train.backbones.layers import NORMS, Linear, feed_forward


class Attention(nn.Module):
    """Attention among the tokens of each atom.

    Args:
        features: length of a token.
        heads: how many; divides ``features``.
        temperature: divides the scores, beside √(features / heads).
    """

    def __init__(self, features: int, heads: int, temperature: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / ((features / heads) ** 0.5 * temperature)
        self.qkv = Linear(features, 3 * features)
        self.out = Linear(features, features)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Tokens [N, T, D] and the logarithm of their factor in the attention weights [N, 1, 1, T] to [N, T, D]."""
        queries, keys, values = self.qkv(tokens).transpose(1, 2).unflatten(1, (3, self.heads, -1)).unbind(1)
        attended = attend(queries, keys, values, bias, self.scale)
        return self.out(attended.transpose(1, 2).flatten(2))


class NodeTrack(nn.Module):
    """The atom's own, wider features: contracted to a token before attention, and updated by that token after."""

    def __init__(self, features: int, node_features: int, norm: str, activation: str) -> None:
        super().__init__()
        self.contract = Linear(node_features, features)
        self.expand = Linear(features, node_features)
        self.norm = NORMS[norm](node_features)
        self.mlp = feed_forward(node_features, 2 * node_features, activation)

    def forward(self, node: Tensor, token: Tensor) -> Tensor:
        """node [N, D_node] and its token after attention [N, D] to [N, D_node]."""
        node = node + self.expand(token)
        return node + self.mlp(self.norm(node))


class Block(nn.Module):
    """Attention, then a perceptron on each token, normalised before or after each.

    Where an atom has as many features as an edge, PET has no separate node track: the node leaves a block with
    normalisation before attention as the output of attention alone, without residual and perceptron.
    """

    def __init__(
        self,
        features: int,
        node_features: int,
        hidden: int,
        heads: int,
        temperature: float,
        norm: str,
        activation: str,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(features, heads, temperature)
        self.norm_attention = NORMS[norm](features)
        self.norm_mlp = NORMS[norm](features)
        self.mlp = feed_forward(features, hidden, activation)
        self.node = NodeTrack(features, node_features, norm, activation) if node_features != features else None

    def forward(self, node: Tensor, edges: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """node [N, D_node], edges [N, K, D], bias as in `Attention`; the same shapes back."""
        own = node if self.node is None else self.node.contract(node)
        tokens = torch.cat([own[:, None], edges], 1)
        if self.pre_norm:
            tokens = self.attention(self.norm_attention(tokens), bias)
            token, change = split_first(tokens)
            edges = edges + change
            edges = edges + self.mlp(self.norm_mlp(edges))
        else:
            tokens = self.norm_attention(tokens + self.attention(tokens, bias))
            tokens = self.norm_mlp(tokens + self.mlp(tokens))
            token, edges = split_first(tokens)
        return token if self.node is None else self.node(node, token), edges
