"""γ-Li₃PS₄; CHGNet without its stresses and magnetic moments, which take most of its time; a model fitted to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.spacegroup import crystal

from flashmd_rs import Model

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


def fitted(model: str) -> Calculator:
    """The energy model of an ONNX file, by default one beside this, on one thread."""
    return Model(Path(__file__).parent / model, device="cpu", threads=1).calculator()
