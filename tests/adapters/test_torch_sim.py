"""Strides inside a real torch-sim, which needs PyTorch: CI runs this in the environment of the trainer."""

import numpy as np
import pytest
from ase import units

import flashmd_rs
from flashmd_rs import InputError, Langevin, Simulation

from conftest import fixture_model, make_crystal

ts = pytest.importorskip("torch_sim")
import torch  # noqa: E402
from torch_sim.models.soft_sphere import SoftSphereModel  # noqa: E402

from flashmd_rs.adapters.torch_sim import NoPotential, strides  # noqa: E402

STRIDE_PS = 2e-3


def crystals():
    """Systems of several sizes, the host's cells turned so that rows are not columns."""
    one, other = make_crystal(4), make_crystal(5, seed=4)
    other.set_cell(other.cell.array @ np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.0]]), scale_atoms=True)
    return [one, other]


def state_of(structures, dtype=torch.float64):
    """A state with the structures' momenta, which torch-sim's own reader leaves out."""
    state = ts.initialize_state(structures, torch.device("cpu"), dtype)
    momenta = np.concatenate([atoms.get_momenta() for atoms in structures])
    return ts.integrators.MDState(
        positions=state.positions,
        masses=state.masses,
        cell=state.cell,
        pbc=state.pbc,
        atomic_numbers=state.atomic_numbers,
        system_idx=state.system_idx,
        momenta=torch.as_tensor(momenta, dtype=dtype),
        energy=torch.zeros(len(structures), dtype=dtype),
        forces=torch.zeros_like(state.positions),
    )


def integrate(state, integrator, n_steps=10, temperature=50.0, timestep=STRIDE_PS, model=None, **options):
    return ts.integrate(
        state,
        model or NoPotential(dtype=getattr(state, "dtype", torch.float64)),
        integrator=integrator,
        n_steps=n_steps,
        temperature=temperature,
        timestep=timestep,
        **options,
    )


def check_same(state, simulation, within=1e-12):
    """The host's tensors are what the simulation holds."""
    views = simulation.state
    for name in ("positions", "momenta"):
        wanted = np.concatenate([getattr(view, name) for view in views])
        np.testing.assert_allclose(getattr(state, name).numpy(), wanted, rtol=0, atol=within)
    np.testing.assert_allclose(state.row_vector_cell.numpy(), [view.cell for view in views], rtol=0, atol=within)


def test_steps_are_strides_of_a_batch(models):
    moved = integrate(state_of(crystals()), strides(models("pair_stride"), thermostat="none"))
    alone = Simulation(crystals(), models("pair_stride"), momenta="structure")
    alone.step(10)
    check_same(moved, alone)


def test_a_thermostat_has_the_temperatures_of_the_systems(models):
    bath = {"thermostat": Langevin(100), "seed": 3}
    init, step = strides(models("pair_stride"), **bath)
    kT = torch.tensor([40.0, 70.0], dtype=torch.float64) * units.kB
    dt = 1000 * STRIDE_PS * units.fs
    state = init(state=state_of(crystals()), model=NoPotential(), kT=kT, dt=dt)
    for _ in range(5):
        state = step(state=state, model=NoPotential(), kT=kT, dt=dt)
    alone = Simulation(
        crystals(), models("pair_stride"), temperature_K=(kT / units.kB).tolist(), momenta="structure", **bath
    )
    alone.step(5)
    check_same(state, alone)


def test_pressure_changes_the_box(models):
    options = {"pressure_bar": 2000.0, "energy_model": fixture_model("pair_energy"), "seed": 3}
    moved = integrate(state_of(crystals()), strides(models("pair_stride"), **options), 60)
    alone = Simulation(crystals(), models("pair_stride"), temperature_K=50.0, momenta="structure", **options)
    alone.step(60)
    assert abs(alone.state[0].volume_A3 / crystals()[0].get_volume() - 1) > 1e-4
    check_same(moved, alone, 1e-9)


def test_momenta_are_drawn_by_torch_sim(models):
    moved = integrate(crystals(), strides(models("pair_stride"), thermostat="none"), 1, temperature=80.0)
    kelvin = float((moved.momenta**2 / moved.masses[:, None]).sum()) / (3 * (len(moved.momenta) - 2)) / units.kB
    # 189 atoms of which none has moved far: a χ² of 561 degrees of freedom, 6 % wide, within four of it.
    assert kelvin == pytest.approx(80.0, rel=0.24)


def test_energies_are_those_of_the_hosts_model(models):
    potential = SoftSphereModel(sigma=2.6, epsilon=0.5, dtype=torch.float64, use_neighbor_list=False)
    state = state_of([make_crystal(4)])
    moved = integrate(state, strides(models("pair_stride"), thermostat="none"), model=potential)
    wanted = potential(moved)
    assert torch.equal(moved.energy, wanted["energy"])
    assert moved.energy.item() > 0
    assert torch.equal(moved.forces, wanted["forces"])


def test_reporters_and_batches(models, tmp_path):
    """Each system has its file, also where torch-sim makes batches of one system each."""
    integrator = strides(models("pair_stride"), thermostat="none")
    together, apart = ([tmp_path / f"{how}-{i}.h5" for i in range(2)] for how in ("together", "apart"))
    everything = {"state_frequency": 2, "prop_calculators": {}}
    integrate(state_of(crystals()), integrator, trajectory_reporter={"filenames": together, **everything})
    one_each = ts.autobatching.BinningAutoBatcher(NoPotential(), memory_scales_with="n_atoms", max_memory_scaler=130)
    integrate(
        state_of(crystals()), integrator, autobatcher=one_each, trajectory_reporter={"filenames": apart, **everything}
    )
    for index, atoms in enumerate(crystals()):
        alone = Simulation([atoms], models("pair_stride"), momenta="structure")
        alone.step(10)
        for path in (together[index], apart[index]):
            with ts.TorchSimTrajectory(path) as file:
                last = file.get_array("positions")[-1]
            np.testing.assert_allclose(last, alone.state[0].positions, rtol=0, atol=1e-5)


@pytest.mark.parametrize("in_place", [False, True], ids=["new tensors", "in place"])
@pytest.mark.parametrize("name", ["positions", "momenta", "cell"])
def test_what_a_host_moves_is_seen(models, name, in_place):
    init, step = strides(models("pair_stride"), thermostat="none")
    common = {"model": NoPotential(), "kT": torch.tensor(0.0), "dt": 1000 * STRIDE_PS * units.fs}
    state = step(state=init(state=state_of(crystals()), **common), **common)
    alone = Simulation(crystals(), models("pair_stride"), momenta="structure")
    alone.step()
    moved = alone.atoms
    if in_place:
        getattr(state, name).mul_(1.01)
    else:
        setattr(state, name, getattr(state, name) * 1.01)
    for atoms in moved:
        if name == "cell":
            atoms.set_cell(atoms.cell.array * 1.01)
        else:
            atoms.arrays[name] = atoms.arrays[name] * 1.01
    alone.atoms = moved
    alone.step()
    check_same(step(state=state, **common), alone)


def test_batches_are_replicas_of_one_run(models):
    """The same noise however the systems are batched, and other noise for each."""
    four, noisy = [make_crystal(4)] * 4, {"thermostat": Langevin(50), "seed": 3}
    ends = []
    for at_once in (1000, 65):
        batcher = ts.autobatching.BinningAutoBatcher(
            NoPotential(), memory_scales_with="n_atoms", max_memory_scaler=at_once
        )
        state = integrate(state_of(four), strides(models("pair_stride"), **noisy), autobatcher=batcher)
        ends.append(state.positions.reshape(4, -1))
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-12)
    assert torch.cdist(ends[0], ends[0]).add(torch.eye(4)).min() > 0.1


def test_a_state_of_32_bits_does_not_cut_the_strides_short(models):
    integrator = strides(models("pair_stride"), thermostat="none")
    coarse = integrate(state_of(crystals(), torch.float32), integrator, 200)
    start = crystals()
    for atoms in start:  # as the host holds them
        atoms.set_masses(atoms.get_masses())
        for name in ("positions", "momenta", "masses"):
            atoms.arrays[name] = atoms.arrays[name].astype(np.float32).astype(np.float64)
        atoms.cell[:] = atoms.cell.array.astype(np.float32)
    alone = Simulation(start, models("pair_stride"), momenta="structure")
    alone.step(200)
    wanted = np.concatenate([view.positions for view in alone.state]).astype(np.float32)
    np.testing.assert_array_equal(coarse.positions.numpy(), wanted)


def test_a_failure_is_raised(models):
    with pytest.warns(flashmd_rs.FlashMDWarning), pytest.raises(flashmd_rs.StabilityError):
        integrate(
            state_of(crystals()), strides(fixture_model("explodes"), thermostat="none", guard="off"), 100, timestep=1e-3
        )


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, {"timestep": 1e-3}, "timestep of 1 fs; strides of pair_stride are 2.0 fs"),
        ({}, {"temperature": [50.0] * 9 + [60.0]}, "temperature that changes from step to step"),
        ({"temperature_K": 50}, {}, "temperature_K, which is torch-sim's part here: give it by temperature"),
        ({"trajectory": "run.xyz"}, {}, "give it by trajectory_reporter"),
        ({}, {"gamma": 3.0}, "got gamma, which integrate hands to its integrator: give it to strides"),
    ],
)
def test_refusals(models, options, call, message):
    with pytest.raises(InputError, match=message):
        integrate(state_of(crystals()), strides(models("pair_stride"), **options), **call)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": torch.tensor([0.1, 0.2])}, "got 2 time steps"),
        ({"kT": torch.tensor([1.0, 2.0, 3.0])}, "got 3 temperatures for 2 systems"),
        ({"dt": 0.1}, r"strides of pair_stride are 2.0 fs"),
    ],
)
@pytest.mark.parametrize("begun", [False, True], ids=["init", "step"])
def test_steps_and_temperatures_that_do_not_fit_are_refused(models, changes, message, begun):
    init, step = strides(models("pair_stride"))
    right = {"model": NoPotential(), "kT": 50.0 * units.kB, "dt": 1000 * STRIDE_PS * units.fs}
    state = state_of(crystals())
    if begun:
        state = init(state=state, **right)
    with pytest.raises(InputError, match=message):
        (step if begun else init)(state=state, **(right | changes))


def test_a_step_before_init_is_refused(models):
    _, step = strides(models("pair_stride"))
    with pytest.raises(InputError, match="before init"):
        step(state=state_of(crystals()), model=NoPotential(), kT=torch.tensor(0.0), dt=1.0)


def test_constraints_are_refused(models):
    constraints = pytest.importorskip("torch_sim.constraints", reason="torch-sim 0.3 has none")
    state = state_of(crystals())
    state.constraints = constraints.FixAtoms(atom_idx=[0])
    with pytest.raises(InputError, match="got a state with constraints"):
        integrate(state, strides(models("pair_stride")))
