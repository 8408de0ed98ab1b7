"""The page of an evaluation: verdicts, tables and pictures from its results."""

from __future__ import annotations

from pathlib import Path

from flashmd_rs.evaluation.claims import Claim
from flashmd_rs.evaluation.measures.momenta import draw_momenta, pool
from flashmd_rs.evaluation.page.bath_tables import bath_table
from flashmd_rs.evaluation.page.common_tables import (
    claims_table,
    cost_table,
    momenta_table,
    motion_table,
    structure_table,
)
from flashmd_rs.evaluation.page.nve_tables import energy_table, equipartition_table, starts_table, stride_table
from flashmd_rs.evaluation.page.pictures import draw_dihedrals, draw_energy, draw_maps, draw_motion, draw_pairs
from flashmd_rs.evaluation.page.tables import paragraph
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import Results, Runs
from flashmd_rs.pages import write_html


def write_page(
    results: Results, protocol: EvaluationProtocol, claims: list[Claim], folder: Path, command: str | None
) -> Path:
    """Write ``evaluation.md`` and its pictures, and ``evaluation.html``, which holds both.

    Args:
        results: runs by integrator and ensemble.
        protocol: what the integrators went through.
        claims: the verdicts.
        folder: folder of the page.
        command: the command that makes the page, if it is known.

    Returns:
        The path of the page.
    """
    ensembles = {
        ensemble: {text: runs[ensemble] for text, runs in results.items() if runs[ensemble]}
        for ensemble in protocol.ensembles
    }
    ensembles = {ensemble: runs for ensemble, runs in ensembles.items() if runs}
    lines = [
        f"# {protocol.title}",
        "",
        *([f"    {command}", ""] if command else []),
        _introduction(protocol, ensembles),
    ]
    if claims:
        lines += ["", "## Claims", "", *claims_table(claims, results)]
    lines += ["", "## Cost", "", *cost_table(ensembles)]
    for ensemble, runs in ensembles.items():
        lines += ["", f"## {heading(ensemble, protocol)}", ""]
        lines += energy_sections(runs, folder) if ensemble == "nve" else bath_table(runs, ensemble)
        lines += ["", *structure_table(runs)]
        if ensemble != "npt":
            lines += ["", *motion_table(runs)]
        lines += ["", *_pictures(ensemble, runs, folder)]
        if ensemble == "nve":
            lines += starts_table(runs)
    lines += ["", "## Momenta", "", *momenta_table({heading(e, protocol): runs for e, runs in ensembles.items()})]
    lines += ["", "![Distributions of momenta](momenta.png)"]
    pooled = {
        heading(ensemble, protocol): {runs[0]["name"]: pool(runs) for runs in integrators.values()}
        for ensemble, integrators in ensembles.items()
    }
    draw_momenta(pooled, protocol.temperature_K, folder / "momenta.png")
    path = folder / "evaluation.md"
    path.write_text("\n".join(lines) + "\n")
    write_html("\n".join(lines), path.with_suffix(".html"), folder)
    return path


def heading(ensemble: str, protocol: EvaluationProtocol) -> str:
    """The ensemble in words."""
    bath = f"Langevin, {protocol.time_constant_ps:g} ps, {protocol.temperature_K:g} K"
    names = {"nve": "NVE", "nvt": bath, "npt": f"{bath}, {protocol.pressure_bar:g} bar"}
    return f"{names[ensemble]}, {protocol.time_ps(ensemble):g} ps"


def energy_sections(nve: Runs, folder: Path) -> list[str]:
    """Tables and picture of the energy."""
    draw_energy(nve, folder / "energy.png")
    picture = "![Total energy and temperature](energy.png)"
    return [*energy_table(nve), "", *equipartition_table(nve), *stride_table(nve), "", picture]


def _pictures(ensemble: str, runs: Runs, folder: Path) -> list[str]:
    """Pictures of structure and motion of one ensemble."""
    lines = []
    for name, draw, words in (
        ("pairs", draw_pairs, "Distributions of pairs"),
        ("motion", draw_motion, "Mean-square displacements and vibrations"),
        ("dihedrals", draw_dihedrals, "Dihedral angles"),
        ("maps", draw_maps, "Free energies by two dihedral angles"),
    ):
        if draw(runs, folder / f"{name}-{ensemble}.png"):
            lines.append(f"![{words}]({name}-{ensemble}.png)")
    return lines


def _introduction(protocol: EvaluationProtocol, ensembles: dict[str, Runs]) -> str:
    """What the page shows and how its errors were found."""
    first = next(iter(next(iter(ensembles.values())).values()))[0]
    return paragraph(
        f"{protocol.system.formula}, {first['atoms']} atoms, {protocol.temperature_K:g} K, {protocol.seeds} start(s).",
        f"Reference: {protocol.system.potential.description}; energies are its own. Models run without rescaling but",
        "where a row says so. ± are standard errors: of one run from the integrated correlation time of its",
        "temperatures (Madras and Sokal 1988) or from blocks of it, over starts also from their scatter, whichever is",
        "larger. T of NVE are means of the second half of a run, those of baths leave out five relaxation times.",
    )
