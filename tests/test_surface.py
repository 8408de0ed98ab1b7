"""The package from outside: its signatures, what importing it costs, and who imports whom."""

import ast
import inspect
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import flashmd_rs
from flashmd_rs import rollout
from flashmd_rs._engine.settings import Arguments, Continuation, ContinuationOptions, RunOptions

PACKAGE = Path(flashmd_rs.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(), str(path)) for path in FILES}
# What a command line or a plot, a file format or an energy needs, and an import of the package does not.
HEAVY = (
    "ase.io",
    "ase.calculators",
    "matplotlib",
    "scipy",
    "openmm",
    "h5py",
    "torch",
    "MDAnalysis",
    "tqdm",
    "typer",
    "onnx",
    "onnxruntime",
)


def module_of(path):
    parts = ("flashmd_rs", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
NAMES = {*MODULES, "flashmd_rs._core"}


class TestSignatures:
    def test_rollout_has_few_parameters(self):
        # A bias is the last that came: it is no part of any other option.
        assert len(inspect.signature(rollout).parameters) <= 26
        assert len(inspect.signature(flashmd_rs.resume).parameters) <= 15

    def test_no_other_public_function_has_many(self):
        """Of any module; a command's are its flags."""
        counted = 0
        for path, tree in TREES.items():
            module = module_of(path)
            if ".cli." in module or any(part.startswith("_") for part in module.split(".")):
                continue
            for name, function in public_functions(tree):
                if module == "flashmd_rs.rollout":
                    continue
                arguments = function.args
                count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])
                assert count <= 12, f"{module}.{name}"
                counted += 1
        assert counted > 100

    def test_one_list_of_options(self):
        """`rollout` has them as parameters, `Simulation` as a TypedDict, the engine as a dataclass; so has `resume`."""
        lists = ((rollout, RunOptions, Arguments), (flashmd_rs.resume, ContinuationOptions, Continuation))
        for function, options, engine in lists:
            parameters = dict(inspect.signature(function).parameters)
            own = [parameters.pop(name) for name in ("progress", "wall_time_s")]
            for name in ("atoms", "model") if function is rollout else ("checkpoint",):
                del parameters[name]
            assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in [*parameters.values(), *own])
            assert set(parameters) == set(options.__annotations__) == {field.name for field in fields(engine)}
            assert {name: p.default for name, p in parameters.items()} == {f.name: f.default for f in fields(engine)}
            types = {name: annotation.__forward_arg__ for name, annotation in options.__annotations__.items()}
            assert {name: p.annotation for name, p in parameters.items()} == types

    def test_every_option_is_explained(self):
        """Each parameter in the docstring of `rollout`, and of `resume`."""
        for function in (rollout, flashmd_rs.resume):
            for name in inspect.signature(function).parameters:
                assert f"\n    {name}: " in inspect.getdoc(function), name

    def test_all_names_are_there(self):
        assert sorted(flashmd_rs.__all__) == flashmd_rs.__all__
        assert all(hasattr(flashmd_rs, name) for name in flashmd_rs.__all__)


def public_functions(tree):
    """Functions and methods by name, those that open with an underscore or lie within others left out."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


class TestImports:
    def test_importing_is_light(self, shell):
        code = (
            f"import sys, flashmd_rs; heavy = {HEAVY!r}\n"
            "print([m for m in sys.modules if any(m == h or m.startswith(h + '.') for h in heavy)])"
        )
        result = shell("-c", code, module=False)
        assert result.stdout == "[]\n", result.stderr

    def test_the_command_opens_without_what_a_run_needs(self, shell):
        code = (
            f"import sys, flashmd_rs.cli; heavy = {HEAVY!r}\n"
            "print([m for m in sys.modules if any(m == h or m.startswith(h + '.') for h in heavy) if 'typer' not in m])"
        )
        result = shell("-c", code, module=False)
        assert result.stdout == "[]\n", result.stderr

    def test_nothing_leads_to_the_trainer(self):
        for path, tree in TREES.items():
            outside = {name.split(".")[0] for name in imported(tree)}
            # torch-sim's own states are tensors.
            allowed = {"torch"} if path.name == "torch_sim.py" else set()
            assert outside & {"flashmd_train", "torch"} == allowed, path

    def test_no_circles(self):
        """Every import is counted, also those in functions and those for types alone; packages do not stand for their
        modules, nor modules for their package.
        """
        arrows = {module: own_imports(TREES[path], module) for module, path in MODULES.items()}
        assert sum(map(len, arrows.values())) > 150
        try:
            TopologicalSorter(arrows).prepare()
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))

    def test_circles_would_be_seen(self):
        tree = ast.parse(
            "def f():\n    from flashmd_rs import _checks\n    from flashmd_rs.writers.log import LogWriter"
        )
        assert own_imports(tree, "x") == {"flashmd_rs._checks", "flashmd_rs.writers.log"}
        tree = ast.parse("from flashmd_rs import rollout, __version__\nimport flashmd_rs.cli.app\nimport torch.nn")
        assert own_imports(tree, "x") == {"flashmd_rs.rollout", "flashmd_rs", "flashmd_rs.cli.app"}
        assert "torch.nn" in imported(tree)
        with pytest.raises(CycleError):
            TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()

    def test_no_relative_imports(self):
        """They would not be counted."""
        for path, tree in TREES.items():
            assert not [n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], path


def imported(tree):
    """Names of all modules that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(tree, module):
    """The same, modules of the package alone: what a name is taken from, where it is no module itself."""
    found = set()
    for name in imported(tree):
        while name and name not in NAMES:
            name = name.rpartition(".")[0]
        if name and name != module:
            found.add(name)
    return found
