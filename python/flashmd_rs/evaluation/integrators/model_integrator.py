"""Strides of a model under the runtime."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from flashmd_rs.evaluation.integrators.barostat import TRIAL_FS
from flashmd_rs.evaluation.integrators.integrator import Bath, Integrator, RunResult
from flashmd_rs.evaluation.integrators.series import SAMPLE_FS, Samples
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.potentials import Potential

RESCALINGS = ("none", "global", "species", "molecule")
METROPOLIS = "metropolis"
# Policies of a model's run: energy rescaling by a scope, or a Metropolis test.
POLICIES = (*RESCALINGS, METROPOLIS)


class ModelIntegrator(Integrator):
    """A model under the runtime, by default without rescaling and with a guard that only counts.

    Args:
        model: ONNX file or the name of a bundled model.
        policy: one of :data:`POLICIES`. Rescaling uses the model's reference energy model; the Metropolis test uses the
            reference's energies and runs in a bath only.
        options: further arguments of ``flashmd_rs.rollout``.

    Raises:
        ValueError: the model is an energy model.
    """

    def __init__(self, model: str | Path, policy: str = "none", **options: Any) -> None:
        import flashmd_rs

        self.model = model
        self._model = flashmd_rs.Model(model, threads=1)
        suffix = {"none": "", METROPOLIS: f", {METROPOLIS}"}.get(policy, f", rescaled {policy}")
        self.name = Path(model).stem + suffix
        if self._model.stride_fs is None:
            raise ValueError(
                f"got {model}, an energy model, wanted a model with a stride; verlet:FS@{model} is velocity Verlet"
                " by it"
            )
        self.step_fs = self._model.stride_fs
        self._metropolis = policy == METROPOLIS
        if self._metropolis:
            self.ensembles = ("nvt", "npt")
        rescaling = policy if policy in RESCALINGS[1:] else False
        self._options: dict[str, Any] = {"rescale_energy": rescaling, "guard": "warn"} | options

    @property
    def key(self) -> str:
        """As :attr:`Integrator.key`, with the model's hash: files of the same name may be different models."""
        return f"{super().key}-{self._model.sha256[:8]}"

    def run(
        self,
        reference: Reference,
        time_fs: float,
        interval_fs: float,
        bath: Bath | None,
        seed: int,
        potential: Potential | None = None,
    ) -> RunResult:
        """Run strides of the model."""
        import flashmd_rs

        options: dict[str, Any] = {"thermostat": "none", "seed": seed, "progress": False} | self._options
        start = reference.atoms()
        if bath is not None:
            options["temperature_K"] = bath.temperature_K
            options["thermostat"] = flashmd_rs.Langevin(time_constant_fs=bath.time_constant_fs)
            if bath.pressure_bar is not None:
                trial = flashmd_rs.MonteCarloBarostat(interval=max(1, round(TRIAL_FS / self.step_fs)))
                options |= {"pressure_bar": bath.pressure_bar, "barostat": trial}
                options["energy_model"] = reference.energy_source()
        if self._metropolis:
            options |= {"metropolis": True, "energy_model": reference.energy_source()}
        samples = Samples(start)
        samples.add(0.0, start.get_momenta(), start.cell.array)
        observer = (
            lambda view: samples.add(view.time_ps, view.momenta, view.cell),
            max(1, round(SAMPLE_FS / self.step_fs)),
        )
        interval = max(1, round(interval_fs / self.step_fs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
            # Given as a list of one, a run that fails keeps its frames up to the failure.
            (run,) = flashmd_rs.rollout(
                [start],
                self._model,
                steps=round(time_fs / self.step_fs),
                interval=interval,
                observers=[observer],
                **options,
            )
        statistics = run.report["statistics"]
        moves, guard = statistics["metropolis"], statistics["guard"]
        return RunResult(
            frames=list(run.frames),
            times_ps=np.asarray(run.times_ps),
            samples=samples,
            seconds=run.report["seconds"],
            evaluations=run.report["network_runs"],
            stopped=None if run.failure is None else str(run.failure),
            accepted=moves["accepted"] / max(1, moves["tried"]) if moves else None,
            violations=guard["strides"] if guard else None,
        )
