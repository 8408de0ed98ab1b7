"""From a potential to a model with its card: data, check, trainings, calibration and export, evaluation, card.

Every stage leaves a file in the folder of the run, and a rerun goes on behind the last of them. What was decided on the
way (:mod:`.plan`, :mod:`.choices`, the settings of the trainings) is in such files too, so that an interrupted run
comes to the same model as one in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from flashmd_rs import _core
from flashmd_rs._engine.signals import leaving_on_notice
from flashmd_rs.reference.checks import Severity, findings
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import VALIDATION_SHARE, publish
from flashmd_train.workflow.additions import add as add_data
from flashmd_train.workflow.card import verdict, write_card
from flashmd_train.workflow.choices import TRAINING_SHARE, Choices, Trials
from flashmd_train.workflow.clock import Clock
from flashmd_train.workflow.costs import probe
from flashmd_train.workflow.evaluation import evaluate_model
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.plan import FEWEST_SEGMENTS, Plan, data_temperatures
from flashmd_train.workflow.planning import make_plan
from flashmd_train.workflow.prior_error import free_flight_errors
from flashmd_train.workflow.rounds import finish_beginning, last_checkpoint
from flashmd_train.workflow.run_folder import RunFolder, request_of, write_json
from flashmd_train.workflow.trainings import FEWEST_STEPS, Training, run_trainings, write_settings

# Most of the first round's steps that a training takes after data were added.
LATER_ROUND = 0.4
# The data may take so many times the time that its segments were planned for: other programs run on the machine.
DATA_PATIENCE = 1.3
# The trainings may take so many times the time that their steps were planned for.
TRAINING_PATIENCE = 1.2
# Share of the time left that the evaluations may take.
EVALUATION_MARGIN = 0.9


class Fit:
    """One run of ``fit`` in a folder.

    Args:
        folder: of the run; its name is the model's.
        systems: one, or several that one model shall know.
        options: what the model is for.
        workers: processes; None for as many as this one has processors.
        say: takes a line of progress.

    Raises:
        ValueError: the folder holds a run of another system or of other options.
    """

    def __init__(
        self,
        folder: Path,
        systems: Sequence[System],
        options: FitOptions,
        workers: int | None = None,
        say: Callable[[str], None] = typer.echo,
    ) -> None:
        self.systems, self.options, self.say = list(systems), options, say
        self.folder = RunFolder(folder, len(self.systems))
        self.workers = workers or _core.available_processors()
        self.request = request_of(self.systems, options)
        self.folder.refuse_other(self.request)

    def run(self, add: Path | None = None) -> Path:
        """Do what is not done yet.

        Args:
            add: frames to label, or segments (.h5), which begin a new round where they are new.

        Returns:
            The model.

        Raises:
            ValueError: what :func:`fit` raises.
            BlockingIOError: another process is at it.
        """
        with self.folder.locked(), leaving_on_notice(True, interrupts=True) as check:
            finish_beginning(self.folder.path)
            if add is not None:
                add_data(self.folder, add, self.systems[0].potential, self.options, self.workers, self.say)
            clock = Clock(self.folder.clock, self.options.hours)
            try:
                self._run_stages(clock, check)
            finally:
                clock.save()
        return self.folder.model

    def _run_stages(self, clock: Clock, check: Callable[[], None]) -> None:
        plan = self._plan(clock)
        stages: list[tuple[str, Callable[[Plan, Clock], None]]] = [
            ("data", self._simulate),
            ("check", self._check),
            ("training", self._train),
            ("export", self._export),
            ("evaluation", self._evaluate),
            ("card", self._card),
        ]
        for number, (stage, do) in enumerate(stages, 1):
            self.say(f"[{number}/{len(stages)}] {stage} ({clock.seconds / 60:.1f} of {60 * clock.hours:g} min)")
            do(plan, clock)
            clock.save()
            check()

    def _plan(self, clock: Clock) -> Plan:
        """The plan of the run, made at its first start; the request is kept from then on."""
        path = self.folder.plan
        if not path.exists():
            self.say("probe: cost of the reference and its fastest vibration")
            hottest = max(data_temperatures(self.options.temperature_K))
            probes = [probe(system, hottest, self.options.timestep_fs) for system in self.systems]
            plan = make_plan(self.systems, probes, self.options, self.workers)
            write_json(self.folder.request, self.request)
            write_json(path, plan.model_dump(mode="json"))
            clock.save()
        plan = Plan.model_validate_json(path.read_text())
        self.say(
            f"plan: strides of {plan.stride_fs:g} fs (fastest vibration {plan.fastest_period_fs:.0f} fs); "
            f"{'+'.join(map(str, plan.segments))} segments of {plan.length_fs:g} fs, "
            f"{'+'.join(f'{bath:g}' for bath in plan.baths_fs)} fs apart, at "
            f"{', '.join(f'{t:g}' for t in plan.temperatures_K)} K, about {plan.data_minutes:.1f} min and "
            f"{plan.data_MB:.0f} MB; training {plan.training_minutes:.1f} min, evaluation "
            f"{plan.evaluation_minutes:.1f} min; {60 * clock.hours:g} min in all"
        )
        return plan

    def _simulate(self, plan: Plan, clock: Clock) -> None:
        for k, system in enumerate(self.systems):
            recipe = Recipe(
                system=system,
                temperatures_K=plan.temperatures_K,
                replicas=len(system.structures),
                seed=self.options.seed,
                timestep_fs=plan.timestep_fs,
                spacing_fs=plan.spacing_fs,
                length_fs=plan.length_fs,
                decorrelation_fs=plan.baths_fs[k],
                equilibration_ps=plan.equilibration_ps,
                anneal_K=self.options.anneal_K,
            )
            data, enough = self.folder.equilibrium[k], self.folder.path / f"data-{k}.enough"
            if enough.exists():
                continue
            seconds = DATA_PATIENCE * 60 * plan.data_minutes / len(self.systems)
            made = generate(data, recipe, plan.segments[k], self.workers, seconds=seconds, at_least=FEWEST_SEGMENTS)
            if made < plan.segments[k]:
                self.say(f"  the time was up: {made} of {plan.segments[k]} segments")
            enough.write_text(f"{made} segments\n")

    def _check(self, plan: Plan, clock: Clock) -> None:
        path = self.folder.check
        if path.exists():
            return
        found = []
        for file, system in zip(self.folder.equilibrium, self.systems):
            found += findings(file, system.potential)
        for finding in found:
            self.say(f"  {finding.severity}: {finding.sentence}")
        refusals = [finding.sentence for finding in found if finding.severity is Severity.REFUSAL]
        if refusals:
            raise ValueError(f"the data is not fit for training: {'; '.join(refusals)}")
        write_json(path, [finding.sentence for finding in found])

    def _choices(self, plan: Plan, clock: Clock) -> Choices:
        """What is decided by the data."""
        path = self.folder.choices
        if not path.exists():
            trials = Trials(self.folder.path, self.folder.equilibrium, self.systems, self.options, plan, self.say)
            write_json(path, trials.choose(clock, self.workers).model_dump(mode="json"))
        return Choices.model_validate_json(path.read_text())

    def _train(self, plan: Plan, clock: Clock) -> None:
        choices = self._choices(plan, clock)
        kinds = {choices.kind: choices.steps, "energy": choices.energy_steps}
        trainings = [Training(kind, self.folder.path / f"{kind}.yaml", self.folder.path / kind) for kind in kinds]
        for training in trainings:
            if not training.settings.exists():
                start, steps = last_checkpoint(self.folder.path, training.kind), kinds[training.kind]
                if start is not None:
                    share = TRAINING_SHARE * clock.seconds_left / choices.seconds
                    steps = max(FEWEST_STEPS, round(min(LATER_ROUND, share) * steps))
                model = choices.model_settings(training.kind)
                write_settings(
                    training,
                    model,
                    self.folder.data,
                    steps=steps,
                    force_steps=choices.force_steps,
                    seed=self.options.seed,
                    edges=choices.edges,
                    start=start,
                )
        run_trainings(trainings, self.workers, TRAINING_PATIENCE * choices.seconds)
        for training in trainings:
            if training.ended.exists():
                self.say(f"  the time was up: {training.kind} has taken {training.step} steps")

    def _export(self, plan: Plan, clock: Clock) -> None:
        choices, potential = self._choices(plan, clock), self.systems[0].potential
        if not self.folder.energy_model.exists():
            publish(
                self.folder.path / "energy",
                self.folder.energy_model,
                self.folder.data,
                None,
                {},
                potential=potential,
                energies=plan.energies,
            )
        if not self.folder.model.exists():
            data = Dataset(self.folder.data)
            _, held_out = data.split(VALIDATION_SHARE, seed=0)
            pairs = StridePairs(data, held_out, choices.stride_fs, choices.cutoff_A)
            prior = free_flight_errors(pairs, choices.stride_fs)
            publish(
                self.folder.path / choices.kind,
                self.folder.model,
                self.folder.data,
                self.folder.energy_model,
                {name: round(error, 4) for name, error in prior.items()},
                calibration=self.folder.equilibrium,
                potential=potential,
                energies=plan.energies,
            )
        self.say(f"  {verdict(self.folder.model)}")

    def _evaluate(self, plan: Plan, clock: Clock) -> None:
        wanted = sorted(self.options.temperature_K)
        for k, system in enumerate(self.systems):
            if (self.folder.evaluations[k] / "evaluation.json").exists():
                continue
            evaluate_model(
                self.folder.evaluations[k],
                system,
                self.folder.model,
                temperature_K=wanted[len(wanted) // 2],
                timestep_fs=plan.timestep_fs,
                reference_ms_per_step=plan.reference_ms_per_step[k],
                seconds=EVALUATION_MARGIN * clock.seconds_left / (len(self.systems) - k),
                asked_ps=self.options.evaluation_ps,
                workers=self.workers,
                anneal_K=self.options.anneal_K,
            )

    def _card(self, plan: Plan, clock: Clock) -> None:
        write_card(self.folder, plan, clock)


def fit(
    folder: str | Path,
    systems: System | Sequence[System],
    *,
    workers: int | None = None,
    add: str | Path | None = None,
    **options: Any,
) -> Path:
    """From a potential to a model with its card.

    The processes that it starts import the main module, so a script that calls it does so under
    ``if __name__ == "__main__":``, as in ::

        import flashmd_train
        from flashmd_rs.reference.options import SystemOptions

        if __name__ == "__main__":
            alloy = SystemOptions(structure=("start.extxyz",), calculator="ase.calculators.emt:EMT")
            flashmd_train.fit("runs/alloy", alloy.load_all(), temperature_K=600, hours=0.5)

    Args:
        folder: of the run, which is resumed where it exists; its name is the model's.
        systems: one, or several of one potential that one model shall know.
        workers: processes; None for as many as this one has processors.
        add: frames to label, such as those that a guard collected, or segments (.h5), to train a finished run on as
            well.
        options: fields of :class:`~flashmd_train.workflow.options.FitOptions`; ``temperature_K`` is needed.

    Returns:
        The model (ONNX); beside it are its energy model and its card, ``card.md`` and ``card.html``.

    Raises:
        ValueError: bad options, a reference that is no gradient or drifts, or too little time for anything.
        FloatingPointError: the reference does not conserve its energy.
        BlockingIOError: another process is running in the folder.
    """
    several = [systems] if isinstance(systems, System) else list(systems)
    run = Fit(Path(folder), several, FitOptions.checked(**options), workers)
    return run.run(None if add is None else Path(add))
