"""What a direct model's network gets and what it gives: the protocols of backbones and priors."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from flashmd_train.graph.nef import Graph


class Prior(Protocol):
    """What is known of a stride before anything is learned: bonds, or nothing but Newton's second law.

    ``bound`` is what :meth:`bind` found in a graph, such as its molecules.
    """

    def bind(self, graph: Graph) -> Any:
        """Find what the other methods need in a graph."""

    def intra_mask(self, bound: Any) -> Tensor:
        """True on edges inside a molecule [N, K], whose forces are known."""

    def partner_vectors(self, bound: Any, velocity: Tensor) -> Tensor:
        """Bond vectors (Å) and their rates (in the unit of ``velocity`` [N, 3]) as features [N, 3, 4]."""

    def known_forces(self, bound: Any, displacement: Tensor) -> Tensor:
        """Known forces [N, 3] (eV/Å) after ``displacement`` [N, 3] (Å)."""

    def flow(
        self, graph: Graph, bound: Any, coefficients: Tensor, fractions: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        """Displacements (Å) and velocities (√(eV/u)) [N, T, 3] at T fractions of the stride.

        ``coefficients`` [N, P, 3] (eV/Å) are the slow force's in Legendre polynomials of time.
        """


class Backbone(Protocol):
    """A network that predicts the slow force of a stride.

    Attributes:
        equivariant: if predictions turn with the input, whatever the weights.
        reach: cutoffs beyond which no atom changes a prediction.
        looks_ahead: if it evaluates the prior inside the stride, at its own, coarser inner time step.
        features: length F of the invariants.
        last_features: number V of the vectors (or numbers) that the last layer is linear in.
    """

    equivariant: bool
    reach: int
    looks_ahead: bool
    features: int
    last_features: int

    def __call__(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Legendre coefficients of the slow force, invariants, and what the last layer is linear in.

        [N, P, 3] in eV/Å, [N, F], and [N, 3, V], or [N, 1, V] where the last layer takes plain numbers.
        """
