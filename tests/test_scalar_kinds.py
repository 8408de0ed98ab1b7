"""Strides made of gradients: kinds ``splitting`` and ``action``, against independent integrators."""

from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from ase.md.verlet import VelocityVerlet
from waters import bonded_forces, two_waters

from flashmd_rs import CellRescaling, FlashMDWarning, InputError, Langevin, ModelError, StabilityError, rollout

from conftest import make_crystal

KINDS = ["verlet", "two_scalars", "hybrid", "pulled", "mollified", "midpoint"]


def energy_of(models):
    """Forces [N,3] and energy of the pair model at positions."""
    calculator = models("pair_energy").calculator()

    def evaluate(atoms, positions):
        moved = atoms.copy()
        moved.positions = positions
        moved.calc = calculator
        return moved.get_forces(), moved.get_potential_energy()

    return evaluate


def run(models, name, atoms, steps, **options):
    return rollout(atoms, models(name), steps=steps, rescale_energy=False, progress=False, **options)


def flipped(atoms):
    atoms = atoms.copy()
    atoms.set_momenta(-atoms.get_momenta())
    return atoms


def test_one_scalar_is_velocity_verlet(models, crystal):
    end = run(models, "verlet", crystal, 50).frames[-1]
    reference = crystal.copy()
    reference.calc = models("pair_energy").calculator()
    VelocityVerlet(reference, timestep=2.0 * units.fs).run(50)
    np.testing.assert_allclose(end.positions, reference.positions, atol=2e-6)
    np.testing.assert_allclose(end.get_momenta(), reference.get_momenta(), atol=2e-5)


def test_two_scalars_kick_in_turn(models, crystal):
    """p −= Δ∇W₁, q += ½Δp/m, p −= Δ∇W₂, q += ½Δp/m, p −= Δ∇W₁ with W₁ = V/5, W₂ = 3V/5, by hand."""
    evaluate, time = energy_of(models), 2.0 * units.fs
    q, p, m = crystal.positions.copy(), crystal.get_momenta(), crystal.get_masses()[:, None]
    for _ in range(20):
        for share, drift in ((0.2, 0.5), (0.6, 0.5), (0.2, 0.0)):
            p = p + time * share * evaluate(crystal, q)[0]
            q = q + drift * time * p / m
    end = run(models, "two_scalars", crystal, 20).frames[-1]
    np.testing.assert_allclose(end.positions, q, atol=2e-6)
    np.testing.assert_allclose(end.get_momenta(), p, atol=2e-5)


def test_the_action_of_midpoints_is_the_implicit_midpoint_rule(models, crystal):
    """Against plain fixed-point iteration, strides of 8 fs."""
    evaluate, time = energy_of(models), 8.0 * units.fs
    q, p, m = crystal.positions.copy(), crystal.get_momenta(), crystal.get_masses()[:, None]
    for _ in range(10):
        q_new, p_new = q + time * p / m, p
        for _ in range(60):
            force = evaluate(crystal, 0.5 * (q + q_new))[0]
            q_new, p_new = q + time * 0.5 * (p + p_new) / m, p + time * force
        q, p = q_new, p_new
    done = run(models, "midpoint", crystal, 10)
    np.testing.assert_allclose(done.frames[-1].positions, q, atol=5e-6)
    np.testing.assert_allclose(done.frames[-1].get_momenta(), p, atol=5e-5)
    solver = done.report["solver"]
    assert solver["strides"] == 10
    assert 2 <= solver["mean_iterations"] <= solver["most_iterations"] < 20
    assert solver["largest_residual"] <= 2e-6


@pytest.mark.parametrize("name", KINDS)
def test_forward_flip_back_returns(models, crystal, name):
    there = run(models, name, crystal, 25).frames[-1]
    back = flipped(run(models, name, flipped(there), 25).frames[-1])
    scale = np.sqrt(np.mean(crystal.get_momenta() ** 2))
    assert np.sqrt(np.mean((back.get_momenta() - crystal.get_momenta()) ** 2)) < 1e-5 * scale
    assert np.abs(back.positions - crystal.positions).max() < 1e-5


def table_forces(q, symbols, edge):
    """Forces [N,3] of the fixture ``pulled``: E = k(r − 4.5 Å)² between atoms of different waters, nearest images."""
    forces = np.zeros_like(q)
    for i, j in np.ndindex(len(q), len(q)):
        k = {"HH": 0.02, "HO": -0.03}.get("".join(sorted(symbols[i] + symbols[j])), 0.0)
        away = q[j] - q[i]
        away -= edge * np.round(away / edge)
        r = np.linalg.norm(away)
        if i // 3 != j // 3 and r < 4.5:
            forces[i] += 2 * k * (r - 4.5) * away / r
    return forces


def at_rest(q):
    """Every water of q [N,3] with its bonds at 0.96 Å along themselves, around its own centre of mass."""
    q = q.copy()
    share = 1.008 / (15.999 + 2 * 1.008)
    for o in range(0, len(q), 3):
        bonds = q[o + 1 : o + 3] - q[o]
        missing = (0.96 / np.linalg.norm(bonds, axis=1) - 1)[:, None] * bonds
        q[o : o + 3] -= share * missing.sum(0)
        q[o + 1 : o + 3] += missing
    return q


def chain_rule(q, force):
    """(∂A/∂q)ᵀF(A(q)) for A = :func:`at_rest`, its derivative by central differences."""
    step, seen = 1e-5, at_rest(q)
    columns = [(at_rest(q + e) - at_rest(q - e)) / (2 * step) for e in step * np.eye(q.size).reshape(-1, *q.shape)]
    return (np.array(columns).reshape(q.size, -1) @ force(seen).ravel()).reshape(q.shape)


@pytest.mark.parametrize("name", ["hybrid", "pulled", "mollified"])
def test_known_bonds_swing_between_the_kicks(models, name):
    """Against r-RESPA by hand, across a face: the network's forces every 2 fs, those of the tables every 0.5 fs in
    ``pulled``, bonds and angles by Verlet of 0.25 fs; ``mollified`` kicks by what the network says of bonds at rest.
    """
    atoms = two_waters()
    evaluate, m = energy_of(models), atoms.get_masses()[:, None]
    q, p = atoms.positions.copy(), atoms.get_momenta()
    outer, middle, inner = 2.0 * units.fs, 0.5 * units.fs, 0.25 * units.fs

    def pulls(q):
        return table_forces(q, atoms.get_chemical_symbols(), 11.0) if name == "pulled" else np.zeros_like(q)

    def kicks(q):
        if name != "mollified":
            return evaluate(atoms, q)[0]
        return chain_rule(q, lambda seen: evaluate(atoms, seen)[0])

    for _ in range(20):
        p = p + 0.5 * outer * kicks(q)
        for _ in range(4):
            p = p + 0.5 * middle * pulls(q)
            for _ in range(2):
                p = p + 0.5 * inner * bonded_forces(q)
                q = q + inner * p / m
                p = p + 0.5 * inner * bonded_forces(q)
            p = p + 0.5 * middle * pulls(q)
        p = p + 0.5 * outer * kicks(q)
    atoms.wrap()  # a molecule is then cut by a face of the cell
    shift = atoms.positions - two_waters().positions
    end = run(models, name, atoms, 20).frames[-1]
    assert np.abs(shift).max() > 1.0
    np.testing.assert_allclose(end.positions - shift, q, atol=1e-5)
    np.testing.assert_allclose(end.get_momenta(), p, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*closer than the model")
@pytest.mark.parametrize("name", ["verlet", "two_scalars", "midpoint"])  # a hybrid's bonds are not in that energy
def test_energy_stays_and_momentum_is_kept(models, crystal, name):
    """1000 strides: the energy wanders by far less than it would drift, and momentum holds to round-off of f64."""
    done = run(models, name, crystal, 1000, energy_model=models("pair_energy"), interval=10)
    energy = done.total_energy
    kinetic = done.kinetic_energy.mean()
    first, last = energy[: len(energy) // 2], energy[len(energy) // 2 :]
    assert np.ptp(energy) < 0.03 * kinetic
    assert abs(first.mean() - last.mean()) < 0.002 * kinetic
    assert np.abs(done.frames[-1].get_momenta().sum(axis=0)).max() < 1e-10


@pytest.mark.parametrize("name", KINDS)
def test_volume_in_phase_space_is_kept(models, name):
    """‖JᵀΩJ − Ω‖ of one stride by central differences: what f32 forces leave, far below any learned map's."""
    atoms = make_crystal(2, seed=4)
    atoms.pbc = False
    n = 3 * len(atoms)
    step = 5e-3
    root = np.sqrt(atoms.get_masses()).repeat(3)

    def stride(y):
        moved = atoms.copy()
        moved.positions = (y[:n] / root).reshape(-1, 3)
        moved.set_momenta((y[n:] * root).reshape(-1, 3))
        end = models(name).stride(moved)
        return np.concatenate([end.positions.ravel() * root, end.get_momenta().ravel() / root])

    y = np.concatenate([atoms.positions.ravel() * root, atoms.get_momenta().ravel() / root])
    jacobian = np.stack([(stride(y + e) - stride(y - e)) / (2 * step) for e in step * np.eye(2 * n)], axis=1)
    omega = np.block([[np.zeros((n, n)), np.eye(n)], [-np.eye(n), np.zeros((n, n))]])
    assert np.abs(jacobian.T @ omega @ jacobian - omega).max() < 2e-3


@pytest.mark.parametrize("name", KINDS)
def test_replicas_are_the_runs_alone(models, name):
    starts = [make_crystal(3, seed=s, temperature_K=20.0 * (s + 1)) for s in range(3)]
    together = rollout(starts, models(name), steps=15, rescale_energy=False, progress=False)
    for start, one in zip(starts, together, strict=True):
        alone = run(models, name, start, 15).frames[-1]
        np.testing.assert_allclose(one.frames[-1].positions, alone.positions, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_fixed_atoms_stay(models, crystal, name):
    crystal.set_constraint(FixAtoms([0, 5, 9]))
    momenta = crystal.get_momenta()
    momenta[[0, 5, 9]] = 0.0
    crystal.set_momenta(momenta)
    end = run(models, name, crystal, 20).frames[-1]
    np.testing.assert_array_equal(end.positions[[0, 5, 9]], crystal.positions[[0, 5, 9]])
    assert np.abs(end.positions[1] - crystal.positions[1]).max() > 1e-3


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "bath", [{}, {"temperature_K": 60.0, "pressure_bar": 2000.0, "barostat": CellRescaling(interval=2)}]
)
def test_stopped_and_resumed_to_the_last_bit(models, tmp_path, name, bath):
    """The gradient of the last kick is kept in memory and not in the checkpoint: it must not matter."""
    options = {"seed": 4, "energy_model": models("pair_energy"), **bath}
    whole = run(models, name, make_crystal(3), 20, **options)
    run(models, name, make_crystal(3), 9, checkpoint=tmp_path / "c", **options)
    rest = run(models, name, make_crystal(3), 20, checkpoint=tmp_path / "c", resume=True, **options)
    np.testing.assert_array_equal(rest.frames[-1].positions, whole.frames[-1].positions)
    np.testing.assert_array_equal(rest.frames[-1].get_momenta(), whole.frames[-1].get_momenta())


def test_the_last_gradient_serves_the_next_stride(models, crystal):
    """Two kicks a stride and one run of the network; three kicks and two runs; and one run more at the start."""
    assert run(models, "verlet", crystal, 40).report["network_runs"] == 41
    assert run(models, "two_scalars", crystal, 40).report["network_runs"] == 81
    # A barostat moves the atoms in between.
    bath = {"temperature_K": 60.0, "pressure_bar": 2000.0, "barostat": CellRescaling(interval=4)}
    assert run(models, "verlet", crystal, 40, energy_model=models("pair_energy"), **bath).report["network_runs"] == 50


class TestMetropolis:
    """What it samples is tested in the core; here that the public call does it, and says so."""

    BATH = MappingProxyType(
        {"temperature_K": 60.0, "thermostat": Langevin(50), "seed": 4, "guard": "off", "metropolis": True}
    )

    def test_every_stride_is_tested_and_some_are_taken_back(self, models, crystal):
        done = run(models, "weak", crystal, 200, interval=1, **self.BATH)
        moves = done.report["statistics"]["metropolis"]
        assert moves["tried"] == 200
        same = [np.array_equal(a.positions, b.positions) for a, b in pairwise(done.frames)]
        assert sum(same) == 200 - moves["accepted"]
        assert 20 < moves["accepted"] < 200
        assert done.report["energy_model"] == "pair_energy"

    def test_without_it_none_is(self, models, crystal):
        assert run(models, "two_scalars", crystal, 2).report["statistics"]["metropolis"] is None

    def test_stopped_and_resumed_to_the_last_bit(self, models, tmp_path):
        whole = run(models, "weak", make_crystal(3), 60, **self.BATH)
        run(models, "weak", make_crystal(3), 31, checkpoint=tmp_path / "c", **self.BATH)
        rest = run(models, "weak", make_crystal(3), 60, checkpoint=tmp_path / "c", resume=True, **self.BATH)
        np.testing.assert_array_equal(rest.frames[-1].positions, whole.frames[-1].positions)
        np.testing.assert_array_equal(rest.frames[-1].get_momenta(), whole.frames[-1].get_momenta())
        assert rest.report["statistics"]["metropolis"] == whole.report["statistics"]["metropolis"]

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("pair_stride", {}, "of kind 'direct', whose are not"),
            ("verlet", {"temperature_K": None, "thermostat": None}, "give temperature_K"),
            ("verlet", {"metropolis": 1}, "metropolis=1, wanted True or False"),
            ("verlet", {"guard": "fallback"}, "another guard"),
            ("verlet", {"pressure_bar": 1.0}, "monte_carlo"),
        ],
    )
    def test_what_would_bias_it_is_refused(self, models, crystal, name, options, message):
        with pytest.raises((InputError, ModelError), match=message):
            run(models, name, crystal, 2, **{**self.BATH, **options})


class TestGuard:
    def test_a_pair_too_close_is_named(self, models, crystal):
        crystal.positions[1] = crystal.positions[0] + [0, 0, 1.5]
        for name in ("verlet_watched", "midpoint"):
            with pytest.warns(FlashMDWarning, match=r"atoms 0 \(Ar\) and 1 \(Ar\)"):
                run(models, name, crystal, 1)

    def test_a_fast_atom_is_named_at_its_stride(self, models, crystal):
        """Momenta are judged as they are when the stride begins, though the network saw these atoms a kick before."""
        momenta = 0.2 * crystal.get_momenta()
        momenta[5] = [8.0, 0, 0]
        crystal.set_momenta(momenta)
        with pytest.warns(FlashMDWarning, match="after step 0") as caught:
            run(models, "verlet_watched", crystal, 1)
        assert any("5" in str(warning.message) for warning in caught)

    def test_an_equation_without_a_solution_is_an_error(self, models, crystal):
        with pytest.raises(StabilityError, match="is not solved after 50 fixed-point iterations") as caught:
            run(models, "unsolvable", crystal, 5)
        assert caught.value.quantity == "residual of the stride"

    def test_or_verlets(self, models, crystal):
        with pytest.warns(FlashMDWarning, match="is not solved"):
            done = run(models, "unsolvable", crystal, 3, guard="fallback", energy_model=models("pair_energy"))
        assert done.report["statistics"]["guard"]["fallback_strides"] == 3
        assert np.isfinite(done.frames[-1].positions).all()


@pytest.mark.parametrize("name", KINDS)
def test_their_frame_is_never_turned(models, crystal, name):
    assert run(models, name, crystal, 1).report["random_rotation"] is False
    with pytest.raises(InputError, match="its frame is fixed"):
        run(models, name, crystal, 1, random_rotation=True)
