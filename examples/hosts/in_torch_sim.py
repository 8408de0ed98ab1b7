"""Four boxes of water in torch-sim, moved in strides."""

import torch_sim as ts
from ase import units

import flashmd_rs
from flashmd_rs.adapters.torch_sim import NoPotential, strides

water = flashmd_rs.load_structure("water258")
state = ts.integrate(
    [water] * 4,
    NoPotential(),
    integrator=strides("water"),
    n_steps=10,
    timestep=0.016,  # ps, the model's stride
    temperature=300,
    trajectory_reporter={
        "filenames": [f"run-{i}.h5" for i in range(4)],
        "state_frequency": 5,
    },
)
kelvin = ts.calc_kT(momenta=state.momenta, masses=state.masses, system_idx=state.system_idx)
print([f"{t:.0f} K" for t in kelvin / units.kB])
