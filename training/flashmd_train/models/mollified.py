"""Mollified impulse: where kicks are evaluated, so that they do not excite bonds.

Izaguirre, Reich & Skeel, J. Chem. Phys. 110, 9853 (1999), equilibrium version: the potential is evaluated at A(q),
where every bond has its rest length, and forces are −∂W(A(q))/∂q, by the chain rule through A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd_train.graph.distances import norm
from flashmd_train.graph.nef import Graph
from flashmd_train.models.molecules import Molecules


def map_positions(graph: Graph, molecules: Molecules, displacement: Tensor, length: Tensor) -> Tensor:
    """Displacements [N, 3] (Å) to A(q), where bonds have the length ``length`` (Å) along themselves.

    The centre of mass of each molecule stays.

    Args:
        graph: of the masses.
        molecules: of the graph.
        displacement: of the atoms since then [N, 3], Å.
        length: of the bonds at rest.
    """
    displaced = molecules.collect(displacement)
    bonds = molecules.bonds + displaced[:, 1:] - displaced[:, :1]
    missing = (length / norm(bonds) - 1) * bonds * molecules.bonded
    masses = molecules.collect(graph.masses[:, None])
    shift = -(masses[:, 1:] * missing).sum(1) / masses.sum(1)
    return displacement + shift + torch.where(molecules.oxygen, 0.0, missing[:, 0])
