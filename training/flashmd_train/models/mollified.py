"""Mollified impulse: where kicks are evaluated, so that they do not excite bonds.

Izaguirre, Reich & Skeel, J. Chem. Phys. 110, 9853 (1999), equilibrium version: the potential is evaluated at A(q),
where every bond has its rest length, and forces are −∂W(A(q))/∂q, by the chain rule through A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd_train.graph.distances import norm
from flashmd_train.graph.nef import Graph
from flashmd_train.models.bonded_forces import known_bonds
from flashmd_train.models.molecules import Molecules


def leaves_at_rest(graph: Graph, displacement: Tensor, length: Tensor) -> Tensor:
    """Displacements [N, 3] (Å) to A(q) of any molecule: atoms with one bond only are put at its rest length, along it.

    The centre of mass of an atom and all that are bonded to it alone stays. Of two atoms that only have each other the
    first is the centre.

    Args:
        graph: with its bonds.
        displacement: of the atoms since then [N, 3], Å.
        length: of the bonds at rest [B], Å.
    """
    atoms, masses = known_bonds(graph), graph.masses
    first, second = atoms.pairs.unbind(1)
    degree = torch.bincount(atoms.pairs.flatten(), minlength=len(masses))
    outwards = degree[second] == 1
    is_leaf = outwards | (degree[first] == 1)
    leaf, center = torch.where(outwards, second, first)[is_leaf], torch.where(outwards, first, second)[is_leaf]
    bonds = (atoms.moved(displacement) * torch.where(outwards, 1.0, -1.0)[:, None])[is_leaf]
    missing = (length[is_leaf, None] / norm(bonds) - 1) * bonds
    total = masses.index_add(0, center, masses[leaf])
    share = (masses[leaf] / total[center])[:, None]
    shift = torch.zeros_like(displacement).index_add(0, center, -share * missing)
    return (displacement + shift).index_add(0, leaf, missing + shift[center])


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
