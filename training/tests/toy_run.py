"""A run of `fit` on 32 atoms of copper–gold that takes as little as there is, on a busy machine as well."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashmd_train.workflow import choices, cutoffs, fit, plan, planning, trainings

SYSTEMS = Path(__file__).parents[2] / "examples" / "systems"
CONFIG = SYSTEMS / "copper-gold" / "system.yaml"
# The options of the run, and as flags.
OPTIONS = dict(temperature_K=600, hours=1.0, stride_fs=32.0, equilibration_ps=0.3, evaluation_ps=1.0)
SIZE = {"cells": 2}
SHORT = ["--equilibration-ps", "0.3", "--evaluation-ps", "1", "--workers", "2"]
FLAGS = ["--structure-args", "cells=2", *SHORT]
# What is decided before the data, and by it.
DECIDED = ("request.json", "plan.json", "choices.json")


@contextlib.contextmanager
def small() -> Iterator[None]:
    """No more segments, no longer baths, no more cutoffs, steps and energies than a run can do with."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "MOST_SEGMENTS", plan.FEWEST_SEGMENTS)
        patched.setattr(plan, "LONGEST_BATH_FS", 64.0)
        patched.setattr(cutoffs, "CUTOFFS_A", (4.0, 5.0))
        patched.setattr(trainings, "TRIAL_STEPS", 30)
        patched.setattr(trainings, "TRIAL_FORCE_STEPS", 10)
        patched.setattr(choices, "MOST_STEPS", 100)
        patched.setattr(choices, "MOST_ENERGY_STEPS", 200)
        patched.setattr(fit, "FEWEST_STEPS", 30)
        patched.setattr(planning, "ENERGIES", 40)
        yield


def copied(run: Path, folder: Path, names: tuple[str, ...] | None = None) -> Path:
    """A copy of a run, or of some of its files, under the same name in another folder."""
    copy = folder / run.name
    if names is None:
        shutil.copytree(run, copy)
    else:
        copy.mkdir(parents=True)
        for name in names:
            shutil.copy(run / name, copy)
    return copy
