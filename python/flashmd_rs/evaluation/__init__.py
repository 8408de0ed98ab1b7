"""Integrators side by side, measured with the reference's energies: drift, equipartition, structure, motion, cost.

An integrator is a model under the runtime, velocity Verlet or r-RESPA (:mod:`~flashmd_rs.evaluation.integrators`). Each
goes through one :class:`~flashmd_rs.evaluation.protocol.EvaluationProtocol`;
:func:`~flashmd_rs.evaluation.evaluate.evaluate` runs them and writes a page. The command is ``flashmd-rs evaluate``.

Running one needs the extra ``evaluate``; from a clone: ``pip install '.[evaluate]'``. Measures and pictures, which
reports of runs share, do not.
"""
