"""What a simulation does before its first stride, and what it is asked for."""

import ase.io
import numpy as np
import pytest

import flashmd_rs
from flashmd_rs import (
    InputError,
    Model,
    Output,
    Simulation,
)
from flashmd_rs._engine.checkpoint import read_checkpoint

from conftest import fixture_model
from runs import BATH, start


class TestNothingBeforeTheFirstStride:
    def test_no_file_is_touched(self, models, tmp_path):
        files = {"trajectory": tmp_path / "run.traj", "logfile": tmp_path / "run.log"}
        for path in files.values():
            path.write_text("precious")
        simulation = Simulation(start(), models("pair_stride"), checkpoint=tmp_path / "c", **files, **BATH)
        assert simulation.nsteps == 0
        _ = simulation.atoms, simulation.state, simulation.report, repr(simulation)
        assert all(path.read_text() == "precious" for path in files.values())
        assert not (tmp_path / "c").exists()
        simulation.close()
        assert all(path.read_text() == "precious" for path in files.values())
        assert {path.name for path in tmp_path.iterdir()} == {"run.traj", "run.log"}

    def test_a_bad_argument_leaves_no_lock(self, models, tmp_path):
        with pytest.raises(InputError, match="temperature_K"):
            Simulation(start(), models("pair_stride"), temperature_K=-1, checkpoint=tmp_path / "c")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("option", ["progress", "device", "time_constant_fs"])
    def test_unknown_options(self, models, option):
        with pytest.raises(TypeError, match=option):
            Simulation(start(), models("pair_stride"), **{option: 1})


class TestContextManager:
    def test_the_end_is_kept(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        with Simulation(start(), models("pair_stride"), trajectory=Output(path, 4), **BATH) as simulation:
            assert simulation.nsteps == 0
            simulation.step(6)
            assert len(ase.io.read(path, ":")) == 2
        assert [frame.info["step"] for frame in ase.io.read(path, ":")] == [0, 4, 6]

    def test_an_error_inside_closes_and_passes(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        with (
            pytest.raises(ZeroDivisionError),
            Simulation(
                start(), models("pair_stride"), trajectory=path, checkpoint=tmp_path / "c", **BATH
            ) as simulation,
        ):
            simulation.step(6)
            _ = 1 / 0
        assert ase.io.read(path).info["step"] == 6
        assert read_checkpoint(tmp_path / "c").step == 6
        with pytest.raises(InputError, match="closed"):
            simulation.step()

    def test_closed(self, models, tmp_path):
        """What moves is one clear error; what was measured can still be asked for."""
        simulation = Simulation(start(), models("pair_stride"), steps=5, interval=2, seed=1, **BATH)
        simulation.step(3)
        simulation.close()
        simulation.close()
        moves = (simulation.step, simulation.run, lambda: simulation.run(steps=1), lambda: list(simulation))
        for move in moves:
            with pytest.raises(InputError, match="the simulation is closed: go on from a checkpoint"):
                move()
        assert simulation.nsteps == 3
        assert simulation.report["steps"] == 3
        assert [frame.info["step"] for frame in simulation.trajectory] == [0, 2, 3]
        np.testing.assert_array_equal(simulation.atoms.positions, simulation.trajectory[-1].positions)

    def test_closed_before_it_began(self, models):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.close()
        with pytest.raises(InputError, match="closed"):
            simulation.step()
        np.testing.assert_array_equal(simulation.atoms.positions, start().positions)


def test_a_model_by_name(models):
    """Opened once, as `rollout` opens it."""
    simulation = Simulation(start(), fixture_model("pair_stride"), seed=1, **BATH)
    simulation.step()
    assert simulation.report["model"] == "pair_stride"
    model = Model(fixture_model("pair_stride"), device="cpu", threads=1)
    assert Simulation(start(), model, **BATH).report["threads"] == 1
    assert flashmd_rs.Simulation is Simulation


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: Simulation(start(), m, foo=1), TypeError, "unexpected option 'foo'; it takes steps, time_ps"),
        (lambda m: Simulation(start(), m, temperature_K=[[300.0]]), InputError, "temperature_K"),
        (lambda m: Simulation(start(), m, **BATH).save(5), InputError, "got int for checkpoint, wanted a path"),
        (lambda m: Simulation.load(5), InputError, "got int for checkpoint, wanted a path"),
        (lambda m: Simulation(start(), m, logfile="", **BATH), InputError, "empty text for logfile"),
        (lambda m: Simulation(start(), m, checkpoint="", **BATH), InputError, "empty text for checkpoint"),
    ],
)
def test_one_clear_error(models, call, error, message):
    with pytest.raises(error, match=message):
        call(models("pair_stride"))


def test_a_temperature_may_be_any_number(models):
    simulation = Simulation(start(), models("pair_stride"), temperature_K=np.array(60.0))
    assert simulation.report["temperature_K"] == 60.0
