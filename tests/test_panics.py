"""A defect of the core reaches Python as an error of the package, and the process goes on."""

import pytest

from flashmd_rs import FlashMDError, Model, ModelError, rollout

from conftest import fixture_model


class Raises:
    """An energy that fails."""

    def __init__(self, error):
        self.error = error

    def get_potential_energy(self, *_, **__):
        raise self.error


def run(crystal, model, error):
    rollout(crystal, model, steps=1, temperature_K=50, energy_model=Raises(error), rescale_energy=False, progress=False)


def test_a_panic_is_an_error(crystal, capfd):
    """PyO3 turns its own exception for panics back into a panic: a way to make one on purpose."""
    model = Model(fixture_model("pair_alone"), device="cpu", threads=1)
    with pytest.raises(ValueError, match="mine"):
        run(crystal, model, ValueError("mine"))
    panic = next(kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException")
    with pytest.raises(FlashMDError, match="a defect of flashmd-rs, please report it"):
        run(crystal, model, panic("on purpose"))
    capfd.readouterr()
    with pytest.raises(ModelError, match="load it again"):
        model.stride(crystal)
    run_again = rollout(
        crystal, Model(fixture_model("pair_alone"), device="cpu"), steps=1, temperature_K=50, progress=False
    )
    assert len(run_again) == 2
