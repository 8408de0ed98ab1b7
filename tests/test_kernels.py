"""Kernels against ONNX Runtime alone: the same numbers to rounding, whatever the structure and the threads."""

import ase
import numpy as np
import onnxruntime
import pytest
from ase.build import bulk

import flashmd_rs
from flashmd_rs import _core
from flashmd_rs.temperature import draw_momenta

# Of the largest number of an output: rounding in 32 bits, of sums in another order.
AGREEMENT = 2e-5

needs_kernels = pytest.mark.skipif(_core.kernel_version() is None, reason="kernels are not for this processor")


@pytest.fixture(scope="module")
def opened():
    """Bundled models by name, threads and kernels, each opened once."""
    known = {}

    def get(name, threads=1, kernels="auto"):
        key = (name, threads, kernels)
        if key not in known:
            known[key] = flashmd_rs.Model(name, device="cpu", threads=threads, kernels=kernels)
        return known[key]

    return get


def waters(count, box, seed):
    """So many waters at random places of a cubic box (Å), at 300 K: from lone molecules to all within reach."""
    rng = np.random.default_rng(seed)
    shape = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    places = []
    while len(places) < count:
        place = rng.uniform(0, box, 3)
        apart = [np.linalg.norm((place - other + box / 2) % box - box / 2) for other in places]
        if min(apart, default=9.0) > 2.6:
            places.append(place)
    positions = np.concatenate([place + shape @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for place in places])
    atoms = ase.Atoms("OHH" * count, positions=positions, cell=[box] * 3, pbc=True)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=seed))
    return atoms


def metal(size, holes, seed):
    """Aluminium with so many atoms left out, and one far from all others."""
    atoms = bulk("Al", cubic=True) * (size, size, size)
    atoms.set_cell(atoms.cell + np.diag([0.0, 0.0, 30.0]))
    atoms += ase.Atoms("Al", positions=[[5.0, 5.0, atoms.positions[:, 2].max() + 14.0]])
    rng = np.random.default_rng(seed)
    del atoms[rng.choice(len(atoms) - 1, holes, replace=False)]
    atoms.rattle(0.08, rng=rng)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 600.0, seed=seed))
    return atoms


WATER = [waters(1, 20.0, 1), waters(7, 30.0, 2), waters(40, 12.5, 3), flashmd_rs.load_structure("water258")]
STRUCTURES = {
    "water": WATER,
    "water-nve": WATER,
    "water-energy": WATER,
    "aluminium": [ase.Atoms("Al", momenta=[[1, 0, 0]]), metal(2, 3, 4), metal(4, 30, 5)],
}


def outcome(model, atoms):
    """Arrays that a model gives for a structure."""
    if model.kind == "energy":
        return [np.array([model.energy(atoms)]), model.forces(atoms)]
    end = model.stride(atoms)
    return [end.positions - atoms.positions, end.get_momenta()]


@needs_kernels
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.filterwarnings("ignore:.*trained on bulk")
def test_bundled_models_give_what_onnx_runtime_gives(opened, name):
    plain, fast = opened(name, kernels="off"), opened(name)
    assert fast.kernel_version == 1
    assert plain.kernel_version is None
    wanted = [outcome(plain, atoms) for atoms in STRUCTURES[name]]
    # Forces of one molecule are small differences of large ones: what counts is the largest of all structures.
    largest = [max(np.abs(array).max() for array in arrays) for arrays in zip(*wanted, strict=True)]
    for atoms, arrays in zip(STRUCTURES[name], wanted, strict=True):
        for got, array, scale in zip(outcome(fast, atoms), arrays, largest, strict=True):
            assert np.abs(got - array).max() <= AGREEMENT * scale


@needs_kernels
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.filterwarnings("ignore:.*trained on bulk")
def test_any_number_of_threads_and_every_run_give_the_same_bits(opened, name):
    atoms = STRUCTURES[name][2]
    first = outcome(opened(name), atoms)
    for threads in (1, 2, 3):
        model = opened(name, threads)
        for _ in range(67):
            for got, wanted in zip(outcome(model, atoms), first, strict=True):
                assert np.array_equal(got, wanted)


@needs_kernels
def test_most_operators_of_the_bundled_models_are_in_stages(opened):
    """And in few: what lies between two stages goes through memory."""
    most = {"water": 18, "water-nve": 5, "water-energy": 5, "aluminium": 2}
    for name in STRUCTURES:
        stages, operators, left = opened(name)._core.kernels
        assert left <= 12, name
        assert operators > 15 * left, name
        assert stages <= most[name], name


def test_without_kernels_the_numbers_are_those_of_onnx_runtime_to_the_last_bit(opened):
    atoms, model = STRUCTURES["water-energy"][2], opened("water-energy", kernels="off")
    edges = _core.Edges(model.cutoff_A)
    edges.update(atoms.positions, atoms.cell[:], atoms.pbc)
    vectors, mask, neighbors, reverse = edges.arrays()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    every = {
        "species": np.array([model.species.index(s) for s in atoms.get_chemical_symbols()], np.int32),
        "edge_vectors": vectors,
        "mask": mask,
        "neighbors": neighbors,
        "reverse": reverse,
    }
    feeds = {value.name: every[value.name] for value in session.get_inputs()}
    (gradient,) = session.run(["edge_gradient"], feeds)
    forces = np.zeros((len(atoms), 3))
    for i, k in np.argwhere(mask):
        forces[i] += gradient[i, k].astype(float)
        forces[neighbors[i, k]] -= gradient[i, k].astype(float)
    assert np.array_equal(model.forces(atoms), forces)


def test_an_unknown_setting_is_refused():
    with pytest.raises(flashmd_rs.InputError, match="kernels"):
        flashmd_rs.Model("water", kernels="on")


@needs_kernels
def test_a_run_goes_on_with_the_kernels_it_began_with(opened, tmp_path):
    atoms = STRUCTURES["water"][2]
    made = {}
    for kernels in ("auto", "off"):
        model = opened("water", kernels=kernels)
        arguments = {"temperature_K": 300, "seed": 1, "rescale_energy": False, "guard": "off"}
        whole = flashmd_rs.rollout(atoms, model, steps=6, **arguments)
        flashmd_rs.rollout(atoms, model, steps=3, checkpoint=tmp_path / kernels, **arguments)
        made[kernels] = flashmd_rs.resume(tmp_path / kernels, steps=6)
        assert np.array_equal(made[kernels][-1].positions, whole[-1].positions)
        assert ("version 1" in whole.report["kernels"]) == (kernels == "auto")
    assert not np.array_equal(made["auto"][-1].positions, made["off"][-1].positions)


@needs_kernels
def test_a_run_that_goes_on_otherwise_says_so(opened, tmp_path):
    atoms, file = STRUCTURES["water"][2], tmp_path / "run.checkpoint"
    arguments = {"temperature_K": 300, "seed": 1, "rescale_energy": False, "guard": "off"}
    flashmd_rs.rollout(atoms, opened("water", kernels="off"), steps=2, checkpoint=file, **arguments)
    with pytest.warns(UserWarning, match="without kernels and goes on with kernels of version 1: not to the last bit"):
        flashmd_rs.resume(file, model=opened("water"), steps=4)


@needs_kernels
def test_the_energy_model_of_a_run_follows_its_model(opened):
    atoms, model = STRUCTURES["water"][3], opened("water", kernels="off")
    arguments = {"temperature_K": 300, "seed": 1, "steps": 4, "rescale_energy": "species"}
    by_name = flashmd_rs.rollout(atoms, model, energy_model="water-energy", **arguments)
    given = flashmd_rs.rollout(atoms, model, energy_model=opened("water-energy", kernels="off"), **arguments)
    assert np.array_equal(by_name[-1].positions, given[-1].positions)
