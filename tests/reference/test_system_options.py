"""A system named by options, by a file and by flags; what is wrong with one is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import own_calculators
import pytest
import typer
from ase import Atoms
from ase.build import bulk
from ase.io import write
from systems import FOLDER
from typer.testing import CliRunner

from flashmd_rs.cli.errors import plainly
from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions, load_system, read_system_file
from flashmd_rs.reference.system import System, calculator_potential, default_timestep_fs

EMT, OWN = "ase.calculators.emt:EMT", own_calculators.__file__
STRUCTURES = f"{OWN}:structures"


def test_structures_from_files_and_functions(tmp_path: Path) -> None:
    path = tmp_path / "copper.extxyz"
    write(path, own_calculators.structures(1)[0])
    options = SystemOptions(structure=(str(path), STRUCTURES), structure_args={"count": 2}, calculator=EMT)
    system = options.load()
    assert len(system.structures) == 3
    assert np.allclose(system.structures[0].positions, system.structures[1].positions, atol=1e-6)
    assert system.potential.description == "ASE calculator ase.calculators.emt:EMT()"
    assert system.attributes()["calculator"] == {"name": EMT, "arguments": {}}


def test_arguments_reach_the_calculator() -> None:
    options = SystemOptions(structure=(STRUCTURES,), calculator=f"{OWN}:Noisy", calculator_args={"noise": 0.0})
    system = options.load()
    assert system.potential.description == "ASE calculator own_calculators.py:Noisy(noise=0.0)"
    recorded = system.attributes()["calculator"]
    assert recorded["name"] == "own_calculators.py:Noisy"
    assert len(recorded["sha256"]) == 64


@pytest.mark.parametrize("suffix", ["yaml", "toml"])
def test_a_file_of_options(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in it are beside it; what is given as well takes its place, from the working directory."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own.py").write_text(Path(OWN).read_text())
    texts = {
        "yaml": "structure: own.py:structures\nstructure_args: {count: 2}\ncalculator: own.py:Noisy\n"
        "calculator_args: {noise: 0.0}\ndescription: noise\ngenerate: {temperature_k: [300]}\n",
        "toml": 'structure = "own.py:structures"\ncalculator = "own.py:Noisy"\ndescription = "noise"\n'
        "[structure_args]\ncount = 2\n[calculator_args]\nnoise = 0.0\n[generate]\ntemperature_k = [300]\n",
    }
    path = folder / f"system.{suffix}"
    path.write_text(texts[suffix])
    options, sections = read_system_file(path)
    assert sections == {"generate": {"temperature_k": [300]}, "fit": {}, "evaluate": {}}
    assert len(options.load().structures) == 2
    assert len(load_system(path, structure_args={"count": 3}).structures) == 3
    other = options.with_given(SystemOptions(calculator=EMT))
    assert (other.calculator_args, other.description, other.structure_args) == ({}, None, {"count": 2})
    assert other.load().potential.description == f"ASE calculator {EMT}()"
    monkeypatch.chdir(tmp_path)
    write("other.extxyz", bulk("Al", cubic=True))
    assert load_system(path, structure=("other.extxyz",)).formula == "Al4"


def test_the_default_step_follows_the_lightest_mass() -> None:
    """0.25 fs with hydrogen, as of flexible water; 2 fs with aluminium; a spring's frequency is as 1/√m."""
    for mass, step in ((1.008, 0.25), (6.94, 1.0), (15.999, 1.0), (26.98, 2.0), (107.9, 4.0), (238.0, 4.0)):
        assert default_timestep_fs(np.array([mass, 300.0])) == step


def atoms(**changed: object) -> Atoms:
    made = bulk("Cu", cubic=True)
    for name, value in changed.items():
        getattr(made, f"set_{name}")(value)
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got no potential; wanted one of calculator, openmm and forcefield"),
        ({"calculator": EMT, "openmm": "a.xml"}, "got calculator and openmm; wanted one of"),
        ({"calculator": EMT, "structure": ()}, "got no structure"),
        ({"calculator": "EMT"}, "got 'EMT', wanted package.module:name or file.py:name"),
        ({"calculator": "ase.nothing:EMT"}, r"'ase.nothing:EMT' cannot be imported"),
        ({"calculator": "ase.units:kB"}, "ase.units:kB is 8.6.*, no function or class"),
        ({"calculator": f"{OWN}:number"}, "own_calculators.py:number is 7, no function or class"),
        ({"calculator": f"{OWN}:nothing"}, "'own_calculators.py:nothing' cannot be imported"),
        ({"calculator": "none.py:EMT"}, r"there is no file .*none\.py"),
        ({"calculator": f"{OWN}:failing"}, r"own_calculators.py:failing\(\) fails: RuntimeError\('no licence'\)"),
        ({"calculator": f"{OWN}:failing", "calculator_args": {"colour": 1}}, r"failing\(colour=1\) fails: TypeError"),
        ({"calculator": STRUCTURES}, "own_calculators.py:structures returns list; wanted an ASE calculator"),
        ({"calculator": f"{OWN}:EnergyAlone"}, "EnergyAlone gives no .*forces.*: a reference must give energies and"),
        ({"calculator": f"{OWN}:Infinite"}, "Infinite gives an energy or forces that are not finite"),
        ({"calculator": EMT, "structure": (f"{OWN}:failing",)}, "failing.* fails"),
        ({"calculator": EMT, "structure": (EMT,)}, "EMT returns EMT; wanted ase.Atoms, or a list of them"),
        ({"calculator": EMT, "structure": "a.xyz"}, "got structure = 'a.xyz', wanted text, or a list of it"),
        ({"calculator": 5}, "got calculator = 5, wanted text"),
        ({"calculator": EMT, "calculator_args": [1]}, r"got calculator_args = \[1\], wanted names and values"),
        ({"calculator": EMT, "flexible": "yes"}, "got flexible = 'yes', wanted true or false"),
    ],
)
def test_bad_options_are_one_sentence(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SystemOptions(**{"structure": (STRUCTURES,)} | options).load().reference()
    assert "\n" not in str(caught.value)


def test_a_structure_that_is_missing_or_unknown_to_the_calculator() -> None:
    with pytest.raises(OSError, match=r"none\.xyz"):
        SystemOptions(structure=("none.xyz",), calculator=EMT).load()
    with pytest.raises(ValueError, match=r"EMT fails on the start structure: .*Mg"):
        System((bulk("Mg"),), calculator_potential(EMT)).reference()


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ([], "got no start structure"),
        ([Atoms()], "a start structure has 0 atoms, wanted two or more"),
        ([bulk("Cu")], "a start structure has 1 atoms, wanted two or more"),
        ([atoms(), bulk("Cu") * (2, 1, 1)], "start structure 2 is Cu2 in a cell of .* the first Cu4"),
        ([atoms(), atoms(cell=[4.0] * 3)], "one data file holds the same atoms in the same cell"),
        ([atoms(), atoms(pbc=(1, 1, 0))], "start structure 2"),
        ([atoms(), atoms(masses=[63, 63, 63, 63])], "start structure 2"),
        ([atoms(masses=[63, 65, 63, 65])], "Cu has masses of 63 and 65 u in one structure; one model knows one mass"),
    ],
)
def test_structures_that_are_not_of_one_system(structures: list[Atoms], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        System(tuple(structures), calculator_potential(EMT))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("structures: a.xyz", "has unknown keys structures; known are calculator, calculator_args"),
        ("- a\n- b", "holds list, wanted names and values"),
        ("a: [", "is not YAML"),
        ("generate: 5", "got generate = 5, wanted names and values"),
        ("structure: {a: 1}", "got structure = {'a': 1}, wanted text, or a list of it"),
        ("structure: [1]", r"got structure = \(1,\), wanted text"),
    ],
)
def test_bad_files_are_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "system.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_system_file(path)
    assert str(path) in str(caught.value)


# A command with flags of a system.
app = typer.Typer(pretty_exceptions_enable=False)


@with_system_flags("generate")
def command(
    system: SystemOptions, segments: Annotated[int, typer.Option()] = 3, temperature_k: list[float] | None = None
) -> None:
    """Print what came."""
    options = {"calculator_args": dict(system.calculator_args), "flexible": system.flexible}
    typer.echo(f"{len(system.load().structures)} {segments} {temperature_k} {options}")


@with_system_flags("evaluate", required=False)
def without(system: SystemOptions | None) -> None:
    """Print what came."""
    typer.echo(repr(system))


@with_system_flags("generate", strict=False)
def sharing(system: SystemOptions, segments: int = 3) -> None:
    """Take what it knows of another's section."""
    typer.echo(segments)


for each in (command, without, sharing):
    app.command()(plainly(each))


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output.strip()


def test_flags_and_a_file_of_them(tmp_path: Path) -> None:
    flags = ["command", "--structure", STRUCTURES, "--structure-args", "count=2"]
    flags += ["--calculator", f"{OWN}:Noisy", "--calculator-args", "noise=1e-3", "--flexible"]
    assert run(*flags) == (0, "2 3 None {'calculator_args': {'noise': 0.001}, 'flexible': True}")
    path = tmp_path / "system.yaml"
    path.write_text(f"structure: {STRUCTURES}\ncalculator: {EMT}\ngenerate: {{segments: 8, temperature_k: [300, 400]}}")
    ending = "{'calculator_args': {}, 'flexible': False}"
    assert run("command", "--config", path) == (0, f"2 8 [300.0, 400.0] {ending}")
    more = ["--segments", 5, "--temperature-k", 500, "--structure-args", "count=1"]
    assert run("command", "--config", path, *more) == (0, f"1 5 [500.0] {ending}")
    path.write_text(path.read_text().replace("[300, 400]", "1e2"))
    assert run("command", "--config", path) == (0, f"2 8 [100.0] {ending}")
    assert run("sharing", "--config", path) == (0, "8")
    assert run("without") == (0, "None")
    path.write_text(path.read_text().replace("8", "some"))
    code, output = run("command", "--config", path)
    assert code == 1
    assert "sets segments = 'some': Input should be a valid integer" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: got no system: give --structure with --calculator"),
        (["--structure", STRUCTURES, "--structure-args", "count"], "got --structure-args 'count', wanted NAME=VALUE"),
        (["--structure", STRUCTURES, "--calculator-args", "a={"], "whose value is no YAML"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", FOLDER / "water" / "water.py"], "error:"),
        (["--config", FOLDER / "water" / "system.yaml"], "sets unknown flags anneal_k, decorrelation_fs"),
        (["--structure", STRUCTURES], "got no potential"),
    ],
)
def test_bad_flags_are_one_line(words: list[object], message: str) -> None:
    code, output = run("command", *words)
    assert code == 1
    assert message in output
    assert len(output.splitlines()) == 1


def test_a_file_that_changes_while_it_is_in_use_is_refused(tmp_path: Path) -> None:
    """A worker that begins late must not go on by another potential."""
    path = tmp_path / "mine.py"
    path.write_text("from ase.calculators.emt import EMT\n")
    potential = calculator_potential(f"{path}:EMT")
    copper = own_calculators.structures(1)
    before = potential.attributes()
    potential.reference(copper, 2.0)
    path.write_text("from ase.calculators.emt import EMT\n# another\n")
    assert potential.attributes() == before
    with pytest.raises(ValueError, match=r"mine\.py was changed while it was in use"):
        potential.reference(copper, 2.0)


def test_a_file_that_ends_the_process_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(ValueError, match="cannot be imported"):
        calculator_potential(f"{path}:EMT").reference(own_calculators.structures(1), 2.0)


@pytest.mark.parametrize("temperature_K", [0.0, -3.0, np.nan])
def test_nothing_is_equilibrated_at_no_temperature(temperature_K: float) -> None:
    reference = System(tuple(own_calculators.structures(1)), calculator_potential(EMT)).reference()
    with pytest.raises(ValueError, match="temperature_K must be positive"):
        reference.equilibrate(temperature_K, np.random.default_rng(1), 0.1)
