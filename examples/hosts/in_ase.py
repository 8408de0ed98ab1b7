"""Strides of water as a MolecularDynamics of ASE."""

from ase import units

import flashmd_rs
from flashmd_rs.adapters.ase import FlashMD

atoms = flashmd_rs.load_structure("water258")
dynamics = FlashMD(
    atoms, "water", temperature_K=300, trajectory="run.traj", logfile="run.log", seed=1
)
dynamics.attach(
    lambda: print(
        f"{dynamics.get_time() / units.fs:.0f} fs, {atoms.get_temperature():.0f} K"
    ),
    interval=5,
)
dynamics.run(10)
dynamics.save("run.ckpt")
dynamics.close()
