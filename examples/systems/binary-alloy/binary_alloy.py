"""Binary alloys of two metals that EMT knows, drawn at random: what `fit` is tried on without preparation."""

import numpy as np
from ase import Atoms
from ase.build import bulk

# Lattice constants of the pure metals, Å.
METALS = {"Al": 4.00, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.49, "Pd": 3.88, "Pt": 3.92}


def alloy(seed: int = 8) -> Atoms:
    """108 atoms of a face-centred solid solution, from a quarter to three quarters of one metal.

    Its lattice constant is Vegard's. The temperature that goes with it, 400 to 900 K, is in ``info["temperature_K"]``.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.choice(sorted(METALS), 2, replace=False)
    share = rng.uniform(0.25, 0.75)
    temperature_K = 10 * round(rng.uniform(400, 900) / 10)
    atoms = bulk(first, "fcc", a=share * METALS[first] + (1 - share) * METALS[second], cubic=True) * (3, 3, 3)
    number = round(share * len(atoms))
    symbols = np.array([first] * number + [second] * (len(atoms) - number))
    rng.shuffle(symbols)
    atoms.set_chemical_symbols([str(symbol) for symbol in symbols])
    atoms.rattle(0.05, seed=seed)
    atoms.info["temperature_K"] = temperature_K
    return atoms
