"""One transformer block of PET: an atom and its edges attend to each other.

Tokens never meet those of another atom here. An edge is heard through its cutoff factor, and a masked
one not at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.compact import apart, attend
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
        """Tokens [N, T, D] and the logarithm of how much each is heard [N, 1, 1, T] to [N, T, D]."""
        queries, keys, values = self.qkv(tokens).transpose(1, 2).unflatten(1, (3, self.heads, -1)).unbind(1)
        heard = attend(queries, keys, values, bias, self.scale)
        return self.out(heard.transpose(1, 2).flatten(2))


class NodeTrack(nn.Module):
    """The atom's own, wider features: narrowed to a token before attention, updated by it after."""

    def __init__(self, features: int, node_features: int, norm: str, activation: str) -> None:
        super().__init__()
        self.contract = Linear(node_features, features)
        self.expand = Linear(features, node_features)
        self.norm = NORMS[norm](node_features)
        self.mlp = feed_forward(node_features, 2 * node_features, activation)

    def forward(self, node: Tensor, heard: Tensor) -> Tensor:
        """node [N, D_node] and its token after attention [N, D] to [N, D_node]."""
        node = node + self.expand(heard)
        return node + self.mlp(self.norm(node))


class Block(nn.Module):
    """Attention, then a perceptron on each token, normalised before or after each.

    Where an atom has as many features as an edge, PET gives it no track of its own: it leaves a PreLN
    block as the bare output of attention, without residual and perceptron.
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
            heard, told = apart(tokens)
            edges = edges + told
            edges = edges + self.mlp(self.norm_mlp(edges))
        else:
            tokens = self.norm_attention(tokens + self.attention(tokens, bias))
            tokens = self.norm_mlp(tokens + self.mlp(tokens))
            heard, edges = apart(tokens)
        return heard if self.node is None else self.node(node, heard), edges
