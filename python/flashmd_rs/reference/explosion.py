"""When is a run too hot to be in equilibrium?"""

from __future__ import annotations

from scipy.stats import chi2

# A run that gets hotter than this much times its bath has exploded.
HOTTEST = 3.0
# Few atoms fluctuate more: a frame in equilibrium is beyond the limit with this probability at most.
UNHEARD_OF = 1e-12


def hottest_K(temperature_K: float, atoms: int, multiple: float = HOTTEST) -> float:
    """Temperature (K) beyond which ``atoms`` in a bath at ``temperature_K`` (K) have exploded.

    2K/k_B T of f = 3N − 3 momenta has the χ² distribution of f degrees of freedom; many atoms
    have exploded at ``multiple`` times the bath.
    """
    freedom = max(3 * atoms - 3, 1)
    return temperature_K * max(multiple, float(chi2.isf(UNHEARD_OF, freedom)) / freedom)
