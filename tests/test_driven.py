"""Strides of kind ``driven``: bonds and angles under slow forces, against an integration by hand."""

import json

import ase
import numpy as np
import onnx
import pytest
from ase import units
from ase.constraints import FixAtoms
from waters import bonded_forces, two_waters

from flashmd_rs import Model, ModelError, rollout

from conftest import fixture_model

STRIDE, INNER = 4.0 * units.fs, 0.25 * units.fs
# As the fixture has it, √eV/Å.
RATE = 0.05


def verlet(q, p, m, force, steps):
    """Velocity Verlet; ``force`` of positions and of the share of the time that is over."""
    for k in range(steps):
        p = p + 0.5 * INNER * force(q, k / steps)
        q = q + INNER * p / m
        p = p + 0.5 * INNER * force(q, (k + 1) / steps)
    return q, p


def by_hand(models, atoms, strides):
    """Positions and momenta [N,3] after so many strides."""
    calculator, m = models("pair_energy").calculator(), atoms.get_masses()[:, None]
    q, p = atoms.positions.copy(), atoms.get_momenta()
    for _ in range(strides):
        q_seen, p_seen = verlet(q, p, m, lambda q, _: bonded_forces(q), 8)
        seen = atoms.copy()
        seen.positions, seen.calc = q_seen, calculator
        mean, rate = seen.get_forces(), RATE * p_seen / np.sqrt(m)
        # No force is left on the centre of mass.
        mean, rate = (f - m / m.sum() * f.sum(0) for f in (mean, rate))
        slow = lambda q, share: bonded_forces(q) + mean + (2 * share - 1) * rate  # noqa: B023, E731
        q, p = verlet(q, p, m, slow, 16)
    return q, p


def run(models, atoms, steps, **options):
    return rollout(atoms, models("driven"), steps=steps, rescale_energy=False, progress=False, **options)


def test_against_an_integration_by_hand(models):
    """Twenty strides of 4 fs, the second half with molecules that a face of the cell cuts."""
    atoms = two_waters()
    q, p = by_hand(models, atoms, 20)
    free, _ = verlet(
        atoms.positions, atoms.get_momenta(), atoms.get_masses()[:, None], lambda q, _: bonded_forces(q), 320
    )
    assert np.abs(free - q).max() > 0.05, "the slow forces do nothing"
    half = run(models, atoms, 10).frames[-1]
    before = half.positions.copy()
    half.wrap()
    shift = half.positions - before
    assert np.abs(shift).max() > 1.0
    end = run(models, half, 10).frames[-1]
    np.testing.assert_allclose(end.positions - shift, q, atol=1e-5)
    np.testing.assert_allclose(end.get_momenta(), p, atol=1e-4)


def test_momentum_is_kept(models):
    atoms = two_waters()
    end = run(models, atoms, 500, temperature_K=None).frames[-1]
    assert np.abs(end.get_momenta().sum(0) - atoms.get_momenta().sum(0)).max() < 1e-10


def test_one_run_of_the_network_a_stride(models):
    assert run(models, two_waters(), 40).report["network_runs"] == 40


def test_fixed_atoms_stay(models):
    atoms = two_waters()
    atoms.set_constraint(FixAtoms([0, 4]))
    momenta = atoms.get_momenta()
    momenta[[0, 4]] = 0.0
    atoms.set_momenta(momenta)
    end = run(models, atoms, 20).frames[-1]
    np.testing.assert_array_equal(end.positions[[0, 4]], atoms.positions[[0, 4]])
    assert np.abs(end.positions[1] - atoms.positions[1]).max() > 1e-3


def test_replicas_are_the_runs_alone(models):
    starts = [two_waters() for _ in range(3)]
    for number, start in enumerate(starts):
        start.set_momenta(start.get_momenta() * (1 + 0.1 * number))
    for start, one in zip(starts, run(models, starts, 15), strict=True):
        alone = run(models, start, 15).frames[-1]
        np.testing.assert_allclose(one.frames[-1].positions, alone.positions, atol=1e-6)


@pytest.mark.parametrize("bath", [{}, {"temperature_K": 300.0, "random_rotation": True}])
def test_stopped_and_resumed_to_the_last_bit(models, tmp_path, bath):
    options = {"seed": 4, **bath}
    whole = run(models, two_waters(), 20, **options)
    run(models, two_waters(), 9, checkpoint=tmp_path / "c", **options)
    rest = run(models, two_waters(), 20, checkpoint=tmp_path / "c", resume=True, **options)
    np.testing.assert_array_equal(rest.frames[-1].positions, whole.frames[-1].positions)
    np.testing.assert_array_equal(rest.frames[-1].get_momenta(), whole.frames[-1].get_momenta())


def test_a_turned_frame_changes_nothing_but_rounding(models):
    """The fixture's network is equivariant, so that strides with and without random rotation are the same."""
    plain = run(models, two_waters(), 5, random_rotation=False).frames[-1]
    turned = run(models, two_waters(), 5, random_rotation=True, seed=3).frames[-1]
    np.testing.assert_allclose(turned.positions, plain.positions, atol=1e-5)


def test_strangers_move_as_free_atoms_under_slow_forces(models):
    """Atoms without any bond are atoms too."""
    atoms = ase.Atoms("Ne2", [[0, 0, 0], [0, 0, 3.0]], masses=[20.1797] * 2)
    atoms.set_momenta([[0.1, 0, 0], [-0.1, 0, 0]])
    end = run(models, atoms, 10).frames[-1]
    assert np.abs(end.positions - atoms.positions).max() > 1e-3
    assert np.abs(end.get_momenta().sum(0)).max() < 1e-12


def test_orders_that_are_not_the_graphs_are_refused(tmp_path):
    """Two polynomials in the graph, three in the metadata."""
    model = onnx.load(fixture_model("driven"))
    entry = json.loads(model.metadata_props[0].value) | {"legendre_orders": 3}
    onnx.helper.set_model_props(model, {"flashmd": json.dumps(entry)})
    path = tmp_path / "three.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="slow_forces"):
        Model(path)
