"""Integrators side by side, measured with the reference's energies: drift, equipartition, structure, motion, cost.

:func:`~flashmd_rs.evaluation.evaluate.evaluate` runs them and writes a page; ``flashmd-rs evaluate`` is its command.

Needs the extra ``evaluate``; from a clone: ``pip install '.[evaluate]'``.
"""
