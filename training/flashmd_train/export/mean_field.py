"""Pressures of an energy model against its reference's, and the mean field that closes the gap.

======  =========================================================================  ============
A_ab    coefficient of a pair of species, in the energy Σ_ab A_ab N_a N_b/V          eV·Å³
B_abc   coefficient of a triple, in the energy Σ_abc B_abc N_a N_b N_c/V²            eV·Å⁶
ΔP      pressure of the reference less that of the model, of one frame              eV/Å³
N_a, V  atoms of species a, volume of the frame                                     Å³
======  =========================================================================  ============

A model learns from forces, and forces leave open what depends on the volume alone: above all the attraction beyond its
cutoff, which is the same in all directions. A pressure shows it. A and B are the least-squares solution of

    ΔP = Σ_ab A_ab N_a N_b/V² + 2 Σ_abc B_abc N_a N_b N_c/V³

over frames of all densities and compositions, the smallest one where the data cannot tell pairs apart; B needs three
densities.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
from ase import Atoms, units
from numpy.typing import NDArray

from flashmd_rs import Model
from flashmd_rs.reference.base import virial_pressure
from flashmd_rs.reference.potentials import Potential
from flashmd_train.data.dataset import Dataset
from flashmd_train.export.references import reference_of
from flashmd_train.model_files.contract import write_model

# A mean gap of the pressures of a file below so many of its standard errors is no gap.
SIGNIFICANCE = 3.0
# Densities from which triples can be told from pairs.
DENSITIES_FOR_TRIPLES = 3
# Frames of all files together; each asks the potential for two energies.
FRAMES = 200


class ReferenceFrame(NamedTuple):
    """A frame with its pressure.

    Attributes:
        file: number of its file.
        atoms: positions and cell.
        molecules: index of each atom's molecule [A].
        ideal_bar: kinetic part of the pressure at the temperature of its bath, bar.
        pressure_bar: of the reference, kinetic part included, bar.
    """

    file: int
    atoms: Atoms
    molecules: NDArray[np.int_]
    ideal_bar: float
    pressure_bar: float


def add_mean_field(
    graph: onnx.ModelProto,
    metadata: dict,
    data: Dataset,
    picks: NDArray[np.int_],
    potential: Potential,
    most: int = FRAMES,
) -> dict:
    """Metadata of an energy model with the mean field it lacks, if any, and its pressures beside the reference's.

    Args:
        graph: of the model.
        metadata: so far.
        data: files of equilibrium; those that are not periodic in all directions have no pressure and are left out.
        picks: (file, segment) [n, 2] of the segments whose first and last frames are compared.
        potential: of the data.
        most: frames that are compared, evenly over the segments.
    """
    frames = reference_frames(data, picks, potential, most)
    if not frames:
        return metadata
    with TemporaryDirectory() as folder:
        path = Path(folder) / "energy.onnx"

        def pressures(metadata: dict) -> NDArray[np.float64]:
            write_model(graph, metadata, path)
            model = Model(path, device="cpu", threads=1)
            return np.array([model_pressure(model, frame) for frame in frames])

        bare = {key: value for key, value in metadata.items() if key != "mean_field"}
        terms = fit_mean_field(frames, pressures(bare), data.symbols)
        full = bare | (dict(contract=2, mean_field=terms) if terms else {})
        table = compare(frames, pressures(full), data)
    figures = metadata["validation"] | dict(pressures=table)
    if terms:
        # Of the network alone, whose zero a mean field moves.
        figures.pop("energy_bias_meV_per_atom", None)
    return full | dict(validation=figures)


def reference_frames(data: Dataset, picks: NDArray[np.int_], potential: Potential, most: int) -> list[ReferenceFrame]:
    """The first and last frames of at most ``most``/2 of the segments ``picks`` [n, 2], with their pressures."""
    periodic = np.array([file.periodic.all() for file in data.files])
    picks = picks[periodic[picks[:, 0]]]
    picks = picks[np.argsort(picks[:, 0], kind="stable")]
    few = picks[np.unique(np.linspace(0, len(picks) - 1, max(1, most // 2)).astype(int))] if len(picks) else picks
    frames = []
    for f in np.unique(few[:, 0]):
        file, reference = data.files[f], reference_of(data.files[f], potential)
        for s, k in ((s, k) for s in few[few[:, 0] == f, 1] for k in (0, -1)):
            q = file.positions[s, k].astype(float)
            atoms = Atoms(file.numbers, q, cell=file.cell, pbc=True, masses=file.masses)
            energy = (reference.molecules.max() + 1) * units.kB * float(file.temperature_K[s])
            ideal_bar = energy / atoms.get_volume() / units.bar
            virial_bar = virial_pressure(reference.energy, q, file.cell, file.masses, reference.molecules)
            frames.append(ReferenceFrame(int(f), atoms, reference.molecules, ideal_bar, ideal_bar + virial_bar))
    return frames


def model_pressure(model: Model, frame: ReferenceFrame) -> float:
    """Pressure of a model, kinetic part included, bar: from the same energies as the reference's."""
    atoms = frame.atoms.copy()

    def energy(positions: NDArray[np.float64], cell: NDArray[np.float64]) -> float:
        atoms.set_cell(cell)
        atoms.positions[:] = positions
        return model.energy(atoms)

    q, cell, masses = frame.atoms.positions, frame.atoms.cell.array, frame.atoms.get_masses()
    return frame.ideal_bar + virial_pressure(energy, q, cell, masses, frame.molecules)


def fit_mean_field(
    frames: list[ReferenceFrame], pressures_bar: NDArray[np.float64], symbols: tuple[str, ...]
) -> dict | None:
    """The metadata entry ``mean_field``; None where the model's pressures agree within their errors."""
    gaps = np.array([frame.pressure_bar for frame in frames]) - pressures_bar
    files = np.array([frame.file for frame in frames])
    if not any(_differs(gaps[files == file]) for file in set(files)):
        return None
    densities = np.array([[f.atoms.symbols.count(s) / f.atoms.get_volume() for s in symbols] for f in frames])
    pairs = list(combinations_with_replacement(range(len(symbols)), 2))
    several = len({f"{density.sum():.3g}" for density in densities}) >= DENSITIES_FOR_TRIPLES
    triples = list(combinations_with_replacement(range(len(symbols)), 3)) if several else []
    columns = [densities[:, pair].prod(1) for pair in pairs] + [2 * densities[:, triple].prod(1) for triple in triples]
    solution = np.linalg.lstsq(np.stack(columns, 1), gaps * units.bar, rcond=1e-6)[0]

    def entries(terms: list[tuple[int, ...]], values: NDArray[np.float64], name: str) -> list[dict]:
        return [{"species": [symbols[k] for k in t], name: float(f"{v:.6g}")} for t, v in zip(terms, values)]

    return dict(
        pairs=entries(pairs, solution[: len(pairs)], "coefficient_eV_A3"),
        triples=entries(triples, solution[len(pairs) :], "coefficient_eV_A6"),
    )


def _differs(gaps: NDArray[np.float64]) -> bool:
    """True if the mean of gaps from zero is beyond chance."""
    return len(gaps) > 1 and abs(gaps.mean()) > SIGNIFICANCE * gaps.std(ddof=1) / len(gaps) ** 0.5


def compare(frames: list[ReferenceFrame], pressures_bar: NDArray[np.float64], data: Dataset) -> list[dict]:
    """The entry ``pressures`` of ``validation``: mean pressures by file, and the standard error of their difference."""
    rows = []
    for f, file in enumerate(data.files):
        own = np.array([frame.file == f for frame in frames])
        if own.sum() < 2:
            continue
        wanted, got = np.array([frame.pressure_bar for frame in frames])[own], pressures_bar[own]
        rows.append(
            dict(
                density_g_per_cm3=round(file.density_g_per_cm3, 4),
                reference_bar=round(float(wanted.mean()), 1),
                model_bar=round(float(got.mean()), 1),
                standard_error_bar=round(float((got - wanted).std(ddof=1) / own.sum() ** 0.5), 1),
                frames=int(own.sum()),
            )
        )
    return rows
