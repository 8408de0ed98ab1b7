"""References of the atoms of a data file."""

from __future__ import annotations

from ase import Atoms, units

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.system import default_timestep_fs
from flashmd_train.data.segments import Segments

# Difference of the energies of two frames that may depart from the file's, as a share of k_B T per atom.
LARGEST_DEPARTURE = 0.02


def reference_of(file: Segments, potential: Potential) -> Reference:
    """The reference of a file's atoms, in their cell.

    Two energies are asked for: from the first frame of the file to the last they must change as the file's do, whatever
    their zero.

    Raises:
        ValueError: the potential does not know these atoms, or is not that of the file.
    """
    first, last = (file.positions[s, k].astype(float) for s, k in ((0, 0), (len(file.temperature_K) - 1, -1)))
    atoms = Atoms(file.numbers, first, cell=file.cell, pbc=file.periodic, masses=file.masses)
    reference = potential.reference([atoms], default_timestep_fs(file.masses))
    if file.energy is None:
        return reference
    change, wanted = reference.energy(last) - reference.energy(first), file.energy[-1, -1] - file.energy[0, 0]
    if not abs(change - wanted) < LARGEST_DEPARTURE * len(atoms) * units.kB * float(file.temperature_K.max()):
        raise ValueError(
            f"from the first to the last frame of {atoms.get_chemical_formula()} the energy changes by {change:.4g} eV "
            f"by {potential.description}, by {wanted:.4g} eV in the data; wanted the potential of the data"
        )
    return reference
