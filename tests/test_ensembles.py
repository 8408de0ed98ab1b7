"""What the public call samples, judged by ``physical_validation`` (Merz & Shirts, PLoS ONE 13, e0202764 (2018)).

The same against closed formulas, on analytic systems and for every filter, is in ``rust/flashmd/tests/ensembles.rs``.
"""

import numpy as np
import pytest
from ase.units import kB

from flashmd_rs import Bussi, CellRescaling, Langevin, Model, MonteCarloBarostat, rollout

from conftest import fixture_model, make_crystal

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
STRIDES = 100_000
EV = 96.48533212331  # kJ/mol


def simulate(ensemble, kelvin, pressure_bar=None, seed=1, model="pair_stride", **options):
    """Strides of a small crystal of harmonic pairs, as data of physical_validation; the first tenth is left out."""
    data = pytest.importorskip("physical_validation").data
    atoms = make_crystal(2, temperature_K=kelvin)
    run = rollout(
        atoms,
        Model(fixture_model(model), threads=1),
        steps=STRIDES,
        interval=10,
        temperature_K=kelvin,
        pressure_bar=pressure_bar,
        energy_model=fixture_model("pair_energy"),
        seed=seed,
        guard="off",
        **options,
    )
    rest = slice(STRIDES // 100, None)
    volumes = np.array([frame.get_volume() for frame in run.frames])[rest]
    return data.SimulationData(
        units=data.UnitData(
            kb=kB,
            energy_str="eV",
            energy_conversion=EV,
            length_str="A",
            length_conversion=0.1,
            volume_str="A^3",
            volume_conversion=1e-3,
            temperature_str="K",
            temperature_conversion=1.0,
            pressure_str="bar",
            pressure_conversion=1.0,
            time_str="ps",
            time_conversion=1.0,
        ),
        ensemble=data.EnsembleData(
            ensemble,
            natoms=len(atoms),
            temperature=kelvin,
            **({"pressure": pressure_bar} if pressure_bar is not None else {"volume": atoms.get_volume()}),
        ),
        system=data.SystemData(
            natoms=len(atoms),
            nconstraints=0,
            ndof_reduction_tra=3,
            ndof_reduction_rot=0,
            mass=atoms.get_masses(),
        ),
        observables=data.ObservableData(
            kinetic_energy=run.kinetic_energy[rest],
            potential_energy=run.potential_energy[rest],
            total_energy=run.total_energy[rest],
            volume=volumes,
        ),
    )


@pytest.mark.parametrize("thermostat", [Langevin(50), Bussi(50)])
def test_the_kinetic_energy_has_its_distribution(thermostat):
    """Mean and width within three standard errors of those of 3N − 3 degrees of freedom."""
    validation = pytest.importorskip("physical_validation")
    data = simulate("NVT", 80.0, thermostat=thermostat)
    deviations = validation.kinetic_energy.distribution(data, strict=False, verbosity=0, bootstrap_seed=1)
    assert np.abs(deviations).max() < 3.0


@pytest.mark.parametrize("thermostat", [Langevin(50), Bussi(50)])
def test_two_temperatures_have_the_ratio_of_boltzmann(thermostat):
    """P(E|T₁)/P(E|T₂) = exp(−ΔβE + …), the slope within three standard errors."""
    validation = pytest.importorskip("physical_validation")
    cold = simulate("NVT", 80.0, thermostat=thermostat)
    warm = simulate("NVT", 100.0, thermostat=thermostat, seed=2)
    assert np.abs(validation.ensemble.check(cold, warm, verbosity=0, bootstrap_seed=1)).max() < 3.0


def test_metropolis_samples_the_energy_it_is_given_though_the_force_is_wrong():
    """Strides by six tenths of the force: with the test the mean potential energy is that under the whole force, within
    four standard errors of 50 blocks each; without it, far off.
    """

    def mean(model, **options):
        energies = simulate("NVT", 80.0, model=model, thermostat=Langevin(50), **options).observables.potential_energy
        blocks = np.array([block.mean() for block in np.array_split(energies, 50)])
        return blocks.mean(), blocks.std(ddof=1) / 50**0.5

    right, error = mean("verlet")
    tested, tested_error = mean("weak", metropolis=True, seed=2)
    assert abs(tested - right) < 4 * np.hypot(error, tested_error)
    untested, untested_error = mean("weak", seed=2)
    assert abs(untested - right) > 10 * np.hypot(error, untested_error)


@pytest.mark.parametrize(
    "barostat",
    [
        CellRescaling(time_constant_fs=500, interval=5, compressibility_per_bar=1.5e-5),
        MonteCarloBarostat(interval=5, compressibility_per_bar=1.5e-5),
    ],
)
def test_two_pressures_have_the_ratio_of_theory(barostat):
    """P(V|P₁)/P(V|P₂) = exp(−βΔP·V + …), the slope within three standard errors."""
    validation = pytest.importorskip("physical_validation")
    options = {"barostat": barostat, "thermostat": Langevin(50)}
    low = simulate("NPT", 80.0, 30_000.0, **options)
    high = simulate("NPT", 80.0, 35_000.0, seed=2, **options)
    assert np.abs(validation.ensemble.check(low, high, verbosity=0, bootstrap_seed=1)).max() < 3.0
