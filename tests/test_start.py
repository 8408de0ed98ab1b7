"""The check of a structure before it is moved, and what ends a run that has come apart."""

import json
import warnings
from itertools import product

import numpy as np
import onnx
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixCom
from ase.geometry import find_mic

from flashmd_rs import (
    Bussi,
    Checkpoint,
    FlashMDWarning,
    Guard,
    InputError,
    Langevin,
    Model,
    Simulation,
    StabilityError,
    load_structure,
    rollout,
)
from flashmd_rs.describe import summary
from flashmd_rs.temperature import draw_momenta

from conftest import fixture_model, make_crystal, one_clear_error

WATER = {"species": ["O", "H"], "longest_A": 1.35, "counts": [2, 1]}


def stamped(name, target, bonds):
    """A copy of a bundled model whose metadata state these bonds."""
    model = onnx.load(Model(name, device="cpu", threads=1).path)
    entry = next(entry for entry in model.metadata_props if entry.key == "flashmd")
    metadata = json.loads(entry.value)
    metadata["domain"] = metadata["domain"] | {"bonds": bonds}
    entry.value = json.dumps(metadata)
    onnx.save(model, target)
    return Model(target, device="cpu", threads=1)


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    return stamped("water", tmp_path_factory.mktemp("stamped") / "water.onnx", [WATER])


@pytest.fixture(scope="module")
def water_nve(tmp_path_factory):
    """Without stated bonds: what its templates imply is left."""
    return stamped("water-nve", tmp_path_factory.mktemp("implied") / "water-nve.onnx", [])


def with_momenta(atoms):
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 300.0, seed=1))
    return atoms


def box():
    return load_structure("water258")


def without(*indices):
    atoms = box()
    del atoms[list(indices)]
    return with_momenta(atoms)


def with_hydrogen(place):
    atoms = box()
    return with_momenta(atoms + Atoms("H", [place]))


def hole():
    """The place in water that is furthest from any atom."""
    atoms = box()
    places = np.random.default_rng(1).uniform(0, 1, (1000, 3)) @ atoms.cell.array
    away = [np.linalg.norm(find_mic(atoms.positions - p, atoms.cell, atoms.pbc)[0], axis=1) for p in places]
    return places[int(np.argmax([distances.min() for distances in away]))]


def alone(name, edge=12.0):
    atoms = molecule(name)
    atoms.set_cell([edge] * 3)
    atoms.center()
    atoms.pbc = True
    return with_momenta(atoms)


def oxygens():
    """A box of oxygens alone at water's density."""
    atoms = bulk("O", "sc", a=2.98, cubic=True) * 6
    atoms.rattle(0.1, seed=1)
    return with_momenta(atoms)


def out_of_water():
    """The direction from the first oxygen away from its hydrogens."""
    atoms = box()
    arms = atoms.get_distances(0, [1, 2], mic=True, vector=True)
    return -arms.sum(0) / np.linalg.norm(arms.sum(0))


# Structure, and what is said about which atom.
BROKEN = {
    "one proton missing": (lambda: without(1), r"atom 0 \(O\) has 1 H within 1.35 Å \(H of atom 1\).* knows .* 2"),
    "two protons missing": (lambda: without(1, 2), r"atom 0 \(O\) has 0 H within 1.35 Å \(nothing\)"),
    "an oxygen missing": (lambda: without(0), r"atom 0 \(H\) has 0 O within 1.35 Å.*1 more atoms? "),
    "hydronium": (lambda: with_hydrogen(box().positions[0] + out_of_water()), r"atom 0 \(O\) has 3 H within 1.35 Å"),
    "a lone hydrogen": (lambda: with_hydrogen(hole()), r"atom 774 \(H\) has 0 O within"),
    "hydroxide": (lambda: alone("OH"), r"atom 0 \(O\) has 1 H"),
    "hydrogen": (lambda: alone("H2"), r"atom 0 \(H\) has 0 O within 1.35 Å \(H of atom 1\)"),
    "oxygen": (lambda: alone("O2"), r"atom 0 \(O\) has 0 H within 1.35 Å \(O of atom 1\)"),
    "peroxide": (lambda: alone("H2O2"), r"atom 0 \(O\) has 1 H .*1 more atoms? "),
    "oxygens at water's density": (oxygens, r"atom 0 \(O\) has 0 H.*215 more atoms"),
    "one hydrogen": (lambda: with_momenta(Atoms("H", cell=[9, 9, 9], pbc=True)), r"atom 0 \(H\) has 0 O"),
}
# Templates say at least how many bonds there are.
IMPLIED = set(BROKEN) - {"hydronium"}


@pytest.mark.parametrize("case", BROKEN)
def test_bonds_that_a_model_does_not_know_are_refused(case, water, water_nve):
    make, message = BROKEN[case]
    atoms = make()
    models = [water, water_nve] if case in IMPLIED else [water]
    uses = (
        lambda model: rollout(atoms, model, steps=1, temperature_K=300, progress=False),
        lambda model: Simulation([box(), atoms], model, temperature_K=300),
        lambda model: model.stride(atoms),
    )
    for use, model in product(uses, models):
        with pytest.raises(InputError, match=message) as caught:
            use(model)
        assert "guard='off'" in str(caught.value)


def test_whole_molecules_are_moved(water, water_nve, recwarn):
    for model in (water, water_nve):
        rollout(box(), model, steps=1, temperature_K=300, progress=False)
        model.stride(box())
    assert len(recwarn) == 0


def test_a_run_without_a_guard_does_not_look_at_bonds(water):
    run = rollout(without(1), water, steps=2, temperature_K=300, guard="off", seed=1, progress=False)
    assert np.isfinite(run[-1].positions).all()


def test_bonds_are_looked_at_before_a_run_not_within(water, tmp_path):
    """What was begun goes on: a checkpoint is no new structure."""
    options = {"temperature_K": 300, "seed": 1, "checkpoint": Checkpoint(tmp_path / "c", interval=1), "progress": False}
    rollout(without(1), water, steps=1, guard="off", **options)
    run = rollout(without(1), water, steps=2, resume=True, **options)
    assert run[-1].info["step"] == 2


@pytest.mark.parametrize(
    ("bond", "message"),
    [
        (WATER | {"species": ["O", "C"]}, "wanted species of the model"),
        (WATER | {"longest_A": 0.0}, "longest_A of at most"),
        (WATER | {"longest_A": 50.0}, "longest_A of at most"),
        (WATER | {"species": ["O", "O"]}, "the same count twice"),
        (WATER | {"counts": [2, -1]}, "does not fit the contract"),
        ({"species": ["O", "H"]}, "missing field `longest_A`"),
    ],
)
def test_unsound_bonds_are_no_model(bond, message, tmp_path):
    with pytest.raises(Exception, match=message) as caught:
        stamped("water", tmp_path / "odd.onnx", [bond])
    assert type(caught.value).__name__ == "ModelError"


def placed(*positions, cell=8.0, symbols=None):
    atoms = Atoms(symbols or "Ar" * len(positions), positions, cell=np.full(3, cell), pbc=True)
    atoms.set_momenta(np.full((len(atoms), 3), 0.05))
    return atoms


CROWDED = {
    "the same place": (lambda: placed([1, 1, 1], [1, 1, 1]), r"atoms 0 \(Ar\) and 1 \(Ar\) are 0\.000 Å apart"),
    "nearly": (lambda: placed([1, 1, 1], [1, 1, 1.2]), r"0\.200 Å apart.* wanted at least 0\.370 Å"),
    "an image": (lambda: placed([0, 1, 1], [8, 1, 1]), r"atoms 0 \(Ar\) and 1 \(Ar\) are 0\.000 Å.*images"),
    "an image far away": (lambda: placed([0, 1, 1], [80, -15, 1]), r"0\.000 Å apart, periodic images"),
    "its own image": (
        lambda: Atoms("ArAr", [[0, 0, 0], [0, 0, 5]], cell=[0.2, 9, 9], pbc=[1, 0, 0], momenta=np.ones((2, 3))),
        r"atom 0 \(Ar\) and its own periodic image are 0\.200 Å",
    ),
    "nanometres": (lambda: placed([0, 0, 0], [0.096, 0, 0], cell=0.8), "the cell is too small for its atoms"),
    "a small cell": (lambda: placed([0, 0, 0], [1, 0, 0], cell=1.2), "too small for its atoms: 2 in 1.7280 Å³"),
    "a tiny cell": (lambda: placed([0, 0, 0], cell=1e-3), "too small for its atoms"),
    "too far to place": (lambda: placed([0, 0, 0], [1e13, 0, 0]), "wrap the atoms"),
}


@pytest.mark.parametrize("case", CROWDED)
def test_atoms_at_one_place_are_refused(case, models):
    make, message = CROWDED[case]
    atoms = make()
    for use in (
        lambda: rollout(atoms, models("free_flight"), steps=1, temperature_K=300, progress=False),
        lambda: models("verlet").stride(atoms),
    ):
        with pytest.raises(InputError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def slab():
    """Water with vacuum above, of a density that the model knows."""
    atoms = box()
    atoms.pbc = [True, True, False]
    return atoms


def cluster():
    atoms = box()
    atoms.pbc = False
    atoms.cell = None
    return atoms


SURFACES = {
    "cluster": (cluster, "no cell: it is a cluster"),
    "slab": (slab, "does not repeat along c: it has surfaces"),
}


@pytest.mark.parametrize("case", SURFACES)
def test_surfaces_are_said_once_where_a_model_saw_bulk(case):
    make, message = SURFACES[case]
    model = Model("water", device="cpu", threads=1)
    with pytest.warns(FlashMDWarning, match=rf"{message}.*; water.onnx was trained on bulk") as caught:
        rollout(make(), model, steps=1, temperature_K=300, seed=1, progress=False)
    assert len(caught) == 1
    with pytest.warns(FlashMDWarning, match=message):
        model.stride(make())


def test_vacuum_in_the_cell_is_said_once():
    """By its density; a run is told what that may mean."""
    atoms = box()
    atoms.set_cell(atoms.cell.lengths() + np.array([0, 0, 20]))
    with pytest.warns(FlashMDWarning, match="density is 0.4.*without vacuum or surfaces") as caught:
        rollout(atoms, "water", steps=1, temperature_K=300, seed=1, progress=False)
    assert len(caught) == 1


def test_a_model_that_says_nothing_of_bulk_warns_of_no_surface(models, gas, recwarn):
    rollout(gas, models("free_flight"), steps=1, temperature_K=60, seed=1)
    assert len(recwarn) == 0


def one_atom(**more):
    return Atoms("Ar", cell=[8, 8, 8], pbc=True, momenta=[[0.1, 0, 0]], **more)


@pytest.mark.parametrize("thermostat", [Langevin(), Bussi()])
@pytest.mark.parametrize("make", [one_atom, lambda: one_atom(constraint=FixCom())])
def test_a_bath_has_nothing_to_act_on_in_one_atom(models, make, thermostat):
    with pytest.raises(InputError, match="a single atom, which has no motion but"):
        rollout(make(), models("free_flight"), steps=1, temperature_K=300, thermostat=thermostat, progress=False)


def numbers(run):
    """Every number of a run."""

    def of(value):
        if isinstance(value, dict):
            return [x for entry in value.values() for x in of(entry)]
        return [value] if isinstance(value, float) else []

    arrays = [*run.temperature_K.values(), run.kinetic_energy, run.times_ps, run[-1].positions, run[-1].get_momenta()]
    return np.concatenate([*(np.ravel(a) for a in arrays), of(run.report)])


def test_what_cannot_move_gives_no_nan(models, tmp_path):
    oxygen_fixed = alone("H2O")
    oxygen_fixed.set_constraint(FixAtoms([0]))
    all_but_one = make_crystal(2)
    all_but_one.set_constraint(FixAtoms(range(1, 8)))
    for atoms, bath in (
        (one_atom(), None),
        (one_atom(constraint=FixCom()), None),
        (oxygen_fixed, 300),
        (all_but_one, 50),
    ):
        log = tmp_path / "run.log"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlashMDWarning)
            run = rollout(
                atoms, models("free_flight"), steps=2, temperature_K=bath, seed=1, logfile=log, progress=False
            )
        assert np.isfinite(numbers(run)).all()
        assert "nan" not in summary(run)
        # Energies that nobody computed are the three columns that stay without a number.
        temperatures = [line.split()[4:] for line in log.read_text().splitlines() if not line.startswith("#")]
        assert np.isfinite(np.array(temperatures, dtype=float)).all()
    with Simulation(one_atom(), models("free_flight")) as simulation:
        assert simulation.report["ns_per_day"] == 0.0
        simulation.step(2)
        assert simulation.state.temperature_K == {"total": 0.0, "Ar": 0.0}


class TestExplosion:
    def explode(self, atoms, model, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlashMDWarning)
            return rollout(atoms, model, temperature_K=300, seed=1, progress=False, **options)

    @pytest.mark.parametrize("guard", ["warn", "stop", Guard("collect", violations_file="odd.extxyz")])
    def test_a_small_system_that_explodes_ends(self, guard, tmp_path, monkeypatch):
        """Four atoms at 10⁷ K after a stride, which too few degrees of freedom kept the guard from looking at."""
        monkeypatch.chdir(tmp_path)
        model = stamped("water", tmp_path / "water.onnx", [])
        with pytest.raises(StabilityError, match="unstable at step") as caught:
            self.explode(alone("H2O2"), model, steps=20, guard=guard)
        assert "wrap" not in str(caught.value)
        assert caught.value.step == 1
        assert np.isfinite(caught.value.last_good.positions).all()

    def test_without_a_guard_numbers_stay_finite_or_it_ends(self, tmp_path):
        model = stamped("water", tmp_path / "water.onnx", [])
        for edge in (8.0, 12.0):
            try:
                run = self.explode(alone("H2O2", edge), model, steps=40, guard="off")
            except StabilityError as error:
                assert "use a model trained for it" in str(error)  # noqa: PT017
                assert "wrap" not in str(error)  # noqa: PT017
            else:
                assert np.isfinite(numbers(run)).all()

    @pytest.mark.parametrize("atoms", [1, 2, 4, 30])
    def test_a_model_without_a_domain(self, models, gas, atoms):
        """Momenta that grow by half each stride, in a bath that is too weak to hold them."""
        start = gas[: atoms + 1]
        with pytest.raises(StabilityError, match=r"has exploded: |momenta_out of atom") as caught:
            self.explode(start, models("explodes"), steps=60, thermostat=Langevin(1e6))
        assert caught.value.quantity in ("explosion", "momenta_out")
        assert np.isfinite(caught.value.last_good.get_momenta()).all()

    def test_hot_is_no_explosion(self, models, gas):
        """A start at 30 000 K was wanted, and so was a bath of 200 000 K."""
        hot = gas.copy()
        hot.set_momenta(draw_momenta(gas.get_masses(), 30_000.0, seed=1))
        rollout(hot, models("free_flight"), steps=3, rescale_energy=False)
        rollout(gas, models("free_flight"), steps=50, temperature_K=200_000, thermostat=Langevin(5), seed=1)

    def test_the_command_ends_with_an_error(self, shell, gas, tmp_path):
        gas[:4].write(tmp_path / "gas.extxyz")
        options = ["--steps", 60, "--temperature-k", 300, "--seed", 1]
        done = shell("run", "gas.extxyz", "--model", fixture_model("explodes"), *options)
        assert done.returncode == 1
        error = [line for line in done.stderr.splitlines() if line.startswith("error")]
        assert one_clear_error("\n".join(error))
        assert "unstable at step" in error[0]
        assert "wrap" not in done.stderr
