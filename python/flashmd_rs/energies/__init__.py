"""Potential energies that a run can use: models of kind ``energy``, ASE calculators, OpenMM contexts."""
