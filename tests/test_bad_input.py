"""Bad input: each is one clear error of the right type, through the API and through the command."""

import os

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength, FixCom

from flashmd_rs import (
    CellRescaling,
    Checkpoint,
    EnergyRescaling,
    FlashMDError,
    Guard,
    InputError,
    Langevin,
    Model,
    ModelError,
    Output,
    RuntimeLibraryError,
    open_library,
    rollout,
)
from flashmd_rs._runtime_library import cuda_obstacle

from conftest import BAD, fixture_model, one_clear_error

FREE = fixture_model("free_flight")


def good_atoms():
    atoms = Atoms("H2O", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0]], cell=[8, 8, 8], pbc=True)
    atoms.set_momenta(np.full((3, 3), 0.1))
    return atoms


def changed(change):
    """Good atoms, spoilt."""
    atoms = good_atoms()
    result = change(atoms)
    return atoms if result is None else result


def put(array, value):
    def change(atoms):
        atoms.arrays[array][1, 1] = value

    return lambda: changed(change)


ATOMS = {
    "nan_position": (put("positions", np.nan), InputError, r"position of atom 1 is \[2.0, nan, 0.0\] Å"),
    "infinite_position": (put("positions", np.inf), InputError, "position of atom 1"),
    "nan_momentum": (put("momenta", np.nan), InputError, "momentum of atom 1"),
    "no_atoms": (Atoms, InputError, "no atoms"),
    "zero_cell": (lambda: changed(lambda a: a.set_cell([0, 0, 0])), InputError, "axis a is periodic .* is zero"),
    "zero_axis": (lambda: changed(lambda a: a.set_cell([8, 8, 0])), InputError, "axis c is periodic"),
    "flat_cell": (
        lambda: changed(lambda a: a.set_cell([[8, 0, 0], [0, 8, 0], [8, 8, 0]])),
        InputError,
        "linearly dependent",
    ),
    "nan_cell": (lambda: changed(lambda a: a.set_cell([8, 8, np.nan])), InputError, "cell holds a number"),
    "wrong_element": (lambda: changed(lambda a: a.set_chemical_symbols("H2S")), ModelError, "S"),
    "wrong_mass": (lambda: changed(lambda a: a.set_masses([2.014, 1.008, 15.999])), ModelError, "mass"),
    "zero_mass": (lambda: changed(lambda a: a.set_masses([0.0, 1.008, 15.999])), InputError, "mass of atom 0"),
    "all_fixed": (lambda: changed(lambda a: a.set_constraint(FixAtoms([0, 1, 2]))), InputError, "every atom"),
    "fixed_and_com": (lambda: changed(lambda a: a.set_constraint([FixAtoms([0]), FixCom()])), InputError, "contradict"),
    "fixed_bond": (lambda: changed(lambda a: a.set_constraint(FixBondLength(0, 1))), InputError, "FixBondLength"),
    "not_atoms": (lambda: np.zeros((3, 3)), InputError, "wanted one ase.Atoms"),
    "no_structures": (list, InputError, "empty list"),
    "list_of_names": (lambda: ["water"], InputError, "got str for atoms"),
}


@pytest.mark.parametrize("case", ATOMS)
def test_bad_atoms(case, models):
    make, kind, message = ATOMS[case]
    with pytest.raises(kind, match=message) as caught:
        rollout(make(), models("free_flight"), steps=2, temperature_K=300)
    assert "\n" not in str(caught.value)


OPTIONS = {
    "neither_steps_nor_time": ({"steps": None}, "exactly one of steps"),
    "steps_and_time": ({"time_ps": 1.0}, "exactly one of steps"),
    "zero_steps": ({"steps": 0}, "steps=0"),
    "endless_steps": ({"steps": 2**64}, "steps beyond"),
    "endless_time": ({"steps": None, "time_ps": 1e307}, "strides, which no run reaches"),
    "negative_steps": ({"steps": -4}, "steps=-4"),
    "fractional_steps": ({"steps": 2.5}, "whole number of strides"),
    "negative_time": ({"steps": None, "time_ps": -1.0}, "time_ps=-1"),
    "nan_time": ({"steps": None, "time_ps": float("nan")}, "positive number of ps"),
    "negative_temperature": ({"temperature_K": -300}, "temperature_K=-300.* K"),
    "endless_temperature": ({"temperature_K": 10**400}, "temperature_K"),
    "nan_temperature": ({"temperature_K": float("nan")}, "temperature_K=nan"),
    "words_for_temperature": ({"temperature_K": "warm"}, "'warm'"),
    "unknown_thermostat": ({"thermostat": "nose"}, "'nose', wanted one of 'langevin'"),
    "bussi_without_temperature": ({"thermostat": "bussi", "temperature_K": None}, "needs temperature_K"),
    "two_temperatures": ({"temperature_K": [300, 310]}, "got 2 temperatures for 1 systems"),
    "unknown_barostat": ({"barostat": "berendsen", "pressure_bar": 1}, "'berendsen', wanted one of 'cell_rescaling'"),
    "barostat_without_pressure": ({"barostat": "monte_carlo"}, "needs pressure_bar"),
    "barostat_without_bath": ({"pressure_bar": 1, "thermostat": "none"}, "needs a thermostat"),
    "infinite_pressure": ({"pressure_bar": float("inf")}, "pressure_bar=inf"),
    "barostat_of_another_kind": ({"barostat": Langevin(), "pressure_bar": 1}, "Langevin.*wanted.* a CellRescaling or"),
    "thermostat_of_another_kind": ({"thermostat": CellRescaling()}, "CellRescaling.*wanted.* a Langevin or Bussi"),
    "class_for_an_option": ({"thermostat": Langevin}, "wanted one of 'langevin', 'bussi', 'none'"),
    "number_for_a_thermostat": ({"thermostat": 50}, "thermostat=50, wanted one of"),
    "barostat_without_energy": ({"pressure_bar": 1}, "a barostat needs an energy"),
    "unknown_scope": ({"rescale_energy": "atom"}, "'atom', wanted True"),
    "rescaling_by_a_guard": ({"rescale_energy": Guard()}, "wanted True, False, 'auto'.* or an EnergyRescaling"),
    "unknown_guard": ({"guard": "panic"}, "'panic', wanted one of 'warn'"),
    "guard_by_a_rescaling": ({"guard": EnergyRescaling()}, "guard=EnergyRescaling.*wanted one of 'warn'"),
    "number_for_a_trajectory": ({"trajectory": 3}, "int for trajectory, wanted a path"),
    "option_for_a_logfile": ({"logfile": Output("run.log")}, "for logfile, wanted a path"),
    "option_for_a_trajectory": ({"trajectory": Checkpoint("run.extxyz")}, "for trajectory, wanted a path"),
    "number_for_a_checkpoint": ({"checkpoint": 3}, "int for checkpoint, wanted a path"),
    "two_intervals": ({"trajectory": Output("run.extxyz", 2), "interval": 3}, "interval twice"),
    "observer_alone": ({"observers": [print]}, r"among observers, wanted \[\(callable, interval\)"),
    "observers_in_words": ({"observers": "print"}, "str for observers"),
    "observer_without_a_beat": ({"observers": [(print, 0)]}, "interval of an observer=0"),
    "negative_replica": ({"replica": -1}, "replica=-1"),
    "langevin_without_temperature": ({"thermostat": "langevin", "temperature_K": None}, "needs temperature_K"),
    "wrong_stride": ({"stride_fs": 16}, "stride of free_flight is 1 fs"),
    "negative_seed": ({"seed": -1}, "seed=-1"),
    "fractional_seed": ({"seed": 0.5}, "seed=0.5"),
    "zero_interval": ({"interval": 0}, "interval=0"),
    "unknown_rescaling": ({"rescale_energy": "yes"}, "rescale_energy='yes'"),
    "unknown_rotation": ({"random_rotation": 1}, "random_rotation=1"),
    "unknown_energy_model": ({"energy_model": 3}, "int for energy_model"),
    "unknown_format": ({"trajectory": "run.pdb"}, r"'\.pdb': wanted one of \.extxyz"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(case, tmp_path, monkeypatch):
    change, message = OPTIONS[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        rollout(good_atoms(), FREE, **{"steps": 2, "temperature_K": 300} | change)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_no_momenta_and_no_temperature(models):
    atoms = good_atoms()
    del atoms.arrays["momenta"]
    with pytest.raises(InputError, match="no momenta and no temperature"):
        rollout(atoms, models("free_flight"), steps=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"device": "tpu"}, "device='tpu', wanted one of 'auto', 'cpu', 'cuda'"), ({"threads": 0}, "threads=0")],
)
def test_bad_options_of_a_model(change, message):
    with pytest.raises(InputError, match=message):
        Model(FREE, **change)


def test_device_and_threads_belong_to_the_model(models):
    with pytest.raises(TypeError, match="threads"):
        rollout(good_atoms(), models("free_flight"), steps=2, temperature_K=300, threads=7)


def test_energy_models_and_direct_models_are_told_apart(models):
    with pytest.raises(ModelError, match="does not move atoms"):
        rollout(good_atoms(), models("pair_energy"), steps=2, temperature_K=300)
    with pytest.raises(ModelError, match="wanted an 'energy' model"):
        rollout(good_atoms(), models("free_flight"), steps=2, temperature_K=300, energy_model=FREE)


# The fault that is named, and words of the message.
MODELS = {
    "not_onnx": ("NotOnnx", None),
    "empty": ("NotOnnx", None),
    "no_metadata": ("NoMetadata", "flashmd"),
    "metadata_not_json": ("MalformedMetadata", None),
    "contract_99": ("OtherContract", "contract 99"),
    "unknown_kind": ("UnknownKind", "oracle"),
    "no_scheme": ("MissingKey", "lacks `splitting`, its kicks and drifts"),
    "lopsided": (
        "UnsoundSplitting",
        r"kicks \[0, 1\] and the drifts \[1.0\]; wanted one more kick than drifts, .* the same backwards",
    ),
    "short_drifts": ("UnsoundSplitting", "drifts that add up to 1"),
    "skipped_scalar": ("UnsoundSplitting", r"kicks \[0, 9, 0\]"),
    "no_stride": ("MissingKey", "stride_fs"),
    "no_masses": ("MissingKey", "masses_u"),
    "not_an_element": ("NotAnElement", "Xx"),
    "no_momenta_out": ("MissingOutput", "momenta_out"),
    "opset_18": ("OtherOpset", "18"),
    "external_data": ("ExternalData", "in another file"),
    "huge_cutoff": ("OutOfRange", r"cutoff_A.* 1000000000.0; it must be from 0.1 to 50"),
    "tiny_mass": ("OutOfRange", "masses_u.* 1e-300"),
    "escapes": ("NotAnElement", r"species.*\\u\{1b\}\[2J.* is not a chemical symbol"),
    "endless_loop": ("RepeatingOperator", "Loop, which may run without end"),
    "long_scan": ("RepeatingOperator", "Scan, which may run without end"),
    "random_kick": ("RandomOperator", "RandomNormalLike: a run with the same seed would not repeat"),
    "endless_functions": ("ForeignOperator", "only standard ONNX operators"),
    "shadowed_operator": ("ReservedDomain", "com.microsoft.*operators of its own"),
    "custom_domain": ("ForeignOperator", "org.example"),
    "scatter_add": ("ScatterReduction", "ScatterND"),
    "mixes_rows": ("PaddingMatters", "padding"),
    "not_equivariant": ("NotEquivariant", "equivariant"),
    "rare_species": ("NotEquivariant", "momenta_out"),
    "singular": ("UnstableProbe", None),
}


def test_every_bad_file_has_its_test():
    assert {path.stem for path in BAD.glob("*.onnx")} == set(MODELS)


@pytest.mark.parametrize("case", MODELS)
def test_bad_models(case):
    fault, message = MODELS[case]
    with pytest.raises(ModelError, match=message) as caught:
        Model(BAD / f"{case}.onnx", device="cpu")
    assert caught.value.fault == fault
    assert f"{case}.onnx" in str(caught.value)
    assert str(caught.value).isprintable()


def test_missing_model_lists_the_bundled_ones():
    from flashmd_rs import bundled

    with pytest.raises(FileNotFoundError, match="no model file 'watre'") as caught:
        Model("watre")
    assert all(name in str(caught.value) for name in bundled()["models"])
    with pytest.raises(IsADirectoryError, match="is a folder"):
        Model(BAD)


PATHS = {
    "no_folder": ("missing/run.extxyz", FileNotFoundError),
    "a_folder": ("folder.extxyz", IsADirectoryError),
    "below_a_file": ("file/run.extxyz", NotADirectoryError),
}


@pytest.mark.parametrize("case", PATHS)
@pytest.mark.parametrize("argument", ["trajectory", "logfile"])
def test_unwritable_outputs(case, argument, tmp_path, models):
    name, kind = PATHS[case]
    (tmp_path / "folder.extxyz").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=r"cannot write the (trajectory|log file)"):
        rollout(good_atoms(), models("free_flight"), steps=2, temperature_K=300, **{argument: tmp_path / name})


def test_outputs_may_not_be_the_same_file(tmp_path, models):
    path = tmp_path / "run.xyz"
    with pytest.raises(InputError, match="same file"):
        rollout(good_atoms(), models("free_flight"), steps=2, temperature_K=300, trajectory=path, logfile=path)


def test_cuda_without_a_gpu_is_one_clear_error():
    obstacle = cuda_obstacle(open_library())
    if obstacle is None:
        pytest.skip("this machine has a usable GPU")
    with pytest.raises(RuntimeLibraryError, match="device='cuda' is not usable") as caught:
        Model(FREE, device="cuda")
    assert isinstance(caught.value, ImportError)
    assert "\n" not in str(caught.value)


def test_every_error_is_in_one_tree():
    assert all(issubclass(kind, FlashMDError) for kind in (InputError, ModelError, RuntimeLibraryError))


COMMANDS = {
    "no_structure": (["run", "missing.xyz", "--model", FREE], "no structure file 'missing.xyz'"),
    "not_a_structure": (["run", "text.xyz", "--model", FREE], "not a structure that ASE can read"),
    "unknown_format": (["run", "text.unknown", "--model", FREE], "not a structure that ASE can read"),
    "no_model": (["run", "good.xyz", "--model", "missing.onnx"], "no model file 'missing.onnx'"),
    "not_onnx": (["run", "good.xyz", "--model", BAD / "not_onnx.onnx"], "not_onnx.onnx"),
    "no_metadata": (["run", "good.xyz", "--model", BAD / "no_metadata.onnx"], "flashmd"),
    "wrong_element": (["run", "sulfur.xyz", "--model", FREE], "S"),
    "wrong_mass": (["run", "heavy.traj", "--model", FREE], "mass"),
    "nan_position": (["run", "nan.xyz", "--model", FREE], "position of atom 1"),
    "zero_cell": (["run", "zero.traj", "--model", FREE], "periodic"),
    "constraints": (["run", "fixed.traj", "--model", FREE], "FixBondLength"),
    "negative_temperature": (["run", "good.xyz", "--model", FREE, "--temperature-k", "-3"], "temperature_K=-3"),
    "wrong_stride": (["run", "good.xyz", "--model", FREE, "--stride-fs", "16"], "stride of free_flight is 1 fs"),
    "no_momenta": (["run", "bare.xyz", "--model", FREE], "no momenta and no temperature"),
    "unwritable": (["run", "good.xyz", "--model", FREE, "--trajectory", "no/run.xyz"], "cannot write the trajectory"),
    "onto_itself": (["run", "good.xyz", "--model", FREE, "--trajectory", "good.xyz"], "replace the structure"),
    "no_length": (["run", "good.xyz", "--model", FREE], "exactly one of steps"),
    "info_no_model": (["info", "missing"], "no model file"),
    "info_bad_model": (["info", BAD / "contract_99.onnx"], "99"),
}


def write_structures(folder):
    """The files that COMMANDS names."""
    bare = good_atoms()
    del bare.arrays["momenta"]
    files = {
        "good.xyz": good_atoms(),
        "bare.xyz": bare,
        "sulfur.xyz": ATOMS["wrong_element"][0](),
        "heavy.traj": ATOMS["wrong_mass"][0](),
        "nan.xyz": ATOMS["nan_position"][0](),
        "zero.traj": ATOMS["zero_cell"][0](),
        "fixed.traj": ATOMS["fixed_bond"][0](),
    }
    for name, atoms in files.items():
        ase.io.write(folder / name, atoms)
    (folder / "text.xyz").write_text("this is\nnot a structure\n")
    (folder / "text.unknown").write_text("this is\nnot a structure\n")


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_commands(case, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from flashmd_rs.cli import app

    arguments, message = COMMANDS[case]
    monkeypatch.chdir(tmp_path)
    write_structures(tmp_path)
    if arguments[0] == "run" and case != "no_length":
        arguments = [*arguments, "--steps", "2"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1
    assert one_clear_error(result.stderr)
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("case", ["no_model", "nan_position", "unwritable"])
def test_bad_commands_in_a_real_process(case, tmp_path, shell):
    arguments, message = COMMANDS[case]
    write_structures(tmp_path)
    result = shell(*arguments, "--steps", "2")
    assert result.returncode == 1
    assert one_clear_error(result.stderr)
    assert message in result.stderr


def test_unknown_options_are_usage_errors(shell):
    result = shell("run", "x.xyz", "--model", "water", "--thermostat", "nose")
    assert result.returncode == 2
    assert "nose" in result.stderr
    assert "Traceback" not in result.stderr
