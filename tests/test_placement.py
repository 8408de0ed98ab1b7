"""A simulation whose caller moves its atoms between strides."""

import numpy as np
import pytest
from ase.constraints import FixAtoms

from flashmd_rs import Checkpoint, InputError, Langevin, Simulation

from conftest import fixture_model, make_crystal

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50), "seed": 4}


def ends(atoms):
    return atoms.positions, atoms.get_momenta(), atoms.cell.array


@pytest.mark.parametrize("name", ["pair_stride", "verlet", "hybrid", "pulled", "midpoint"])
def test_the_next_stride_begins_there(models, name):
    """Whatever a model keeps from one stride to the next."""
    there = make_crystal(3, seed=8)
    there.set_cell(1.01 * there.cell, scale_atoms=True)
    placed = Simulation(make_crystal(3), models(name), rescale_energy=False)
    placed.step(3)
    placed.atoms = there
    placed.step(2)
    fresh = Simulation(there, models(name), rescale_energy=False)
    fresh.step(2)
    assert (placed.nsteps, fresh.nsteps) == (5, 2)
    for a, b in zip(ends(placed.atoms), ends(fresh.atoms), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", ["hybrid", "pulled", "mollified"])
def test_bonds_reach_to_atoms_that_a_host_has_wrapped(models, name):
    """Atoms at other images of themselves move as they would have: a bond reaches to the nearest image."""
    crystal = make_crystal(3, seed=8)
    crystal.positions -= 0.5  # of the atoms on the faces some are outside
    plain, wrapped = (Simulation(crystal, models(name), rescale_energy=False) for _ in range(2))
    there = wrapped.atoms
    there.wrap()
    assert np.abs(there.positions - crystal.positions).max() > 1.0
    wrapped.atoms = there
    for simulation in (plain, wrapped):
        simulation.step(5)
    assert wrapped.atoms.get_momenta() == pytest.approx(plain.atoms.get_momenta(), abs=1e-5)


def test_placing_atoms_where_they_are_changes_no_bit(models, crystal):
    whole, placed = (Simulation(crystal, models("pair_stride"), **BATH) for _ in range(2))
    whole.step(4)
    for _ in range(4):
        placed.atoms = placed.atoms
        placed.step()
    for a, b in zip(ends(placed.atoms), ends(whole.atoms), strict=True):
        assert np.array_equal(a, b)


def test_a_change_of_energy_is_kept_by_rescaling(models, crystal):
    energy = models("pair_energy").calculator()
    simulation = Simulation(crystal, models("pair_stride"), energy_model=fixture_model("pair_energy"))

    def total():
        atoms = simulation.atoms
        atoms.calc = energy
        return atoms.get_total_energy()

    simulation.step(3)
    before = total()
    hotter = simulation.atoms
    hotter.set_momenta(1.2 * hotter.get_momenta())
    simulation.atoms = hotter
    placed = total()
    assert placed > before + 0.01
    simulation.step(5)
    assert total() == pytest.approx(placed, abs=1e-5)


def test_a_checkpoint_of_the_same_step_holds_what_was_placed(models, crystal, tmp_path):
    given = {"checkpoint": Checkpoint(tmp_path / "run.ckpt", 5), "rescale_energy": False}
    with Simulation(crystal, models("pair_stride"), **given) as simulation:
        simulation.step(5)
        moved = simulation.atoms
        moved.positions += 0.5
        simulation.atoms = moved
    second = Simulation.load(tmp_path / "run.ckpt", model=models("pair_stride"))
    assert np.array_equal(second.atoms.positions, moved.positions)


def test_replicas_are_placed_together(models):
    both = Simulation([make_crystal(2, seed=s) for s in (1, 2)], models("pair_stride"), rescale_energy=False)
    there = [make_crystal(2, seed=s) for s in (5, 6)]
    both.atoms = there
    both.step()
    for atoms, start in zip(both.atoms, there, strict=True):
        alone = Simulation(start, models("pair_stride"), rescale_energy=False)
        alone.step()
        assert np.array_equal(atoms.positions, alone.atoms.positions)
    with pytest.raises(InputError, match="got 1 structures, wanted one for each of 2 replicas"):
        both.atoms = there[:1]


def test_other_atoms_are_refused_in_a_sentence(models, crystal):
    simulation = Simulation(crystal, models("pair_stride"), rescale_energy=False)

    def refuse(change, said):
        atoms = crystal.copy()
        atoms = change(atoms) or atoms
        with pytest.raises(InputError, match=said):
            simulation.atoms = atoms

    refuse(lambda atoms: atoms[:-1], "got Ar63, the run moves Ar64: wanted the same atoms in the same order")
    refuse(lambda atoms: atoms.set_masses([40.5] * 64), r"the mass of atom 0 \(Ar\) is 40.5 u, in the run 39.948 u")
    refuse(lambda atoms: atoms.set_pbc(False), "keep what is periodic")
    refuse(lambda atoms: atoms.positions.fill(np.nan), "the position of atom 0 is .* wanted finite numbers")
    refuse(lambda atoms: atoms.set_constraint(FixAtoms([0])), "other constraints than at the start")
    with pytest.raises(InputError, match="got str for atoms"):
        simulation.atoms = "crystal.xyz"
    simulation.step()
