"""Direct models: backbone, prior and heads assembled into the map of one stride."""

from __future__ import annotations

from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from flashmd_train.backbones import BACKBONES
from flashmd_train.backbones.pet_forces import PETEnds
from flashmd_train.graph.nef import Graph
from flashmd_train.models.bonded import check_bonded_species
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.prior import BondedFlow, FreeFlight, NoPrior
from flashmd_train.models.stride import POSITION_TIME, THERMAL_MOMENTUM, Prediction

# exp of it is where the scale of the noise starts, in units of THERMAL_MOMENTUM and POSITION_TIME.
LOG_NOISE = -3.0


def check_options(config: DirectConfig) -> None:
    """Refuse options that the backbone does not have; those of PET are checked with their values.

    Raises:
        ValueError: there are some.
    """
    _, _, _, *parameters = signature(BACKBONES[config.backbone]).parameters.values()
    known = [parameter.name for parameter in parameters]
    takes_more = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    if not takes_more and (unknown := config.options.keys() - known):
        names = ", ".join(sorted(unknown))
        raise ValueError(f"got model.options {names} for {config.backbone}, wanted some of {', '.join(known)}")


class Direct(nn.Module):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride.

    The backbone predicts the slow force of the stride, the prior integrates it together with what is known.

    Args:
        config: everything that fixes the model.

    Attributes:
        momentum_scale: factor on the predicted momenta by species [S]; set by the calibration after training.
        llpr_factor: R of the last-layer uncertainty σ ∝ |R f| by species [S, V, V]; set after training.
        llpr_scale: α by species and output [S, 2], dimensionless times the unit of the output; zero until it is set.

    Raises:
        ValueError: the prior does not know the species, or the backbone its options.
    """

    def __init__(self, config: DirectConfig) -> None:
        super().__init__()
        self.config = config
        kinds, backbone = len(config.species), BACKBONES[config.backbone]
        if config.prior == "bonded":
            check_bonded_species(config.species)
            self.prior: nn.Module = BondedFlow(config.stride_fs, config.inner_timestep_fs)
            self.lookahead = self.prior
            if backbone.looks_ahead:
                self.lookahead = BondedFlow(config.stride_fs, config.lookahead_timestep_fs)
        elif config.prior == "free":
            self.lookahead = self.prior = FreeFlight(config.stride_fs, config.legendre_orders)
        else:
            self.lookahead = self.prior = NoPrior(kinds, config.momenta_as_difference)
            backbone = PETEnds
        check_options(config)
        self.backbone = backbone(kinds, config.cutoff_A, orders=config.coefficients, **config.options)
        self.noise = nn.Linear(self.backbone.features + kinds, 3) if config.noise else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)
            with torch.no_grad():
                self.noise.bias.copy_(torch.tensor([LOG_NOISE, 0.0, LOG_NOISE]))
        self.register_buffer("momentum_scale", torch.ones(kinds))
        last = self.backbone.last_features
        self.register_buffer("llpr_factor", torch.zeros(kinds, last, last))
        self.register_buffer("llpr_scale", torch.zeros(kinds, 2))

    def inside(self, edge_vectors: Tensor, mask: Tensor) -> Tensor:
        """True on edges shorter than the cutoff [N, K]."""
        return mask & ((edge_vectors * edge_vectors).sum(-1) < self.config.cutoff_A**2)

    def predict(self, graph: Graph) -> Prediction:
        """One stride; edges beyond the cutoff are left out."""
        graph = graph._replace(mask=self.inside(graph.edge_vectors, graph.mask))
        bound = self.prior.bind(graph)
        coefficients, features, last = self.backbone(graph, self.lookahead, bound)
        u, v = self.prior.flow(graph, bound, coefficients, (1.0,))
        root = graph.masses.sqrt()[:, None]
        scale = self.momentum_scale[graph.species.long()][:, None]
        return Prediction(root * u[:, 0], root * v[:, 0] * scale, self._residual_scale(graph, features), last)

    def _residual_scale(self, graph: Graph, features: Tensor) -> Tensor | None:
        """Cholesky factors of the stochastic noise [N, 3]; see :class:`Prediction`.

        Features are detached: the likelihood of the noise trains its own head and does not move the mean.
        """
        if self.noise is None:
            return None
        one_hot = nn.functional.one_hot(graph.species.long(), len(self.config.species)).to(features.dtype)
        a, b, c = self.noise(torch.cat([features.detach(), one_hot], -1)).unbind(-1)
        scales = (torch.exp(a) * POSITION_TIME, b, torch.exp(c))
        return THERMAL_MOMENTUM * torch.stack(scales, -1)

    def uncertainty(self, species: Tensor, last_features: Tensor) -> Tensor:
        """Standard deviations [N, 2] of a displacement and a momentum component, Å·√u and √eV."""
        factors = self.llpr_factor.unbind()
        squares = torch.stack([(last_features @ factor).square().sum((1, 2)) for factor in factors], -1)
        one_hot = nn.functional.one_hot(species.long(), len(factors)).to(squares.dtype)
        return torch.sqrt((squares * one_hot).sum(-1, keepdim=True)) * self.llpr_scale[species.long()]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns, as the contract has them."""
        names = ["displacement", "momenta_out"]
        if self.noise is not None:
            names.append("residual_scale")
        if bool(self.llpr_scale.any()):
            names.append("uncertainty")
        return tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The contract's inputs, in the order of :class:`Graph`, to its outputs, in the order of :attr:`outputs`."""
        graph = Graph(*inputs)
        stride = self.predict(graph)
        every = {"displacement": stride.displacement, "momenta_out": stride.momenta}
        if self.noise is not None:
            every["residual_scale"] = stride.residual_scale
        if "uncertainty" in self.outputs:
            every["uncertainty"] = self.uncertainty(graph.species, stride.last_features)
        return tuple(every[name] for name in self.outputs)
