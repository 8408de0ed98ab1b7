"""What a run decides by its data, after short trainings, and keeps in ``choices.json``.

=============  ========================================================================================================
cutoff         the shortest whose pair forces lose at most 1 % to those of the best cutoff (:mod:`.cutoffs`)
stride         that of the plan, halved while a trial leaves more than ``LARGEST_TRIAL_ERROR`` of the momenta, at most
               to a quarter; not where it was asked for
moments        with quadrupoles, where a step of the reference takes more than ``EXPENSIVE_MS_PER_ATOM`` (:mod:`.plan`)
kind           splitting, unless it knows no bonds and its gradients take longer than the reference's own steps: direct
bonds          of molecules, where the plan says so: kinds by environment, constants by least squares on forces
batches        of ``FEWEST_EDGES`` edges, where the largest structure has fewer
steps          of the trainings: as many as fit into the time, by the time of the trials' steps; of a splitting's,
               ``FORCE_SHARE`` of the time goes to steps on forces, as fast as an energy model's
=============  ========================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.export.publish import publish
from flashmd_train.learning.fit_bonded import fit_bonded
from flashmd_train.models.bonded_forces import BondedForces
from flashmd_train.settings import Strict
from flashmd_train.workflow.clock import Clock
from flashmd_train.workflow.costs import ms_per_stride
from flashmd_train.workflow.cutoffs import choose_cutoff
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.plan import FRAMES_PER_STRIDE, SHARES, Plan, degree_of_moments, number_of_kicks
from flashmd_train.workflow.trainings import (
    FEWEST_STEPS,
    MOST_ENERGY_STEPS,
    MOST_STEPS,
    KnownBonds,
    model_settings,
    trial,
)

# A trial's momentum error above which its stride is halved, where the stride was not asked for.
LARGEST_TRIAL_ERROR = 0.15
# Where the reference takes longer than this for a stride, ms, a splitting is not timed against it.
CERTAINLY_FASTER_MS = 200.0
# Share of the time for training that is used: two trainings slow each other down.
TRAINING_MARGIN = 0.85
# Share of a splitting's training that is on forces: such a step takes a fraction of the time of one on strides.
FORCE_SHARE = 1 / 3
# Edges of a batch, at least: steps on fewer take nearly as long.
FEWEST_EDGES = 1500
# Of what is left after the data, training gets this share.
TRAINING_SHARE = SHARES["training"] / (SHARES["training"] + SHARES["evaluation"])


class Choices(Strict):
    """The decisions of a run.

    Attributes:
        cutoff_A: cutoff of the models, Å.
        pair_force_errors: relative errors of pair forces by cutoff; empty where the cutoff was asked for.
        kind: of the model that moves atoms.
        stride_fs: its stride, fs.
        kicks: number of drifts between the kicks of a splitting.
        species: chemical symbols, in the order of the data.
        angular: highest degree of the moments of energy models and splittings.
        seconds: wall time of each training, s.
        steps: of the model that moves atoms.
        force_steps: on forces, before those, if it is a splitting.
        energy_steps: of the energy model.
        known_bonds: of molecules.
        edges: of a batch; None for one structure.
    """

    cutoff_A: float
    pair_force_errors: dict[str, float]
    kind: Literal["direct", "splitting"]
    stride_fs: float
    kicks: int
    species: tuple[str, ...]
    angular: Literal[1, 2]
    seconds: float
    steps: int
    force_steps: int
    energy_steps: int
    known_bonds: KnownBonds | None = None
    edges: int | None = None

    def model_settings(self, kind: str) -> dict[str, Any]:
        """The section ``model`` of the training of that kind."""
        sizes = (self.species, self.cutoff_A, self.angular, self.stride_fs, self.kicks)
        return model_settings(kind, *sizes, self.known_bonds)


@dataclass
class Trials:
    """Short trainings.

    Attributes:
        folder: of the run; each trial has a folder in it.
        files: data of equilibrium, one per system.
        systems: of the run.
        options: of the run.
        plan: of the run.
        say: takes a line of progress.
    """

    folder: Path
    files: list[Path]
    systems: Sequence[System]
    options: FitOptions
    plan: Plan
    say: Callable[[str], None]

    def choose(self, clock: Clock, workers: int) -> Choices:
        """Run the trials.

        Args:
            clock: of the run.
            workers: processes, by which trainings run side by side.

        Raises:
            ValueError: there is no time left to train.
        """
        data, cutoff, errors = Dataset(self.files), self.options.cutoff_A, {}
        known = self._known_bonds(data)
        if cutoff is None:
            bonded = known and BondedForces(known.bonded, known.inner_timestep_fs)
            cutoff, errors = choose_cutoff(data, self.options.seed, bonded)
            self.say(f"  cutoff {cutoff:g} Å, where pair forces are {100 * errors[cutoff]:.1f} % off")
        chosen: dict[str, Any] = {
            "cutoff_A": cutoff,
            "pair_force_errors": {f"{c:g} A": round(error, 4) for c, error in errors.items()},
            "kind": "direct" if self.options.kind in ("direct", "driven") else "splitting",
            "stride_fs": self.plan.stride_fs,
            "species": data.symbols,
            "angular": self.options.angular or self._degree_of_moments(),
            "known_bonds": known,
            "edges": FEWEST_EDGES if _most_edges(data, cutoff) < FEWEST_EDGES else None,
            # Known after the trials.
            "kicks": 1,
            "seconds": 0.0,
            "steps": 0,
            "force_steps": 0,
            "energy_steps": 0,
        }
        while True:
            chosen["kicks"] = number_of_kicks(
                chosen["stride_fs"], self.plan.fastest_period_fs, chosen["known_bonds"] is not None
            )
            choices = Choices(**chosen)
            step_s, error = self._trial(choices)
            if error > LARGEST_TRIAL_ERROR and self._may_be_shorter(choices.stride_fs):
                chosen["stride_fs"] /= 2
            elif (
                choices.kind == "splitting"
                and self.options.kind == "auto"
                and known is None  # driven models are not yet as good as hybrids
                and self._is_slow(choices)
            ):
                self.say("  a splitting would be slower than its reference: direct")
                chosen["kind"] = "direct"
            else:
                break
        energy_s, _ = trial(
            "energy", choices.model_settings("energy"), self.files, self._folder(choices), choices.edges
        )
        sequential = 1 if workers > 1 else 2
        seconds = TRAINING_MARGIN * TRAINING_SHARE * clock.seconds_left / sequential
        slower = max(step_s, energy_s)
        force_share = FORCE_SHARE if choices.kind == "splitting" else 0.0
        fewest_s = FEWEST_STEPS * slower / (1 - force_share)
        if seconds < fewest_s:
            needed = clock.seconds + sequential * fewest_s / (TRAINING_MARGIN * TRAINING_SHARE)
            raise ValueError(
                f"{clock.hours:g} h are too short: a step of training takes {1000 * slower:.0f} ms, and after "
                f"{clock.seconds / 60:.1f} min of data and trials there is no time left for {FEWEST_STEPS} of them; "
                f"the run goes on with hours of at least {1.1 * needed / 3600:.2g}"
            )
        forces = min(MOST_ENERGY_STEPS, force_share * seconds / energy_s)
        return choices.model_copy(
            update={
                "seconds": round(seconds, 1),
                "steps": int(min(MOST_STEPS, (seconds - forces * energy_s) / step_s)),
                "force_steps": int(forces),
                "energy_steps": int(min(MOST_ENERGY_STEPS, seconds / energy_s)),
            }
        )

    def _known_bonds(self, data: Dataset) -> KnownBonds | None:
        if not self.plan.molecules:
            return None
        try:
            bonded, left = fit_bonded(data)
        except ValueError as error:
            if self.options.kind in ("hybrid", "driven"):
                raise
            self.say(f"  no bonds are taken for known: {error}")
            return None
        self.say(
            f"  {len(bonded.bonds)} kinds of bonds, {len(bonded.angles)} of angles, which leave {100 * left:.0f} % of "
            "the forces"
        )
        shortest = min(kind.length_A for kind in bonded.bonds)
        return KnownBonds(
            bonded=bonded, inner_timestep_fs=self.plan.timestep_fs, shortest_A=math.floor(10 * shortest) / 10
        )

    def _degree_of_moments(self) -> int:
        if self.plan.molecules:
            return 2  # torsions and bond angles are all there is to learn
        atoms = [len(system.structures[0]) for system in self.systems]
        return degree_of_moments(self.plan.reference_ms_per_step, atoms)

    def _folder(self, choices: Choices) -> Path:
        return self.folder / f"trial-{choices.kind}-{choices.stride_fs:g}fs"

    def _trial(self, choices: Choices) -> tuple[float, float]:
        """Wall time of a step, s, and the error of the momenta."""
        settings = choices.model_settings(choices.kind)
        step_s, figures = trial(choices.kind, settings, self.files, self._folder(choices), choices.edges)
        error = figures["momentum_error"]
        self.say(f"  trial: {choices.kind}, {choices.stride_fs:g} fs, momentum error {100 * error:.1f} %")
        return step_s, error

    def _may_be_shorter(self, stride_fs: float) -> bool:
        """True if the data has frames, and the reference steps, for half of the stride."""
        spacing = self.plan.stride_fs / FRAMES_PER_STRIDE
        return self.options.stride_fs is None and stride_fs / 2 >= max(spacing, 2 * self.plan.timestep_fs)

    def _is_slow(self, choices: Choices) -> bool:
        """True if strides of the trial's model take longer than the reference's steps over the same time."""
        largest = int(np.argmax([len(system.structures[0]) for system in self.systems]))
        reference_ms = self.plan.reference_ms_per_step[largest] * choices.stride_fs / self.plan.timestep_fs
        if reference_ms > CERTAINLY_FASTER_MS:
            return False
        model = self._folder(choices) / "trial.onnx"
        if not model.exists():
            publish(self._folder(choices) / choices.kind, model, self.files, None, {})
        atoms = self.systems[largest].structures[0]
        return ms_per_stride(model, atoms, max(self.plan.temperatures_K))[0] > reference_ms


def _most_edges(data: Dataset, cutoff_A: float) -> int:
    """Edges of the largest structure."""
    return max(int(data.frame_graph(number, 0, 0, cutoff_A).mask.sum()) for number in range(len(data.files)))
