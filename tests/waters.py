"""Two flexible waters, and the forces of their bonds and angles by central differences, as the fixtures have them."""

import ase
import numpy as np

from flashmd_rs.temperature import draw_momenta


def two_waters():
    """Two molecules near each other at 300 K in a periodic box, one of them near a face."""
    water = 0.97 * np.array([[0, 0, 0], [0.79, 0.61, 0], [-0.79, 0.61, 0]])
    places = np.array([[0.1, 5.0, 5.0], [3.0, 5.5, 4.6]])
    atoms = ase.Atoms("OHHOHH", (places[:, None] + water).reshape(-1, 3), cell=np.eye(3) * 11, pbc=True)
    atoms.set_masses([15.999, 1.008, 1.008] * 2)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=2))
    return atoms


def bonded_energy(q):
    """Harmonic bonds and angle of one water (O, H, H), as the fixture ``hybrid`` has them, eV."""
    a, b = q[1] - q[0], q[2] - q[0]
    la, lb = np.linalg.norm(a), np.linalg.norm(b)
    angle = np.arccos(a @ b / (la * lb))
    return 0.5 * 39.0 * ((la - 0.96) ** 2 + (lb - 0.96) ** 2) + 0.5 * 4.3 * (angle - 1.82) ** 2


def bonded_forces(q):
    """−∂/∂q of all molecules [N,3] by central differences."""
    forces, step = np.zeros_like(q), 1e-5
    for first in range(0, len(q), 3):
        for k in np.ndindex(3, 3):
            up, down = q[first : first + 3].copy(), q[first : first + 3].copy()
            up[k] += step
            down[k] -= step
            forces[first + k[0], k[1]] = (bonded_energy(down) - bonded_energy(up)) / (2 * step)
    return forces
