"""Strides of water in i-PI, with its thermostat."""

from pathlib import Path

import ase.io
from ipi.scripting import InteractiveSimulation

import flashmd_rs
from flashmd_rs.adapters.ipi import get_nvt_stepper

water = flashmd_rs.load_structure("water258")
ase.io.write("start.xyz", water, format="extxyz")
with open("input.xml", "w") as file:
    file.write("""
<simulation verbosity="quiet" safe_stride="1000" floatformat="%.17e">
  <output prefix="run">
    <properties stride="1" filename="out"> [ step, time{picosecond}, temperature{kelvin} ] </properties>
  </output>
  <total_steps> 100 </total_steps>
  <prng><seed> 1 </seed></prng>
  <ffdirect name="none"><pes> dummy </pes></ffdirect>
  <system>
    <initialize nbeads="1"><file mode="ase"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities></initialize>
    <forces><force forcefield="none"/></forces>
    <ensemble><temperature units="kelvin"> 300 </temperature></ensemble>
    <motion mode="dynamics"><dynamics mode="nvt">
      <timestep units="femtosecond"> 16 </timestep>
      <thermostat mode="langevin"><tau units="femtosecond"> 100 </tau></thermostat>
    </dynamics></motion>
  </system>
</simulation>
""")

with open("input.xml") as file:
    simulation = InteractiveSimulation(file)
simulation.set_motion_step(get_nvt_stepper(simulation, "water"))
simulation.run(5)
print(Path("run.out").read_text())
