"""Training runs: resumed to the same bits, on several processes, in mixed precision, ended early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import CUTOFF, OPTIONS, direct_training

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.checkpoint import TrainingRun, learning_rate
from flashmd_train.learning.config import Data, EnergyTraining, Loss, Optimizer
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.energy import train_energy
from flashmd_train.learning.losses import StrideObjective
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.direct import Direct


def test_the_schedule_begins_anew_at_a_fifth() -> None:
    optimizer = Optimizer(steps=100, learning_rate=1.0, warmup=10, restart=0.6)
    rates = [learning_rate(step, optimizer) for step in range(100)]
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[59] < 0.02
    assert max(rates[60:]) == rates[69] == pytest.approx(0.2)
    assert rates[99] < 0.005


class TestTraining:
    @pytest.mark.parametrize("backbone", OPTIONS)
    @pytest.mark.parametrize("case", ["plain", "everything"])
    def test_resumes_to_the_same_bits(
        self, backbone: str, case: str, data_file: Path, energy_run: Path, tmp_path: Path
    ) -> None:
        given = direct_training(data_file, backbone)
        if case == "everything":
            loss = Loss(kind="plain", strides=2, energy_weight=0.1, energy_run=energy_run, variance_weight=0.1)
            given = direct_training(data_file, backbone, model=dict(noise=True), loss=loss)
            noisy = given.data.model_copy(update=dict(position_noise_A=0.01, momentum_noise=0.01))
            given = given.model_copy(update=dict(data=noisy))
        whole = train_direct(given, tmp_path / "whole")
        train_direct(given, tmp_path / "halves", stop_after=2)
        halves = train_direct(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)
        lines = (tmp_path / "halves" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 4]
        assert list((tmp_path / "halves").glob("events.out.tfevents.*"))

    def test_an_announced_end_saves(self, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between two validations, where nothing would have been saved."""
        given = direct_training(data_file, "edgemp").model_copy(update=dict(every=4))
        whole = train_direct(given, tmp_path / "whole")
        draw = StridePairs.draw
        with monkeypatch.context() as patch:
            patch.setattr(StridePairs, "draw", lambda *a: os.kill(os.getpid(), signal.SIGUSR1) or draw(*a))
            with pytest.raises(SystemExit) as ended:
                train_direct(given, tmp_path / "halves")
        assert ended.value.code == 128 + signal.SIGUSR1
        assert torch.load(tmp_path / "halves" / "checkpoint.pt", weights_only=False)["step"] == 1
        halves = train_direct(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)

    def test_two_processes_average_their_gradients(self, data_file: Path, data: Dataset, tmp_path: Path) -> None:
        """Two steps of `torchrun` with two processes against two by hand on all of their boxes."""
        given = direct_training(data_file, "edgemp", steps=2)
        (tmp_path / "c.yaml").write_text(given.model_dump_json())
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        command += ["-m", "flashmd_train", "direct", str(tmp_path / "c.yaml"), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)

        torch.manual_seed(given.seed)
        model = Direct(given.model)
        training, _ = data.split(given.data.validation, seed=0)
        pairs = StridePairs(data, training, 2.0, CUTOFF, augment=True)
        objective = StrideObjective(model, given.loss)
        run = TrainingRun(tmp_path / "hand", given.model, model, given.optimizer, given.seed)
        for step in range(2):
            draws = [pairs.draw(np.random.default_rng([given.seed, step, rank]), 1) for rank in range(2)]
            run.optimizer_step(0.5 * sum(objective(batch)[0] for batch in draws))
        for name, value in model.state_dict().items():
            assert torch.allclose(value, saved["model"][name], rtol=1e-4, atol=1e-6), name

    def test_mixed_precision_learns_the_same(self, data_file: Path, tmp_path: Path) -> None:
        losses = []
        for precision in ("float32", "bfloat16"):
            given = direct_training(data_file, "edgemp")
            optimizer = given.optimizer.model_copy(update=dict(precision=precision))
            train_direct(given.model_copy(update=dict(optimizer=optimizer)), tmp_path / precision)
            line = json.loads((tmp_path / precision / "log.jsonl").read_text().splitlines()[-1])
            losses.append(line["loss_momentum"])
        assert losses[0] != losses[1]
        assert abs(losses[0] - losses[1]) < 0.05 * losses[0]

    def test_stops_when_nothing_gets_better_and_keeps_the_best(self, data_file: Path, tmp_path: Path) -> None:
        given = direct_training(data_file, "edgemp", steps=40)
        # Steps so long that only the first validations can be the best.
        optimizer = given.optimizer.model_copy(update=dict(learning_rate=0.3, patience=2))
        model = train_direct(given.model_copy(update=dict(optimizer=optimizer, every=1)), tmp_path / "run")
        lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        scores = [line["momentum_error"] + line["displacement_error"] for line in lines]
        assert len(lines) == int(np.argmin(scores)) + 3 < 40
        saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)
        for name, value in model.state_dict().items():
            assert torch.equal(value, saved["best"][name])

    def test_energy_training_resumes_and_takes_several_boxes(self, data_file: Path, tmp_path: Path) -> None:
        model = EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4)
        data = Data(files=(data_file,), boxes=2)
        given = EnergyTraining(model=model, data=data, optimizer=Optimizer(steps=4), every=2)
        whole = train_energy(given, tmp_path / "whole")
        train_energy(given, tmp_path / "halves", stop_after=2)
        halves = train_energy(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)
