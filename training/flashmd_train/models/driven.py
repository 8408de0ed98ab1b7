"""Driven models: bonds and angles move under slow forces that a network predicts for the whole stride.

The network looks at the atoms where bonds and angles alone take them in half of the stride, which is near where they
will be, and gives the slow force as a polynomial of time: what acts is then right to second order in the stride before
anything is learned of how it changes. Bonds are too fast for that and never part of it; they are integrated.

Backwards in time the same forces act, in the opposite order: F_p(q, −p) = (−1)^p F_p(q, p). The network is made so by
looking twice, p and −p. Without it what is learned of momenta holds a friction, as least squares shrink what they
cannot predict, and strides cool all that they move.

=======  =========================================================================  =========  ==========
Φ_t      motion under bonds and angles alone, velocity Verlet of
         ``inner_timestep_fs``
Δ        stride                                                                     Å √(u/eV)
F(s)     slow force Σ_p L_p(s) F_p, from −1 to 1                                    eV/Å       [N, 3]
F_p      its Legendre coefficients, of the atoms at Φ_{Δ/2}(q, p)                   eV/Å       [N, P, 3]
p_m      momenta there                                                              √(eV·u)    [N, 3]
g        gain: F_0 grows by (g − 1) p_m/Δ, friction or its opposite
=======  =========================================================================  =========  ==========
"""

from __future__ import annotations

import numpy as np
import torch
from ase import units
from torch import Tensor

from flashmd_train.graph.nef import Graph, displaced
from flashmd_train.models.bonded_forces import BondedForces, known_bonds
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.kick_drift_kick import kick_drift_kick, verlet_share
from flashmd_train.models.prior import legendre
from flashmd_train.models.stride import Prediction


class Driven(Direct):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride, for molecules of any kind.

    Args:
        config: with ``bonded``.

    Attributes:
        bonded: bonds and angles.
    """

    def __init__(self, config: DirectConfig) -> None:
        super().__init__(config)
        self.bonded = BondedForces(config.bonded, config.inner_timestep_fs)
        self.stride = config.stride_fs * units.fs

    def midway(self, graph: Graph) -> Graph:
        """Where bonds and angles alone take the atoms in half of the stride: Φ_{Δ/2}(q, p)."""
        root = graph.masses[:, None].sqrt()
        # Of the bonds' constants, the stride itself is gradient enough.
        with torch.set_grad_enabled(torch.is_grad_enabled() and graph.momenta.requires_grad):
            u, p = self.bonded.advance(graph, torch.zeros_like(graph.momenta), graph.momenta * root, 0.5 * self.stride)
            return displaced(graph, u * root, p / root)

    def slow_forces(self, seen: Graph) -> tuple[Tensor, Tensor]:
        """F_p [N, P, 3] (eV/Å) of atoms midway, and what the last layer is linear in."""
        seen = seen._replace(mask=self.inside(seen.edge_vectors, seen.mask))
        reversed_graph = seen._replace(momenta=-seen.momenta)
        (forward, _, last), (backward, _, _) = (
            self.backbone(graph, self.prior, self.prior.bind(graph)) for graph in (seen, reversed_graph)
        )
        parity = (-1.0) ** torch.arange(forward.shape[1], dtype=forward.dtype, device=forward.device)
        coefficients = 0.5 * (forward + parity[:, None] * backward)
        gain = self.momentum_scale[seen.species.long()][:, None] - 1
        friction = gain * seen.momenta * seen.masses[:, None].sqrt() / self.stride
        return torch.cat([coefficients[:, :1] + friction[:, None], coefficients[:, 1:]], 1), last

    def predict(self, graph: Graph) -> Prediction:
        """One stride from a graph whose edges reach further than the cutoff by what atoms move in half of it."""
        coefficients, last = self.slow_forces(self.midway(graph))
        steps = self.bonded.steps(self.stride)
        time, mass = self.stride / steps, graph.masses[:, None]
        table = legendre(np.arange(steps + 1) / steps, coefficients.shape[1]).to(coefficients)
        slow, terms = torch.einsum("pt,npx->tnx", table, coefficients), self.bonded.terms(known_bonds(graph))

        def kick(u: Tensor, p: Tensor, step: int) -> Tensor:
            return p + verlet_share(step, steps) * time * (self.bonded.forces(graph, u, terms) + slow[step])

        def drift(u: Tensor, p: Tensor, _: int) -> tuple[Tensor, Tensor]:
            return u + time * p / mass, p

        root = mass.sqrt()
        u, p = kick_drift_kick(torch.zeros_like(graph.momenta), graph.momenta * root, steps, kick, drift)
        return Prediction(root * u, p / root, None, last)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns, as the contract has them."""
        return ("slow_forces", "uncertainty") if bool(self.llpr_scale.any()) else ("slow_forces",)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The contract's inputs, of atoms midway, to its outputs, in the order of :attr:`outputs`."""
        seen = Graph(*inputs)
        coefficients, last = self.slow_forces(seen)
        return (coefficients, self.uncertainty(seen.species, last))[: len(self.outputs)]
