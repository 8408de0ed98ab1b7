"""A defect of the core reaches Python as an error of the package, and the process goes on."""

import numpy as np
import pytest

from flashmd_rs import FlashMDError, InputError, Model, Simulation, rollout

from conftest import fixture_model


class Raises:
    """An energy that fails."""

    def __init__(self, error):
        self.error = error

    def get_potential_energy(self, *_, **__):
        raise self.error


def test_a_panic_is_an_error(crystal, capfd):
    """PyO3 turns its own exception for panics back into a panic: a way to make one on purpose.

    The simulation it happened in is over; the model is not, for nothing of it is left half done.
    """
    model = Model(fixture_model("pair_alone"), device="cpu", threads=1)

    def simulation(error):
        return Simulation(crystal, model, temperature_K=50, energy_model=Raises(error), rescale_energy=False)

    before = model.stride(crystal)
    with pytest.raises(ValueError, match="mine"):
        simulation(ValueError("mine")).step()
    panic = next(kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException")
    broken = simulation(panic("on purpose"))
    with pytest.raises(FlashMDError, match="a defect of flashmd-rs, please report it"):
        broken.step()
    capfd.readouterr()
    for ask in (broken.step, lambda: broken.state, lambda: broken.report, lambda: broken.trajectory):
        with pytest.raises(InputError, match="ended with an error and cannot go on"):
            ask()
    np.testing.assert_array_equal(model.stride(crystal).positions, before.positions)
    assert len(rollout(crystal, model, steps=1, temperature_K=50, progress=False)) == 2
