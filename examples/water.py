"""Water at 300 K in strides of 16 fs: temperatures by element, a picture, a trajectory.

python examples/water.py [--time-ps 10]
"""

import argparse

import flashmd_rs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=10.0)
arguments = parser.parse_args()

water = flashmd_rs.load_structure("water258")
run = flashmd_rs.rollout(
    water, "water", time_ps=arguments.time_ps, temperature_K=300, seed=1, trajectory="water.extxyz"
)

second_half = run.times_ps >= 0.5 * run.times_ps[-1]
for name, temperature_K in run.temperature_K.items():
    print(f"T of {name:<6}{temperature_K[second_half].mean():7.1f} K")
print(f"{run.report['ns_per_day']:.1f} ns/day")
run.plot("water.png")
