"""γ-Li₃PS₄; CHGNet without its stresses and magnetic moments, which take most of its time; a model fitted to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.spacegroup import crystal

from flashmd_rs import Model, neighbor_list

# Pmn2₁; Homma, Yonemura, Kobayashi, Nagao, Hirayama and Kanno, Solid State Ionics 182, 53 (2011). The lithium sites and
# the sulphur above phosphorus are rounded: the start structure is relaxed anyway.
CELL_A = (7.708, 6.535, 6.137)
SITES = {
    "Li": [(0.244, 0.328, 0.994), (0.0, 0.151, 0.489)],
    "P": [(0.0, 0.818, 0.0)],
    "S": [(0.219, 0.668, 0.896), (0.0, 0.114, 0.887), (0.0, 0.785, 0.329)],
}


def structure(repeat: tuple[int, int, int] = (1, 2, 2)) -> Atoms:
    """A supercell of 16 atoms times ``repeat``."""
    symbols = [symbol for symbol, sites in SITES.items() for _ in sites]
    basis = [site for sites in SITES.values() for site in sites]
    atoms = crystal(symbols, basis, spacegroup=31, cellpar=[*CELL_A, 90, 90, 90]) * tuple(repeat)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


class EnergyAndForces(Calculator):
    """CHGNet 0.3.0: energies and forces alone."""

    implemented_properties = ("energy", "forces")

    def __init__(self) -> None:
        super().__init__()
        import torch
        from chgnet.model import CHGNet

        torch.set_num_threads(1)
        self._model = CHGNet.load(use_device="cpu", verbose=False).requires_grad_(False)

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        """Energy (eV) and forces (eV/Å)."""
        from pymatgen.core import Structure

        super().calculate(atoms, properties, system_changes)
        structure = Structure(
            atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
        )
        predicted = self._model.predict_graph(self._model.graph_converter(structure), task="ef")
        self.results = {
            "energy": float(predicted["e"]) * len(atoms),
            "forces": np.asarray(predicted["f"], dtype=float),
        }


class Walled(Calculator):
    """An energy model, and Σ ε (r₀/r)¹² over pairs, r₀ being the closest its training data came.

    Nothing keeps atoms apart in a model fitted to frames where they are: lithium falls into lithium in some picoseconds
    at 1000 K.
    """

    implemented_properties = ("energy", "forces")
    WALL_EV = 0.1
    POWER = 12

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model.calculator()
        closest = model.metadata["domain"]["smallest_pair_distance_A"]
        self._closest = {tuple(sorted(pair.split("-"))): r for pair, r in closest.items()}

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        """Energy (eV) and forces (eV/Å)."""
        super().calculate(atoms, properties, system_changes)
        copy = atoms.copy()
        copy.calc = self._model
        energy, forces = copy.get_potential_energy(), copy.get_forces().copy()
        # Beyond twice r₀ a pair has 2e-5 eV.
        i, j, d, vectors = neighbor_list("ijdD", atoms, 2 * max(self._closest.values()))
        symbols = np.array(atoms.get_chemical_symbols())
        closest = np.array([self._closest[tuple(sorted(pair))] for pair in zip(symbols[i], symbols[j], strict=True)])
        wall = np.where(d < 2 * closest, self.WALL_EV * (closest / d) ** self.POWER, 0.0)
        # Each pair is in the list twice.
        np.add.at(forces, i, -(self.POWER * wall / d**2)[:, None] * vectors)
        self.results = {"energy": energy + 0.5 * wall.sum(), "forces": forces}


def fitted(model: str) -> Calculator:
    """The energy model of an ONNX file, by default one beside this, on one thread, with a wall."""
    return Walled(Model(Path(__file__).parent / model, device="cpu", threads=1))
