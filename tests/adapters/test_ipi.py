"""Strides inside real i-PI simulations."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units

from flashmd_rs import InputError, Simulation

pytest.importorskip("ipi")
from ipi.scripting import InteractiveSimulation
from ipi.utils.depend import dstrip

from flashmd_rs.adapters.ipi import get_npt_stepper, get_nve_stepper, get_nvt_stepper

from conftest import fixture_model, make_crystal

KELVIN = 60.0
THERMOSTAT = '<thermostat mode="langevin"><tau units="femtosecond"> 100 </tau></thermostat>'
BAROSTATS = {
    "isotropic": f'<barostat mode="isotropic"><tau units="femtosecond"> 300 </tau>{THERMOSTAT}</barostat>',
    "flexible": f"""<barostat mode="flexible"><tau units="femtosecond"> 300 </tau>{THERMOSTAT}
        <h0 shape="(3,3)"> [20, 0, 0, 0, 20, 0, 0, 0, 20] </h0></barostat>""",
}
INPUT = """
<simulation verbosity="quiet" safe_stride="1000" floatformat="%.17e" {threading}>
  <output prefix="{prefix}">
    <properties stride="1" filename="out"> [ step, conserved, kinetic_md, volume{{angstrom3}} ] </properties>
    <checkpoint stride="3" filename="chk" overwrite="false"/>
  </output>
  <total_steps> 1000 </total_steps>
  <prng><seed> 31415 </seed></prng>
  <ffdirect name="energy"><pes> custom </pes><pes_path> {pes} </pes_path>
    <parameters> {{ template: {folder}/start.xyz, model: {model} }} </parameters></ffdirect>
  <system>
    <initialize nbeads="{beads}"><file mode="ase"> {folder}/start.xyz </file>
      <velocities mode="thermal" units="kelvin"> {kelvin} </velocities></initialize>
    <forces><force forcefield="energy"/></forces>
    <ensemble><temperature units="kelvin"> {kelvin} </temperature>
      <pressure units="bar"> {bar} </pressure></ensemble>
    <motion mode="dynamics">{fixed}
      <dynamics mode="{mode}"><timestep units="femtosecond"> {stride} </timestep>{inside}</dynamics>
    </motion>
  </system>
</simulation>
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """i-PI writes where it runs."""
    monkeypatch.chdir(tmp_path)
    ase.io.write(tmp_path / "start.xyz", make_crystal(4), format="extxyz")
    return tmp_path


def text(folder, mode="nve", inside="", **changes):
    given = {
        "folder": folder,
        "prefix": "run",
        "pes": Path(__file__).parents[2] / "examples" / "ipi" / "energy_model.py",
        "model": fixture_model("pair_energy"),
        "threading": 'threading="false"',
        "mode": mode,
        "inside": inside,
        "stride": 2.0,
        "beads": 1,
        "kelvin": KELVIN,
        "bar": 0,
        "fixed": "",
    }
    return INPUT.format(**(given | changes))


def ends(simulation):
    motion = simulation.syslist[0].motion
    return [np.array(dstrip(x)) for x in (motion.beads.q[0], motion.beads.p[0], motion.cell.h)]


def structure(simulation):
    """What i-PI holds, in ASE's units, momenta included."""
    q, p, h = ends(simulation)
    bohr, mass = units.Bohr, units._me / units._amu
    atoms = make_crystal(4)
    atoms.set_cell(h.T * bohr)
    atoms.positions = q.reshape(-1, 3) * bohr
    atoms.set_momenta(p.reshape(-1, 3) * mass * bohr / units._aut / units.second)
    return atoms


def test_strides_are_those_of_a_simulation(models, folder):
    simulation = InteractiveSimulation(text(folder))
    start = structure(simulation)
    simulation.set_motion_step(get_nve_stepper(simulation, models("pair_stride"), rescale_energy=False))
    simulation.run(4)
    alone = Simulation(start, models("pair_stride"), rescale_energy=False)
    alone.step(4)
    assert np.abs(structure(simulation).positions - alone.atoms.positions).max() < 1e-6
    assert np.abs(structure(simulation).get_momenta() - alone.atoms.get_momenta()).max() < 1e-6
    assert simulation.properties("time") / units.fs == pytest.approx(8.0)


MOTIONS = {
    "nve": ("nve", "", get_nve_stepper),
    "nvt": ("nvt", THERMOSTAT, get_nvt_stepper),
    "npt": ("npt", THERMOSTAT + BAROSTATS["isotropic"], get_npt_stepper),
    "npt, flexible": ("npt", THERMOSTAT + BAROSTATS["flexible"], get_npt_stepper),
    # As in FlashMD's own inputs: fast-forward Langevin.
    "nvt, published": ("nvt", THERMOSTAT.replace("langevin", "ffl"), get_nvt_stepper),
    "npt, published": ("npt", THERMOSTAT.replace("langevin", "ffl") + BAROSTATS["isotropic"], get_npt_stepper),
}


@pytest.mark.parametrize("rotated", [False, True], ids=["as it is", "turned"])
@pytest.mark.parametrize("name", MOTIONS)
def test_a_restart_goes_on_to_rounding(models, folder, name, rotated):
    """As i-PI's own motions do, where its files state all digits: units are converted on the way."""
    mode, inside, stepper = MOTIONS[name]

    def run(xml, strides):
        simulation = InteractiveSimulation(xml)
        simulation.set_motion_step(stepper(simulation, models("pair_stride"), random_rotation=rotated))
        simulation.run(strides)
        return simulation

    whole = run(text(folder, mode, inside, bar=500), 7)
    # That of the third stride.
    with open(folder / "run.chk_1") as file:
        second = run(file.read().replace("run", "again"), 4)
    assert second.step == whole.step == 7
    for a, b in zip(ends(second), ends(whole), strict=True):
        assert np.abs(a - b).max() < 1e-12
    assert (mode == "npt") == (not np.array_equal(ends(whole)[2], make_crystal(4).cell.array.T / units.Bohr))


@pytest.mark.parametrize("name", ["nvt", "npt", "npt, published"])
def test_ensembles_have_their_temperature(models, folder, name):
    mode, inside, stepper = MOTIONS[name]
    simulation = InteractiveSimulation(text(folder, mode, inside, bar=500))
    simulation.set_motion_step(stepper(simulation, models("pair_stride")))
    simulation.run(1500)
    kinetic = np.loadtxt("run.out", usecols=2)
    wanted = 1.5 * 63 * units.kB * KELVIN / units.Hartree
    # Correlated over about the thermostat's time, fifty strides.
    error = wanted * np.sqrt(2 / (3 * 63) * 2 * 50 / 1300)
    assert kinetic[200:].mean() == pytest.approx(wanted, abs=4 * error)


def test_energies_are_kept_by_rescaling(models, folder):
    simulation = InteractiveSimulation(text(folder))
    simulation.set_motion_step(get_nve_stepper(simulation, models("pair_stride"), rescale_energy=True))
    simulation.run(20)
    conserved = np.loadtxt("run.out", usecols=1)
    assert np.abs(conserved - conserved[0]).max() < 1e-9


def test_fixed_atoms_stay(models, folder):
    simulation = InteractiveSimulation(text(folder, fixed="<fixatoms> [0, 5] </fixatoms>"))
    before = structure(simulation).positions
    simulation.set_motion_step(get_nve_stepper(simulation, models("pair_stride"), rescale_energy=False))
    simulation.run(3)
    moved = np.abs(structure(simulation).positions - before).max(1) > 1e-9
    assert np.flatnonzero(~moved).tolist() == [0, 5]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beads": 4}, "got 4 beads, and a model moves classical atoms"),
        ({"stride": 0.5}, r"got a timestep of 0.5 fs; strides of pair_stride are 2.0 fs"),
        ({"mode": "nvt", "inside": THERMOSTAT}, "got a motion with NVTIntegrator, wanted dynamics with NVEIntegrator"),
        ({"inside": "<nmts> [2] </nmts>"}, r"got nmts = \[2\], .* leave nmts out"),
        ({"fixed": "<fixatoms_dof> [0, 1] </fixatoms_dof>"}, "fixed along some axes"),
    ],
)
def test_motions_that_are_none_of_strides_are_refused(models, folder, changes, said):
    simulation = InteractiveSimulation(text(folder, **changes))
    with pytest.raises(InputError, match=said):
        get_nve_stepper(simulation, models("pair_stride"))


def test_what_i_pi_does_is_refused(models, folder):
    simulation = InteractiveSimulation(text(folder))
    with pytest.raises(InputError, match="got trajectory, which is i-PI's part here: give it by its input file"):
        get_nve_stepper(simulation, models("pair_stride"), trajectory="run.traj")
