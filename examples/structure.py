"""The oxygen–oxygen radial distribution function of a run: its first peak, and the curve as text.

python examples/structure.py [--time-ps 10]
"""

import argparse

import numpy as np

import flashmd_rs
from flashmd_rs.analysis import first_peak, radial_distribution

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=10.0)
arguments = parser.parse_args()

water = flashmd_rs.load_structure("water258")
run = flashmd_rs.rollout(water, "water", time_ps=arguments.time_ps, temperature_K=300, interval=5, seed=1)

equilibrated = [
    frame for frame, time_ps in zip(run.frames, run.times_ps, strict=True) if time_ps >= 0.2 * run.times_ps[-1]
]
r_A, g = radial_distribution(equilibrated, ("O", "O"))
position_A, height = first_peak(r_A, g)
print(f"first peak of g_OO: {height:.2f} at {position_A:.2f} Å, from {len(equilibrated)} frames")
np.savetxt("g_OO.txt", np.column_stack([r_A, g]), header="r / Å   g_OO", fmt="%.4f")
