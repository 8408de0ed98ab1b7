"""The rules of `fit`, each against what docs/reference/fit.md says, and the plan that they make."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from alloys import EMT, alloy
from typer.models import OptionInfo

from flashmd_rs.reference.system import System
from flashmd_train.cli import workflow as command
from flashmd_train.workflow import choices, cutoffs, evaluation, plan
from flashmd_train.workflow.clock import Clock
from flashmd_train.workflow.costs import Probe
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.planning import make_plan
from flashmd_train.workflow.rounds import added_files, begin_round, finish_beginning, last_checkpoint
from flashmd_train.workflow.trainings import FEWEST_STEPS, MOST_ENERGY_STEPS, TRIAL_STEPS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "fit.md").read_text()
OPTIONS = FitOptions(temperature_K=(600.0,), hours=1.0, equilibration_ps=1.0)
# A step of 2 ms, and vibrations of 145 fs, of 32 atoms.
PROBE = Probe(timestep_fs=2.0, seconds_per_step=2e-3, fastest_period_fs=145.0, atoms=32)


@pytest.fixture(scope="module")
def system() -> System:
    return System((alloy(),), EMT)


@pytest.mark.parametrize(
    "sentence",
    [
        f"the longest of {', '.join(f'{s:g}' for s in plan.STRIDES_FS)} fs within {plan.PERIODS_PER_STRIDE:g} periods",
        f"a trial of {TRIAL_STEPS} steps leaves more than {100 * choices.LARGEST_TRIAL_ERROR:.0f} % error",
        f"{100 * plan.SHARES['data']:.0f} % of the time, from {plan.FEWEST_SEGMENTS} to {plan.MOST_SEGMENTS}",
        f"{100 * plan.SHARES['training']:.0f} % of the time",
        f"{100 * plan.SHARES['export']:.0f} % of the time",
        f"where half of that time is left, baths last longer, up to {plan.LONGEST_BATH_FS:g} fs",
        f"a kick each {plan.PERIODS_PER_KICK:g} periods",
        f"a step of the reference takes more than {plan.EXPENSIVE_MS_PER_ATOM:g} ms per atom",
        f"the shortest of {cutoffs.CUTOFFS_A[0]:g}, {cutoffs.CUTOFFS_A[1]:g}, …, {cutoffs.CUTOFFS_A[-1]:g} Å",
        f"at most {100 * cutoffs.LARGEST_LOSS:.0f} % of the rms force",
        f"at least {FEWEST_STEPS} steps",
        f"of the energy model at most {MOST_ENERGY_STEPS}; a third of a splitting's time is for steps on forces",
        f"up to {evaluation.LONGEST_PS / 1000:g} ns",
    ],
)
def test_page_says_what_the_code_does(sentence: str) -> None:
    assert sentence in " ".join(PAGE.split())


def test_flags_are_the_options() -> None:
    """Flags of the page are flags of the command, and those have the defaults and descriptions of the options."""
    flags = {}
    for parameter in inspect.signature(command.fit).parameters.values():
        (given,) = [m for m in getattr(parameter.annotation, "__metadata__", [None]) if m] or [None]
        if isinstance(given, OptionInfo):
            flags[parameter.name] = (given, parameter.default)
    for name in re.findall(r"`--([a-z-]+)`", PAGE):
        assert name.replace("-", "_") in flags
    for name, field in FitOptions.model_fields.items():
        flag, default = flags[name.lower()]
        assert flag.help.lower() == f"{field.description}.".lower()
        assert default == (None if field.is_required() else field.default)


def test_temperatures_bracket_those_asked_for() -> None:
    assert plan.data_temperatures((600.0,)) == (450.0, 600.0, 750.0)
    assert plan.data_temperatures((600.0, 900.0)) == (510.0, 685.0, 860.0, 1035.0)
    assert plan.data_temperatures((900.0, 700.0, 600.0)) == plan.data_temperatures((600.0, 900.0))


@pytest.mark.parametrize(
    ("period_fs", "timestep_fs", "stride_fs"),
    [
        (145.0, 2.0, 32.0),  # copper–gold: 43.5 fs would be short enough
        (9.3, 0.25, 2.0),  # O–H
        (1000.0, 2.0, 64.0),  # the longest there is
        (20.0, 2.0, 8.0),  # no stride within 6 fs has four steps
    ],
)
def test_stride_is_short_against_the_fastest_vibration(period_fs: float, timestep_fs: float, stride_fs: float) -> None:
    assert plan.choose_stride(period_fs, timestep_fs) == stride_fs


@pytest.mark.parametrize(("spacing_fs", "timestep_fs"), [(8.0, 2.0), (6.0, 2.0), (3.0, 1.0), (0.25, 0.25), (1.5, 0.5)])
def test_time_step_divides_the_spacing(spacing_fs: float, timestep_fs: float) -> None:
    assert plan.matching_timestep(2.0, spacing_fs) == timestep_fs


def test_a_stride_that_no_time_step_divides_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a quarter of the stride, 0\.7 fs, is no multiple .* give another stride"):
        plan.matching_timestep(2.0, 0.7)


@pytest.mark.parametrize(("stride_fs", "kicks"), [(14.5, 1), (29.0, 2), (32.0, 3), (43.5, 3), (4.0, 1)])
def test_kicks_are_a_tenth_of_a_period_apart(stride_fs: float, kicks: int) -> None:
    assert plan.number_of_kicks(stride_fs, 145.0) == kicks


def test_expensive_references_get_quadrupoles() -> None:
    assert plan.degree_of_moments([6.3], [108]) == 1
    assert plan.degree_of_moments([150.0], [64]) == 2
    assert plan.degree_of_moments([6.3, 150.0], [108, 64]) == 2


def test_segments_fit_into_their_time() -> None:
    """Two processors simulate three chains of 500 steps each and then segments of 128 steps, baths included."""
    given = dict(chains=3, workers=2, step_s=1e-3, before=500.0)

    def count(seconds: float) -> int:
        return plan.number_of_segments(plan.steps_behind_equilibration(seconds, **given), per_stride=32.0)

    assert count(30.0) * 128 + 3 * 500 <= 2 * 30_000 < (count(30.0) + 1) * 128 + 3 * 500
    assert count(3e6) == plan.MOST_SEGMENTS
    assert count(0.1) < 0


def test_baths_take_the_time_that_segments_leave() -> None:
    """Half of it. Segments of two strides of 8 fs, four steps each: 16 steps with the shortest bath."""
    shortest, longest = 16.0, plan.LONGEST_BATH_FS

    def bath(steps_per_segment: float) -> float:
        return plan.length_of_bath(
            1500 * steps_per_segment / plan.BATHS_SHARE, per_stride=4.0, segments=1500, stride_fs=8.0
        )

    assert (bath(16.0), bath(19.9), bath(20.0), bath(108.0)) == (shortest, shortest, 24.0, 200.0)
    assert longest - 8.0 < bath(1e6) <= longest


def test_plan_of_a_system(system: System) -> None:
    made = make_plan([system], [PROBE], OPTIONS, workers=2)
    assert (made.stride_fs, made.spacing_fs, made.length_fs, made.timestep_fs) == (32.0, 8.0, 64.0, 2.0)
    assert made.segments == (plan.MOST_SEGMENTS,)
    # 1500 segments of nine frames of 32 atoms, with three vectors of three single-precision numbers.
    assert made.data_MB == pytest.approx(1500 * 9 * 32 * 36e-6)
    minutes = made.data_minutes + made.training_minutes + made.evaluation_minutes
    assert minutes / 60 == pytest.approx(1 - plan.SHARES["export"] - 0.05)
    # Stride and time step as asked for.
    asked = make_plan([system], [PROBE], OPTIONS.model_copy(update={"stride_fs": 12.0}), workers=2)
    assert (asked.stride_fs, asked.spacing_fs, asked.timestep_fs) == (12.0, 3.0, 1.0)


def test_several_systems_share_the_time_and_the_faster_vibration(system: System) -> None:
    slow, fast = PROBE._replace(seconds_per_step=0.02), PROBE._replace(fastest_period_fs=60.0, seconds_per_step=0.02)
    alone = make_plan([system], [slow], OPTIONS, workers=2)
    both = make_plan([system, system], [slow, fast], OPTIONS, workers=2)
    assert both.stride_fs == 16.0
    # Half of the time each, and segments of half the length.
    assert both.segments[0] == both.segments[1] == pytest.approx(alone.segments[0], rel=0.06)


def test_a_slow_reference_is_asked_for_fewer_energies(system: System) -> None:
    """Two exports, each of half of 5 % of the time."""
    cheap = make_plan([system], [PROBE], OPTIONS, workers=2)
    assert cheap.energies == 1000
    costly = make_plan([system], [PROBE._replace(seconds_per_step=0.5)], OPTIONS.model_copy(update={"hours": 5.0}), 2)
    assert costly.energies * 0.5 * 2 == pytest.approx(0.05 * 5 * 3600, rel=0.01)


def test_too_short_a_time_says_what_is_needed(system: System) -> None:
    probes = [PROBE._replace(seconds_per_step=0.2)] * 2
    with pytest.raises(ValueError, match=r"0\.1 h are too short: a step of the reference takes 200\.0 ms") as refusal:
        make_plan([system] * 2, probes, OPTIONS.model_copy(update={"hours": 0.1}), workers=2)
    needed = float(re.search(r"want ([\d.]+) h on 2 processors", str(refusal.value))[1])
    made = make_plan([system] * 2, probes, OPTIONS.model_copy(update={"hours": needed}), workers=2)
    assert plan.FEWEST_SEGMENTS <= min(made.segments) < 1.3 * plan.FEWEST_SEGMENTS


def test_options_are_checked_in_sentences() -> None:
    assert FitOptions.checked(temperature_K=600, hours=None) == FitOptions(temperature_K=(600.0,))
    for given, said in [
        ({}, "got no temperature, wanted that of the runs"),
        ({"temperature_K": -1.0}, "greater than 0, got -1.0"),
        ({"temperature_K": 600, "hours": 0.0}, "hours: Input should be greater than 0"),
        (
            {"temperature_K": 600, "kind": "best"},
            "kind: Input should be 'auto', 'direct', 'splitting', 'hybrid' or 'driven', got 'best'",
        ),
        ({"temperature_K": 600, "hour": 1.0}, "hour: Extra inputs are not permitted"),
    ]:
        with pytest.raises(ValueError, match=said):
            FitOptions.checked(**given)


@pytest.mark.parametrize("asked_ps", [None, 20.0])
def test_evaluation_fits_into_its_time(asked_ps: float | None) -> None:
    rng = np.random.default_rng(0)
    for seconds, model, reference in np.exp(rng.uniform([0, -1, -4], [9, 5, 3], (200, 3))):
        speeds = dict(model_ps_per_s=model, reference_ps_per_s=reference)
        lengths = evaluation.run_lengths(seconds, **speeds, asked_ps=asked_ps)
        assert lengths.reference_ps <= lengths.nvt_ps <= max(evaluation.LONGEST_PS, asked_ps or 0)
        of_reference = lengths.reference_ps + min(lengths.nve_ps, lengths.reference_ps) + lengths.equilibration_ps
        # No run is shorter than 0.1 ps; lengths have two digits.
        assert of_reference / reference <= 0.45 * seconds + 0.3 / reference
        if asked_ps is None:
            assert (lengths.nvt_ps + lengths.nve_ps) / model <= 0.53 * seconds + 0.2 / model
        else:
            assert lengths.nvt_ps == asked_ps


def test_clock_adds_up_interruptions(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    path.write_text(json.dumps({"seconds": 3000.0, "processor_seconds": 5000.0}))
    clock = Clock(path, hours=1.0)
    assert 3000 <= clock.seconds < 3010
    assert 590 < clock.seconds_left <= 600
    clock.save()
    assert Clock(path, hours=2.0).seconds_left > 4190
    assert Clock(path, hours=0.5).seconds_left == 0.0
    assert 5000 <= clock.processor_seconds < 5010


@pytest.mark.parametrize("moves", range(6))
def test_a_round_begins_whole(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any number of moves, a round goes on to begin, and keeps what the round before made."""
    made = {"energy.yaml": "1", "card.md": "2", "run.onnx": "3", "clock.json": "4"}
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "energy").mkdir()
    (tmp_path / "energy" / "checkpoint.pt").write_text("weights")
    for name in ("data-0.h5", "plan.json", "new.h5"):
        (tmp_path / name).write_text(name)
    with monkeypatch.context() as patched:
        move, done = __import__("shutil").move, []

        def interrupted(*paths) -> None:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(move(*paths))

        patched.setattr("shutil.move", interrupted)
        try:
            begin_round(tmp_path, [tmp_path / "new.h5"], "1a2b3c4d")
        except KeyboardInterrupt:
            assert moves < 5
    finish_beginning(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "data-0.h5",
        "plan.json",
        "new.h5",
        "added-0-1a2b3c4d.h5",
        "round-0",
    }
    assert {path.name for path in (tmp_path / "round-0").iterdir()} == {*made, "energy"}
    assert last_checkpoint(tmp_path, "energy").read_text() == "weights"
    assert added_files(tmp_path)[0].read_text() == "new.h5"
