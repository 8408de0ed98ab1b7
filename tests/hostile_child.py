"""A process that opens damaged models, one line of JSON for each.

``python hostile_child.py SEED FIRST LAST`` for mutants by number, or ``python hostile_child.py FILE…``.

Its memory is limited, so that a file that asks for all of it gets an error and not the machine. Seconds are of the
processor, for those of the clock count what else the machine does; who started this process limits them.
"""

import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from ase import Atoms
from mutation import mutant

from flashmd_rs import FlashMDError, _core, neighbor_list, open_library

from conftest import FIXTURES

MEMORY = 6 << 30
# Analytic models of a kilobyte or two: nearly every byte means something.
ORIGINALS = ["free_flight", "pair_stride", "pair_energy", "noisy", "skewed"]


def originals():
    """The good files that are damaged."""
    return [(FIXTURES / f"{name}.onnx").read_bytes() for name in ORIGINALS]


def structure():
    """Five atoms of the fixtures' species, near enough to interact."""
    rng = np.random.default_rng(4)
    places = np.array([[0, 0, 0], [2.4, 0, 0], [0, 2.6, 0], [0, 0, 2.2], [2.1, 2.3, 0.2]])
    atoms = Atoms(["H", "O", "Ne", "Al", "Ar"], positions=places, cell=[9, 9, 9], pbc=True)
    atoms.set_masses([1.008, 15.999, 20.1797, 26.9815385, 39.948])
    atoms.set_momenta(rng.normal(0, 0.3, (5, 3)))
    return atoms


class NoReference(Exception):
    """The evaluator cannot tell: it lacks an operator, trips over an unused part, or reads the file otherwise."""


def outcome(data):
    """What becomes of one file, and the numbers it gives of the structure: its energy, or a stride."""
    numbers = None
    try:
        kind = json.loads(_core.inspect_model(data))["kind"]
        model = _core.Model(data, name="mutant", device="cpu", threads=1)
    except FlashMDError as error:
        return {"error": type(error).__name__, "message": str(error)}, numbers
    atoms = structure()
    positions, momenta, masses = atoms.positions.copy(), atoms.get_momenta(), atoms.get_masses()
    arrays = (np.array(atoms.numbers, np.int64), np.array(atoms.cell.array), np.array(atoms.pbc))
    try:
        if kind == "energy":
            numbers = model.energy(positions, masses, *arrays)
        else:
            numbers = model.stride(positions, momenta, masses, *arrays)
    except FlashMDError as error:
        return {"loaded": True, "error": type(error).__name__, "message": str(error)}, numbers
    return {"loaded": True}, numbers


def departure(numbers, data):
    """The largest departure of our numbers from those of onnx.reference on the same file."""
    metadata, atoms = json.loads(_core.inspect_model(data)), structure()
    positions, momenta, masses = atoms.positions.copy(), atoms.get_momenta(), atoms.get_masses()
    out = reference(data, atoms, metadata)
    if metadata["kind"] == "energy":
        return relative(numbers[0], out["energy"].astype(float).sum())
    moved, after = numbers
    root = np.sqrt(masses)[:, None]
    shift = out["displacement"].astype(float) / root
    new = out["momenta_out"].astype(float) * root
    # Momentum is restored and the centre of mass moves uniformly.
    total = masses.sum()
    new += masses[:, None] * (momenta.sum(0) - new.sum(0)) / total
    time_ = metadata["stride_fs"] * 0.09822694788464063
    shift += momenta.sum(0) / total * time_ - (masses[:, None] * shift).sum(0) / total
    return max(relative(moved - positions, shift), relative(after, new))


def relative(got, wanted):
    """Largest difference over the largest value; infinite if only one of them is finite."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if not np.all(np.isfinite(wanted)):
        return float(np.inf)
    return float(np.max(np.abs(got - wanted)) / max(float(np.max(np.abs(wanted))), 1e-6))


def reference(data, atoms, metadata):
    """Outputs by name of the file in ``data``, by an evaluator that shares nothing with ONNX Runtime."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        model = onnx.load_from_string(data)
        evaluator = ReferenceEvaluator(model)
    except Exception as error:
        raise NoReference from error
    i, j, vectors, shifts = neighbor_list("ijDS", atoms, metadata["cutoff_A"])
    count = np.bincount(i, minlength=len(atoms))
    n, k = len(atoms), max(1, int(count.max()))
    slot = np.arange(len(i)) - np.concatenate([[0], np.cumsum(count)])[i]
    edges = np.zeros((n, k, 3), np.float32)
    mask = np.zeros((n, k), bool)
    neighbors = np.repeat(np.arange(n, dtype=np.int32)[:, None], k, axis=1)
    reverse = np.arange(n * k, dtype=np.int32).reshape(n, k)
    place = {(a, b, *s): (a, c) for a, b, s, c in zip(i, j, shifts.tolist(), slot, strict=True)}
    for a, b, s, c, vector in zip(i, j, shifts.tolist(), slot, vectors, strict=True):
        edges[a, c], mask[a, c], neighbors[a, c] = vector, True, b
        back = place[(b, a, *(-x for x in s))]
        reverse[a, c] = back[0] * k + back[1]
    masses = atoms.get_masses()
    feeds = {
        "species": np.array([metadata["species"].index(s) for s in atoms.symbols], np.int32),
        "momenta": (atoms.get_momenta() / np.sqrt(masses)[:, None]).astype(np.float32),
        "masses": masses.astype(np.float32),
        "edge_vectors": edges,
        "mask": mask,
        "neighbors": neighbors,
        "reverse": reverse,
        "system": np.zeros(n, np.int32),
        "weight": np.ones(n, np.float32),
    }
    declared = {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    names = [output.name for output in model.graph.output]
    try:
        with np.errstate(all="ignore"):
            values = evaluator.run(None, {name: feeds[name] for name in declared})
    except Exception as error:
        raise NoReference from error
    out = dict(zip(names, values, strict=True))
    for name in ("displacement", "momenta_out"):
        # It reads an attribute that the standard leaves open, such as keepdims=2, in another way.
        if name in out and out[name].shape != (n, 3):
            raise NoReference
    return out


def mutants_that_pass(seed, first, last):
    """Number and bytes of the mutants that the contract lets through to ONNX Runtime."""
    files = originals()
    for number in range(first, last):
        data = mutant(files, number, seed)
        try:
            _core.inspect_model(data)
        except FlashMDError:
            continue
        yield number, data


def main(arguments):
    """Report on mutants by number, or on files by name, flushing before each is tried."""
    open_library()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if arguments[0].isdigit():
        cases = mutants_that_pass(*map(int, arguments))
    else:
        cases = ((name, Path(name).read_bytes()) for name in arguments)
    for number, data in cases:
        print(json.dumps({"number": number}), flush=True)
        start, numbers = time.process_time(), None
        try:
            report, numbers = outcome(data)
        except BaseException as error:  # a panic is no Exception
            report = {"unexpected": f"{type(error).__name__}: {error}"}
        # Those of the evaluator, which is slow, are not ours.
        report["seconds"] = time.process_time() - start
        if numbers is not None:
            with suppress(NoReference):
                report["departure"] = departure(numbers, data)
        print(json.dumps(report | {"number": number}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
