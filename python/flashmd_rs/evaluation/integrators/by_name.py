"""Integrators by name: a model's strides, velocity Verlet, r-RESPA."""

from __future__ import annotations

import numpy as np

from flashmd_rs.evaluation.integrators.integrator import Integrator
from flashmd_rs.evaluation.integrators.model_integrator import POLICIES, ModelIntegrator
from flashmd_rs.evaluation.integrators.stepped import Respa, VelocityVerlet


def parse_integrator(text: str) -> Integrator:
    """The integrator that a text names: ``verlet:FS``, ``verlet:FS@ENERGY``, ``respa:FS``, ``MODEL``, ``MODEL:POLICY``.

    ``FS`` is a time step in fs, ``ENERGY`` an energy model, ``MODEL`` a file or a bundled name, ``POLICY`` one of
    :data:`POLICIES`.

    Raises:
        ValueError: it is none of these.
    """
    kind, _, argument = text.partition(":")
    if kind in ("verlet", "respa"):
        step, _, energy = argument.partition("@")
        try:
            step_fs = float(step)
        except ValueError:
            step_fs = 0.0
        if not 0 < step_fs < np.inf or (energy and kind == "respa"):
            raise ValueError(f"got {text!r}, wanted {kind}:FS with a time step in fs")
        return Respa(step_fs) if kind == "respa" else VelocityVerlet(step_fs, energy or None)
    name, _, policy = text.rpartition(":") if ":" in text else (text, "", "")
    if policy and policy not in POLICIES:
        raise ValueError(
            f"got {text!r}, wanted verlet:FS, verlet:FS@ENERGY, respa:FS, MODEL or MODEL:POLICY, one of {POLICIES}"
        )
    return ModelIntegrator(name, policy or "none")
