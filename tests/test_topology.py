"""Which atoms are bonded and what surrounds them, as the trainer asks the core."""

import numpy as np
import pytest
from ase.build import molecule

from flashmd_rs import InputError, _core

REACHES = [("C", "H", 1.3), ("C", "C", 1.8), ("C", "O", 1.75), ("O", "H", 1.2)]


def bonded_pairs(atoms, reaches=REACHES):
    numbers = atoms.numbers.astype(np.int64)
    return _core.bonded_pairs(numbers, atoms.positions, atoms.cell.array, atoms.pbc, reaches)


def environments(atoms, pairs):
    return _core.environments(atoms.numbers.astype(np.int64), pairs)


def test_environments_of_ethanol_and_benzene():
    ethanol = molecule("CH3CH2OH")
    pairs = bonded_pairs(ethanol)
    assert len(pairs) == 8
    assert sorted(environments(ethanol, pairs)) == sorted(["C[C,H,H,H]", "C[C,H,H,O]", "O[C,H]", "H[O]", *["H[C]"] * 5])
    benzene = molecule("C6H6")
    assert set(environments(benzene, bonded_pairs(benzene))) == {"C[C,C,H] ring", "H[C]"}


def test_bonds_across_a_face_are_the_same():
    atoms = molecule("CH3CH2OH", vacuum=4.0, pbc=True)
    whole = bonded_pairs(atoms)
    atoms.positions += 0.5 * atoms.cell.lengths()
    atoms.wrap()
    assert np.array_equal(bonded_pairs(atoms), whole)


def test_no_reach_is_no_bond():
    assert bonded_pairs(molecule("CH4"), []).shape == (0, 2)


def test_what_is_wrong_is_said():
    atoms = molecule("CH4")
    atoms.set_cell([1.5, 20, 20])
    atoms.pbc = True
    with pytest.raises(InputError, match="across more than half of the cell"):
        bonded_pairs(atoms)
    for pairs in ([[0, 5]], [[-1, 0]], [[0, 1, 2]]):
        with pytest.raises(InputError, match="pairs do not name two of the atoms"):
            environments(molecule("CH4"), np.array(pairs))
