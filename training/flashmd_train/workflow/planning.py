"""The plan of a run from a short look at each of its systems, by the rules of :mod:`.plan`."""

from __future__ import annotations

from collections.abc import Sequence

from flashmd_rs.reference.system import System
from flashmd_train.data.topology import connect, covalent_reaches
from flashmd_train.export.calibration import ENERGIES
from flashmd_train.workflow import plan as rules
from flashmd_train.workflow.costs import Probe
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.plan import Plan

# Bytes of a frame per atom: positions, momenta and forces in single precision.
BYTES_PER_ATOM = 36
# Energies of the reference that an export gets along with, whatever they cost.
FEWEST_ENERGIES = 20


def make_plan(systems: Sequence[System], probes: Sequence[Probe], options: FitOptions, workers: int) -> Plan:
    """The plan of a run.

    Args:
        systems: of the run.
        probes: what was seen of each.
        options: of the run.
        workers: processes.

    Raises:
        ValueError: the time is too short for the fewest segments, or no time step divides the spacing.
    """
    period = min(probe.fastest_period_fs for probe in probes)
    timestep = min(probe.timestep_fs for probe in probes)
    molecules = _are_molecules(systems, period, options)
    periods = rules.PERIODS_PER_STRIDE
    if molecules:
        periods = rules.PERIODS_DRIVEN if options.kind == "driven" else rules.PERIODS_WITH_BONDS
    stride = options.stride_fs or rules.choose_stride(period, timestep, periods)
    timestep = rules.matching_timestep(timestep, stride / rules.FRAMES_PER_STRIDE)
    temperatures = rules.data_temperatures(options.temperature_K)
    minutes = {name: 60 * share * options.hours for name, share in rules.SHARES.items()}
    per_stride = stride / timestep
    before = 1000 * options.equilibration_ps / timestep
    chains = [len(temperatures) * len(system.structures) for system in systems]
    seconds = 60 * minutes["data"] / len(probes)
    steps = [
        rules.steps_behind_equilibration(seconds, count, workers, probe.seconds_per_step, before)
        for probe, count in zip(probes, chains)
    ]
    segments = tuple(rules.number_of_segments(n, per_stride) for n in steps)
    slowest = max(probe.seconds_per_step for probe in probes)
    if min(segments) < rules.FEWEST_SEGMENTS:
        fewest = 2 * rules.STRIDES_PER_SEGMENT * rules.FEWEST_SEGMENTS * per_stride
        seconds = len(probes) * max(
            (count * before + fewest) * probe.seconds_per_step / min(count, workers)
            for probe, count in zip(probes, chains)
        )
        raise ValueError(
            f"{options.hours:g} h are too short: a step of the reference takes {1000 * slowest:.1f} ms, and "
            f"{rules.FEWEST_SEGMENTS} segments behind {options.equilibration_ps:g} ps of equilibration at each of "
            f"{len(temperatures)} temperatures want {1.05 * seconds / rules.SHARES['data'] / 3600:.2g} h on {workers} "
            "processors; give as much, or a shorter equilibration_ps"
        )
    frames = rules.FRAMES_PER_STRIDE * rules.STRIDES_PER_SEGMENT + 1
    return Plan(
        temperatures_K=temperatures,
        timestep_fs=timestep,
        fastest_period_fs=period,
        stride_fs=stride,
        segments=segments,
        bath_fs=tuple(rules.length_of_bath(n, per_stride, m, stride) for n, m in zip(steps, segments)),
        equilibration_ps=options.equilibration_ps,
        reference_ms_per_step=tuple(1000 * probe.seconds_per_step for probe in probes),
        energies=min(ENERGIES, max(FEWEST_ENERGIES, int(60 * minutes["export"] / 2 / slowest))),
        data_minutes=minutes["data"],
        training_minutes=minutes["training"],
        evaluation_minutes=minutes["evaluation"],
        molecules=molecules,
        data_MB=sum(1e-6 * BYTES_PER_ATOM * n * frames * probe.atoms for n, probe in zip(segments, probes)),
    )


def _are_molecules(systems: Sequence[System], period_fs: float, options: FitOptions) -> bool:
    """If the model shall know bonds and angles.

    Raises:
        ValueError: it is asked to, and there are none.
    """
    knows_bonds = options.kind in ("hybrid", "driven")
    if options.kind != "auto" and not knows_bonds:
        return False
    structures = [atoms for system in systems for atoms in system.structures]
    bonds = 0
    try:
        for atoms in structures:
            reaches = covalent_reaches(atoms.get_chemical_symbols())
            bonds += len(connect(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, reaches).pairs)
    except ValueError:
        bonds = 0  # bonds across half of the cell: a crystal
    if knows_bonds and not bonds:
        raise ValueError(
            f"no atoms are covalently bonded, so that a {options.kind} model has no bonds to know; leave kind out"
        )
    return knows_bonds or rules.are_molecules(period_fs, bonds)
