"""``flashmd-rs evaluate``: integrators side by side, and a page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions


@with_system_flags("evaluate")
def evaluate(
    integrators: Annotated[
        list[str],
        typer.Argument(
            help="What is compared: a model file or bundled name; MODEL:POLICY with energy rescaling (global, species "
            "or molecule) or with a Metropolis test (metropolis); verlet:FS, by the reference; verlet:FS@ENERGY, by an "
            "energy model; respa:FS (bonds every 0.5 fs). The first verlet:FS is what others are compared with."
        ),
    ],
    system: SystemOptions,
    folder: Annotated[Path, typer.Option(help="Folder of the runs and the page; a rerun continues.")] = Path(
        "evaluation"
    ),
    name: Annotated[str | None, typer.Option(help="Name of the system.", show_default="its formula")] = None,
    temperature_k: Annotated[float, typer.Option(help="Temperature of the starts and of the baths, K.")] = 300.0,
    nve_ps: Annotated[float, typer.Option(help="Length of a run without a bath, ps; 0 for none.")] = 20.0,
    nvt_ps: Annotated[float, typer.Option(help="Length of a run in a Langevin bath, ps; 0 for none.")] = 0.0,
    npt_ps: Annotated[
        float, typer.Option(help="Length of a run in that bath with a Monte Carlo barostat, ps; 0 for none.")
    ] = 0.0,
    reference_ps: Annotated[
        float | None,
        typer.Option(help="Longest run of what calls the reference, ps.", show_default="the others' length"),
    ] = None,
    pressure_bar: Annotated[float, typer.Option(help="Pressure, bar.")] = 1.0,
    time_constant_ps: Annotated[float, typer.Option(help="Relaxation time of momenta in the bath, ps.")] = 1.0,
    seeds: Annotated[int, typer.Option(help="Runs from different starts.")] = 1,
    equilibration_ps: Annotated[float, typer.Option(help="In the reference's own bath before each start, ps.")] = 15.0,
    anneal_k: Annotated[float, typer.Option(help="The first third of that is at least this hot, K.")] = 0.0,
    dihedral: Annotated[
        list[str] | None, typer.Option(help="Four atoms a,b,c,d, from 0, whose dihedral angle is shown; repeat.")
    ] = None,
    floor_temperature_k: Annotated[
        float | None, typer.Option(help="Claim: temperatures in the bath, all and by species, within so many K.")
    ] = None,
    floor_rdf: Annotated[
        float | None, typer.Option(help="Claim: g(r) within this share of its highest peak, or within noise.")
    ] = None,
    floor_diffusion: Annotated[
        float | None, typer.Option(help="Claim: diffusion coefficients within this share, or within noise.")
    ] = None,
    floor_dihedral: Annotated[
        float | None,
        typer.Option(
            help="Claim: Jensen–Shannon divergences of dihedral angles, and of successive ones together, from the "
            "reference's within so many bits, or within noise."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
) -> None:
    """Compare models and integrators with a reference: energy, temperatures, structure, motion, cost, and verdicts."""
    from flashmd_rs.errors import InputError
    from flashmd_rs.evaluation import evaluate as evaluation
    from flashmd_rs.evaluation.claims import Floors
    from flashmd_rs.evaluation.protocol import EvaluationProtocol

    try:
        protocol = EvaluationProtocol(
            system=system.load(),
            name=name,
            temperature_K=temperature_k,
            nve_ps=nve_ps,
            nvt_ps=nvt_ps,
            npt_ps=npt_ps,
            reference_ps=reference_ps,
            pressure_bar=pressure_bar,
            time_constant_ps=time_constant_ps,
            seeds=seeds,
            equilibration_ps=equilibration_ps,
            anneal_K=anneal_k,
            dihedrals=tuple(map(_four_atoms, dihedral or ())),
        )
        floors = Floors(floor_temperature_k, floor_rdf, floor_diffusion, floor_dihedral)
        command = shlex.join(["flashmd-rs", *sys.argv[1:]])
        typer.echo(evaluation.evaluate(integrators, protocol, folder, workers, floors, command))
    except ValueError as error:
        raise InputError(str(error)) from None


def _four_atoms(text: str) -> tuple[int, int, int, int]:
    try:
        a, b, c, d = map(int, text.split(","))
    except ValueError:
        raise ValueError(f"got --dihedral {text!r}, wanted four atoms a,b,c,d") from None
    return a, b, c, d
