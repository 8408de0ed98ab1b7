"""Reference molecular dynamics of any potential, and the file that keeps its segments; no PyTorch.

A system (:mod:`~flashmd_rs.reference.systems` lists them) builds its atoms and its potential on one of two back ends,
:mod:`~flashmd_rs.reference.openmm_system` and :mod:`~flashmd_rs.reference.ase_system`. A
:class:`~flashmd_rs.reference.recipe.Recipe` says what to simulate, :func:`~flashmd_rs.reference.generate.generate` does it
on all cores, :mod:`~flashmd_rs.reference.store` is the HDF5 file, :func:`~flashmd_rs.reference.check.check` tests one.

Needs the extra ``evaluate``; from a clone: ``pip install '.[evaluate]'``.
"""
