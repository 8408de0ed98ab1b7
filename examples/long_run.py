"""A run that may be killed at any time: start this script again, and it goes on to the last bit.

python examples/long_run.py [--time-ps 100]
"""

import argparse

import ase.io

import flashmd_rs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=100.0)
arguments = parser.parse_args()

run = flashmd_rs.rollout(
    flashmd_rs.load_structure("water258"),
    "water",
    time_ps=arguments.time_ps,
    temperature_K=300,
    thermostat=flashmd_rs.Bussi(time_constant_fs=500),
    guard="fallback",  # outside what the model was trained on: velocity Verlet with its energy model
    seed=1,
    trajectory="long_run.extxyz",
    checkpoint="long_run.ckpt",
    resume="auto",
)

fallbacks = run.report["statistics"]["guard"]["fallback_strides"]
print(f"{run.report['steps']} strides this time, {fallbacks} strides of the whole run by velocity Verlet")
print(f"{len(ase.io.read('long_run.extxyz', ':'))} frames in long_run.extxyz")
