"""Every public argument that is a number takes numpy's and arrays without axes, and nothing that is no number."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from ase import Atoms

from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    EnergyRescaling,
    Guard,
    InputError,
    Langevin,
    Model,
    MonteCarloBarostat,
    Output,
    Simulation,
    neighbor_list,
    resume,
    rollout,
)
from flashmd_rs.analysis import radial_distribution

from conftest import fixture_model, make_crystal

FREE = fixture_model("free_flight")


@pytest.fixture(scope="module")
def free():
    return Model(FREE, device="cpu", threads=1)


def argon():
    return make_crystal(2)


def run(name, **more):
    options = {"steps": 1, "progress": False, "seed": 1, **more}

    def call(value, model, folder):
        given = {**options, name: value} | ({"steps": None} if name == "time_ps" else {})
        rollout(argon(), model, **given)

    return call


def simulate(call):
    def use(value, model, folder):
        with Simulation(argon(), model) as simulation:
            call(simulation, value)

    return use


def go_on(name):
    def use(value, model, folder):
        if not (folder / "c").exists():
            rollout(argon(), model, steps=1, checkpoint=folder / "c", progress=False)
        resume(folder / "c", model=model, progress=False, **{"steps": 2 if name == "seed" else None, name: value})

    return use


# What takes a number, a good one, and another of the same kind that is out of range.
REALS = {
    "time_ps": (run("time_ps"), 0.0625, -1.0),
    "temperature_K": (run("temperature_K"), 50.0, -1.0),
    "temperatures": (lambda v, m, f: run("temperature_K")([v], m, f), 50.0, -1.0),
    "pressure_bar": (
        run("pressure_bar", temperature_K=50, energy_model=fixture_model("pair_energy")),
        2.0,
        float("inf"),
    ),
    "stride_fs": (run("stride_fs"), 1.0, 2.0),
    "Simulation.run": (simulate(lambda s, v: s.run(time_ps=v, progress=False)), 0.0625, 0.0),
    "resume": (go_on("time_ps"), 0.0625, 0.0),
    "Langevin": (lambda v, m, f: Langevin(v), 50.0, 0.0),
    "Bussi": (lambda v, m, f: Bussi(v), 50.0, -1.0),
    "CellRescaling": (lambda v, m, f: CellRescaling(time_constant_fs=v), 50.0, 0.0),
    "compressibility": (lambda v, m, f: CellRescaling(compressibility_per_bar=v), 0.5, 0.0),
    "compressibility of Monte Carlo": (lambda v, m, f: MonteCarloBarostat(compressibility_per_bar=v), 0.5, 0.0),
    "EnergyRescaling": (lambda v, m, f: EnergyRescaling(limit=v), 0.5, 2.0),
    "Guard": (lambda v, m, f: Guard(timestep_fs=v), 0.5, 0.0),
    "neighbor_list": (lambda v, m, f: neighbor_list("ij", argon(), v), 3.0, 0.0),
    "r_max_A": (lambda v, m, f: radial_distribution([argon()], ("Ar", "Ar"), r_max_A=v), 3.0, 0.0),
    "bin_A": (lambda v, m, f: radial_distribution([argon()], ("Ar", "Ar"), bin_A=v), 0.5, 0.0),
}
COUNTS = {
    "steps": (run("steps"), 2, 0),
    "interval": (run("interval"), 2, 0),
    "seed": (run("seed"), 2, -1),
    "replica": (run("replica"), 2, -1),
    "observers": (lambda v, m, f: run("observers")([(id, v)], m, f), 2, 0),
    "threads": (lambda v, m, f: Model(FREE, device="cpu", threads=v), 1, 0),
    "Simulation.step": (simulate(lambda s, v: s.step(v)), 2, 0),
    "Simulation.run": (simulate(lambda s, v: s.run(steps=v, progress=False)), 2, 0),
    "resume": (go_on("steps"), 2, 0),
    "seed of resume": (go_on("seed"), 2, -1),
    "CellRescaling": (lambda v, m, f: CellRescaling(interval=v), 2, 0),
    "MonteCarloBarostat": (lambda v, m, f: MonteCarloBarostat(interval=v), 2, 0),
    "Guard": (lambda v, m, f: Guard(fallback_strides=v), 2, 0),
    "Checkpoint": (lambda v, m, f: Checkpoint(f / "d", interval=v), 2, 0),
    "Output": (lambda v, m, f: Output("run.xyz", interval=v), 2, 0),
}
NO_NUMBER = {
    "True": True,
    "numpy's True": np.True_,
    "True without axes": np.array(True),
    "text": "2",
    "bytes": b"2",
    "numpy's text": np.str_("2"),
    "complex": 2 + 0j,
    "numpy's complex": np.complex64(2),
    "a list in it": [[2]],
    "an array of one": np.array([[2]]),
    "a dict": {},
    "a time": np.timedelta64(2, "ns"),
    "an object": object(),
    "nan": float("nan"),
    "infinity": float("inf"),
    "numpy's nan": np.float32("nan"),
    "nan without axes": np.array(np.nan),
    "beyond floats": 10**400,
    "beyond text": 10**5000,
}


@pytest.mark.parametrize("argument", REALS)
def test_real_numbers(argument, free, tmp_path):
    use, good, bad = REALS[argument]
    forms = [good, np.float64(good), np.float32(good), np.float16(good), np.array(good), np.longdouble(good)]
    forms += [Fraction(good), Decimal(good)] + ([int(good), np.int16(good), np.array(int(good))] if good >= 1 else [])
    for form in forms:
        use(form, free, tmp_path)
    for wrong in [bad, np.float64(bad), np.array(bad), *NO_NUMBER.values()]:
        with pytest.raises(InputError) as caught:
            use(wrong, free, tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", COUNTS)
def test_counts(argument, free, tmp_path):
    use, good, bad = COUNTS[argument]
    for form in [good, np.int64(good), np.uint8(good), np.array(good), np.array(good, dtype=np.int16)]:
        use(form, free, tmp_path)
    # Huge whole numbers are out of range for most, and no seed.
    for wrong in [bad, np.int64(bad), np.array(bad), 2.5, np.float64(2.0), np.array(2.0), *NO_NUMBER.values()]:
        with pytest.raises(InputError) as caught:
            use(wrong, free, tmp_path)
        assert "\n" not in str(caught.value)


def test_torch_tensors_are_refused_by_name(free, tmp_path):
    torch = pytest.importorskip("torch")
    for table, value in ((REALS, torch.tensor(0.5)), (COUNTS, torch.tensor(2))):
        for use, *_ in table.values():
            with pytest.raises(InputError, match=r"torch\.Tensor"):
                use(value, free, tmp_path)
    with pytest.raises(InputError, match=r"torch\.Tensor"):
        run("temperature_K")(torch.tensor([50.0]), free, tmp_path)


def test_switches_take_numpys(free):
    options = {"steps": 1, "progress": False, "temperature_K": 50}
    for switch in (np.True_, np.array(False)):
        rollout(argon(), free, metropolis=np.False_, random_rotation=switch, rescale_energy=np.False_, **options)
    for name in ("metropolis", "random_rotation", "rescale_energy", "resume"):
        for wrong in (1, 0, np.int64(1), np.array([True]), None):
            with pytest.raises(InputError, match=name):
                rollout(argon(), free, **options | {name: wrong})


def test_a_list_of_temperatures_in_any_form(free):
    for temperatures in (
        [50, 60],
        (50.0, 60.0),
        np.array([50, 60]),
        np.array([50, 60], dtype=np.float32),
        iter([50, 60]),
    ):
        runs = rollout([argon(), argon()], free, steps=1, temperature_K=temperatures, progress=False)
        assert [run.report["temperature_K"] for run in runs] == [50.0, 60.0]
    for wrong in ([[50], [60, 70]], np.ones((2, 1)), "50", {50: 60}, [50, True], [None, 50]):
        with pytest.raises(InputError, match="temperature"):
            rollout([argon(), argon()], free, steps=1, temperature_K=wrong, progress=False)


def test_what_was_given_is_said(free):
    with pytest.raises(
        InputError, match=r"got steps=array\(2\.5\) \(numpy\.ndarray\), wanted a whole number of strides"
    ):
        rollout(argon(), free, steps=np.array(2.5))
    with pytest.raises(InputError, match=r"got temperature_K=True, wanted a non-negative number of K"):
        rollout(argon(), free, steps=1, temperature_K=True)
    with pytest.raises(InputError, match="wanted letters out of"):
        neighbor_list(3, Atoms("Ar"), 3.0)
