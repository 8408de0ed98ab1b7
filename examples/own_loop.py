"""A run in your own loop: heated step by step, watched by an observer, saved, and gone on with.

python examples/own_loop.py [--time-ps 1]
"""

import argparse

import flashmd_rs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=1.0)
arguments = parser.parse_args()


def too_hot(state):
    """End the run beyond 500 K."""
    return state.temperature_K["total"] > 500


water = flashmd_rs.load_structure("water258")
model = flashmd_rs.Model("water", threads=2)  # opened once, for both simulations
with flashmd_rs.Simulation(water, model, temperature_K=350, seed=1, observers=[(too_hot, 1)]) as simulation:
    while simulation.time_ps < arguments.time_ps and simulation.step(5):
        print(f"{simulation.time_ps:6.3f} ps  T {simulation.state.temperature_K['total']:6.1f} K")
    simulation.save("own_loop.ckpt")

with flashmd_rs.Simulation.load("own_loop.ckpt", model=model) as simulation:
    simulation.run(time_ps=arguments.time_ps)
    print(f"gone on to {simulation.time_ps:.3f} ps")
