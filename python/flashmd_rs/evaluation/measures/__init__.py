"""What is measured of a run: energies, momenta, structure, motion, time reversal and symplecticity."""
