"""From a potential to a model with its card: data, check, trainings, calibration and export, evaluation, card.

Every stage leaves a file in the folder of the run, and a rerun goes on behind the last of them. What was decided on the
way (:mod:`.plan`, ``choices.json``, the settings of the trainings) is in such files too, so that an interrupted run
comes to the same model as one in one go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from flashmd_rs import _core
from flashmd_rs.reference.checks import Severity, findings
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.label import label
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_rs.structure_files import read_frames
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import VALIDATION_SHARE, publish
from flashmd_train.workflow import plan as plans
from flashmd_train.workflow.card import write_card
from flashmd_train.workflow.clock import Clock
from flashmd_train.workflow.costs import Probe, ms_per_stride, probe
from flashmd_train.workflow.cutoffs import choose_cutoff
from flashmd_train.workflow.evaluation import evaluate_model
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.plan import Plan
from flashmd_train.workflow.prior_error import free_flight_errors
from flashmd_train.workflow.rounds import added_files, last_checkpoint
from flashmd_train.workflow.trainings import (
    FEWEST_STEPS,
    MOST_STEPS,
    Training,
    model_settings,
    run_trainings,
    trial,
    write_settings,
)

# A trial's momentum error above which its stride is halved, where the stride was not asked for.
LARGEST_TRIAL_ERROR = 0.15
# Where the reference takes longer than this for a stride, ms, a splitting is not timed against it.
CERTAINLY_FASTER_MS = 200.0
# Share of the first round's steps that a training takes after data were added.
LATER_ROUND = 0.4
# The trainings may take so many times the time that their steps were planned for.
TRAINING_PATIENCE = 1.2
# Share of the time for training that is used: two trainings slow each other down.
TRAINING_MARGIN = 0.85


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
        self.folder, self.systems, self.options, self.say = folder, list(systems), options, say
        self.workers = workers or _core.available_processors()
        folder.mkdir(parents=True, exist_ok=True)
        self._check_request()
        self.clock = Clock(folder / "clock.json", options.hours)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.folder.resolve().name

    @property
    def model(self) -> Path:
        """The model that moves atoms."""
        return self.folder / f"{self.name}.onnx"

    @property
    def energy_model(self) -> Path:
        """Its reference energy model."""
        return self.folder / f"{self.name}-energy.onnx"

    @property
    def equilibrium_files(self) -> list[Path]:
        """The data that sample equilibrium: a file per system."""
        return [self.folder / f"data-{k}.h5" for k in range(len(self.systems))]

    @property
    def data_files(self) -> list[Path]:
        """All data, those that were added among them."""
        return [*self.equilibrium_files, *added_files(self.folder)]

    def run(self) -> Path:
        """Do what is not done yet.

        Returns:
            The model.
        """
        plan = self._plan()
        stages: list[tuple[str, Callable[[Plan], None]]] = [
            ("data", self._simulate),
            ("check", self._check),
            ("training", self._train),
            ("export", self._export),
            ("evaluation", self._evaluate),
            ("card", self._card),
        ]
        for number, (stage, do) in enumerate(stages, 1):
            self.say(
                f"[{number}/{len(stages)}] {stage} ({self.clock.seconds / 60:.1f} of {60 * self.clock.hours:g} min)"
            )
            do(plan)
            self.clock.save()
        return self.model

    def _check_request(self) -> None:
        """Refuse another run's folder."""
        request = {
            "systems": [system.attributes() for system in self.systems],
            **self.options.model_dump(mode="json", exclude={"hours", "evaluation_ps"}),
        }
        path = self.folder / "request.json"
        if path.exists():
            found = json.loads(path.read_text())
            changed = sorted(k for k in request.keys() | found.keys() if request.get(k) != found.get(k))
            if changed:
                raise ValueError(
                    f"{self.folder} holds a run with another {', '.join(changed)}; name another folder, or ask for "
                    "the same"
                )
        _write_json(path, request)

    def _plan(self) -> Plan:
        """The plan of the run, made at its first start."""
        path = self.folder / "plan.json"
        if not path.exists():
            self.say("probe: cost of the reference and its fastest vibration")
            hottest = max(plans.data_temperatures(self.options.temperature_K))
            probes = [
                probe(system, hottest, self.options.timestep_fs, self.folder / f"probe-{k}.h5")
                for k, system in enumerate(self.systems)
            ]
            _write_json(path, self._decide(probes).model_dump(mode="json"))
            self.clock.save()
        plan = Plan.model_validate_json(path.read_text())
        self.say(
            f"plan: {plan.kind}, {plan.stride_fs:g} fs (fastest vibration {plan.fastest_period_fs:.0f} fs); "
            f"{'+'.join(map(str, plan.segments))} segments of {plan.length_fs:g} fs at "
            f"{', '.join(f'{t:g}' for t in plan.temperatures_K)} K, about {plan.data_minutes:.1f} min and "
            f"{plan.data_MB:.0f} MB; training {plan.training_minutes:.1f} min, evaluation "
            f"{plan.evaluation_minutes:.1f} min"
        )
        return plan

    def _decide(self, probes: list[Probe]) -> Plan:
        """The plan, by the rules of :mod:`.plan`."""
        options, minutes = self.options, 60 * self.options.hours
        period = min(each.fastest_period_fs for each in probes)
        timestep = min(system.reference(options.timestep_fs).timestep_fs for system in self.systems)
        stride = options.stride_fs or plans.choose_stride(period, timestep)
        timestep = plans.matching_timestep(timestep, stride / plans.FRAMES_PER_STRIDE)
        kicks = plans.number_of_kicks(stride, period)
        temperatures = plans.data_temperatures(options.temperature_K)
        minutes_of = {name: share * minutes for name, share in plans.SHARES.items()}
        per_segment = 2 * plans.STRIDES_PER_SEGMENT * stride / timestep
        before = 1000 * options.equilibration_ps / timestep
        segments = tuple(
            plans.number_of_segments(
                60 * minutes_of["data"] / len(probes),
                len(temperatures) * len(system.structures),
                self.workers,
                each.seconds_per_step,
                per_segment,
                before,
            )
            for each, system in zip(probes, self.systems)
        )
        if min(segments) < plans.FEWEST_SEGMENTS:
            raise ValueError(self._too_short(probes, before, per_segment, temperatures))
        frames = plans.FRAMES_PER_STRIDE * plans.STRIDES_PER_SEGMENT + 1
        megabytes = sum(36e-6 * n * frames * each.atoms for n, each in zip(segments, probes))
        return Plan(
            temperatures_K=temperatures,
            timestep_fs=timestep,
            fastest_period_fs=period,
            stride_fs=stride,
            kind="direct" if options.kind == "direct" else "splitting",
            kicks=kicks,
            segments=segments,
            equilibration_ps=options.equilibration_ps,
            reference_ms_per_step=tuple(1000 * each.seconds_per_step for each in probes),
            data_minutes=minutes_of["data"],
            training_minutes=minutes_of["training"],
            evaluation_minutes=minutes_of["evaluation"],
            data_MB=megabytes,
        )

    def _too_short(
        self, probes: list[Probe], before: float, per_segment: float, temperatures: tuple[float, ...]
    ) -> str:
        """The sentence that says what would be needed."""
        seconds = 0.0
        for each, system in zip(probes, self.systems):
            chains = len(temperatures) * len(system.structures)
            steps = chains * before + plans.FEWEST_SEGMENTS * per_segment
            seconds += steps * each.seconds_per_step / min(chains, self.workers)
        needed = 1.05 * seconds / plans.SHARES["data"] / 3600
        return (
            f"{self.options.hours:g} h are too short: a step of the reference takes "
            f"{1000 * max(each.seconds_per_step for each in probes):.1f} ms, and {plans.FEWEST_SEGMENTS} segments "
            f"behind {self.options.equilibration_ps:g} ps of equilibration at each of {len(temperatures)} temperatures "
            f"want {needed:.2g} h on {self.workers} processors; give as much, or a shorter equilibration_ps"
        )

    def _simulate(self, plan: Plan) -> None:
        for k, system in enumerate(self.systems):
            recipe = Recipe(
                system=system,
                temperatures_K=plan.temperatures_K,
                replicas=len(system.structures),
                seed=self.options.seed,
                timestep_fs=plan.timestep_fs,
                spacing_fs=plan.spacing_fs,
                length_fs=plan.length_fs,
                decorrelation_fs=plan.length_fs,
                equilibration_ps=plan.equilibration_ps,
                anneal_K=self.options.anneal_K,
            )
            generate(self.folder / f"data-{k}.h5", recipe, plan.segments[k], self.workers)

    def _check(self, plan: Plan) -> None:
        path = self.folder / "check.json"
        if path.exists():
            return
        found = []
        for k, system in enumerate(self.systems):
            found += findings(self.folder / f"data-{k}.h5", system.potential)
        for finding in found:
            self.say(f"  {finding.severity}: {finding.sentence}")
        refusals = [finding.sentence for finding in found if finding.severity is Severity.REFUSAL]
        if refusals:
            raise ValueError(f"the data is not fit for training: {'; '.join(refusals)}")
        _write_json(path, [finding.sentence for finding in found])

    def _choices(self, plan: Plan) -> dict[str, Any]:
        """What is decided by the data: cutoff, stride and kind, after trials; and the steps of the trainings."""
        path = self.folder / "choices.json"
        if path.exists():
            choices: dict[str, Any] = json.loads(path.read_text())
            return choices
        data = Dataset(self.equilibrium_files)
        cutoff, errors = self.options.cutoff_A, {}
        if cutoff is None:
            cutoff, errors = choose_cutoff(data, self.options.seed)
        stride, kicks, kind = plan.stride_fs, plan.kicks, plan.kind
        while True:
            folder = self.folder / f"trial-{kind}-{stride:g}fs"
            settings = model_settings(kind, data.symbols, cutoff, stride, kicks)
            step_s, figures = trial(kind, settings, self.equilibrium_files, folder)
            self.say(f"  trial: {kind}, {stride:g} fs, momentum error {figures['momentum_error']:.3f}")
            shorter = stride / 2 >= plan.timestep_fs * 2 and stride / 2 >= plan.stride_fs / plans.FRAMES_PER_STRIDE
            if figures["momentum_error"] > LARGEST_TRIAL_ERROR and self.options.stride_fs is None and shorter:
                stride, kicks = stride / 2, max(1, kicks // 2)
            elif kind == "splitting" and self.options.kind == "auto" and self._is_slow(plan, folder, stride):
                self.say("  a splitting would be slower than its reference: direct")
                kind = "direct"
            else:
                break
        energy_s, _ = trial(
            "energy", model_settings("energy", data.symbols, cutoff, stride, kicks), self.equilibrium_files, folder
        )
        share = plans.SHARES["training"] / (plans.SHARES["training"] + plans.SHARES["evaluation"])
        seconds = TRAINING_MARGIN * share * self.clock.seconds_left / (1 if self.workers > 1 else 2)
        if seconds < FEWEST_STEPS * max(step_s, energy_s):
            raise ValueError(self._too_short_to_train(max(step_s, energy_s), share))
        choices = {
            "cutoff_A": cutoff,
            "pair_force_errors": {f"{c:g} A": round(error, 4) for c, error in errors.items()},
            "kind": kind,
            "stride_fs": stride,
            "kicks": kicks,
            "species": list(data.symbols),
            "seconds": round(seconds, 1),
            "steps": int(min(MOST_STEPS, seconds / step_s)),
            "energy_steps": int(min(MOST_STEPS, seconds / energy_s)),
        }
        _write_json(path, choices)
        return choices

    def _too_short_to_train(self, step_s: float, share: float) -> str:
        """The sentence that says what would be needed."""
        sequential = 1 if self.workers > 1 else 2
        needed = self.clock.seconds + sequential * FEWEST_STEPS * step_s / (TRAINING_MARGIN * share)
        return (
            f"{self.options.hours:g} h are too short: a step of training takes {1000 * step_s:.0f} ms, and after "
            f"{self.clock.seconds / 60:.1f} min of data and trials there is no time left for {FEWEST_STEPS} of them; "
            f"the run goes on with hours of at least {1.1 * needed / 3600:.2g}"
        )

    def _is_slow(self, plan: Plan, trial_folder: Path, stride_fs: float) -> bool:
        """True if strides of the trial's model take longer than the reference's steps over the same time."""
        reference_ms = max(plan.reference_ms_per_step) * stride_fs / plan.timestep_fs
        if reference_ms > CERTAINLY_FASTER_MS:
            return False
        model = trial_folder / "trial.onnx"
        if not model.exists():
            publish(trial_folder / "splitting", model, self.equilibrium_files, None, {})
        slowest = max(self.systems, key=lambda system: len(system.structures[0]))
        return ms_per_stride(model, slowest.structures[0], max(plan.temperatures_K))[0] > reference_ms

    def _train(self, plan: Plan) -> None:
        choices = self._choices(plan)
        species = tuple(choices["species"])
        trainings = []
        for kind, steps in ((choices["kind"], choices["steps"]), ("energy", choices["energy_steps"])):
            training = Training(kind, self.folder / f"{kind}.yaml", self.folder / kind)
            if not training.settings.exists():
                model = model_settings(kind, species, choices["cutoff_A"], choices["stride_fs"], choices["kicks"])
                start = last_checkpoint(self.folder, kind)
                steps = steps if start is None else max(FEWEST_STEPS, round(LATER_ROUND * steps))
                write_settings(training, model, self.data_files, steps, self.options.seed, start)
            trainings.append(training)
        run_trainings(trainings, self.workers, TRAINING_PATIENCE * choices["seconds"])
        for training in trainings:
            if training.ended.exists():
                self.say(f"  the time was up: {training.kind} has taken {training.step} steps")

    def _export(self, plan: Plan) -> None:
        potential, kind = self.systems[0].potential, self._choices(plan)["kind"]
        if not self.energy_model.exists():
            publish(self.folder / "energy", self.energy_model, self.data_files, None, {}, potential=potential)
        if not self.model.exists():
            data, stride = Dataset(self.data_files), self._choices(plan)["stride_fs"]
            _, held_out = data.split(VALIDATION_SHARE, seed=0)
            prior = free_flight_errors(StridePairs(data, held_out, stride, self._choices(plan)["cutoff_A"]), stride)
            publish(
                self.folder / kind,
                self.model,
                self.data_files,
                self.energy_model,
                {name: round(error, 4) for name, error in prior.items()},
                calibration=self.equilibrium_files,
                potential=potential,
            )

    @property
    def evaluations(self) -> list[Path]:
        """Folders of the evaluations, one per system."""
        return [self.folder / f"evaluation-{k}" for k in range(len(self.systems))]

    def _evaluate(self, plan: Plan) -> None:
        wanted = self.options.temperature_K
        for k, system in enumerate(self.systems):
            if (self.evaluations[k] / "evaluation.json").exists():
                continue
            evaluate_model(
                self.evaluations[k],
                system,
                self.model,
                sorted(wanted)[len(wanted) // 2],
                (plan.timestep_fs, plan.reference_ms_per_step[k]),
                0.9 * self.clock.seconds_left / (len(self.systems) - k),
                self.options.evaluation_ps,
                self.workers,
                self.options.anneal_K,
            )

    def _card(self, plan: Plan) -> None:
        write_card(self.folder, self.name, self.evaluations, plan, self.clock.seconds)

    def labelled(self, frames: Path) -> Path:
        """A data file of frames: as it is, or with segments that the reference begins there.

        Raises:
            ValueError: the run knows several systems, and the frames are not segments.
        """
        if frames.suffix == ".h5":
            return frames
        if len(self.systems) > 1:
            raise ValueError("a run of several systems takes segments: label the frames first, and add the .h5 file")
        plan, output = self._plan(), self.folder / f"labelled-{frames.stem}.h5"
        temperature = max(self.options.temperature_K)
        label(
            output,
            read_frames(frames),
            self.systems[0].potential,
            temperature,
            seed=self.options.seed,
            timestep_fs=plan.timestep_fs,
            spacing_fs=plan.spacing_fs,
            length_fs=plan.length_fs,
            workers=self.workers,
        )
        return output


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def fit(folder: str | Path, systems: System | Sequence[System], *, workers: int | None = None, **options: Any) -> Path:
    """From a potential to a model with its card.

    Args:
        folder: of the run, which is resumed where it exists; its name is the model's.
        systems: one, or several of one potential that one model shall know.
        workers: processes; None for as many as this one has processors.
        options: fields of :class:`~flashmd_train.workflow.options.FitOptions`.

    Returns:
        The model (ONNX); beside it are its energy model and ``card.md``.

    Raises:
        ValueError: bad options, a reference that is no gradient or drifts, or too little time for anything.
        FloatingPointError: the reference does not conserve its energy.
    """
    several = [systems] if isinstance(systems, System) else list(systems)
    return Fit(Path(folder), several, FitOptions.checked(**options), workers).run()
