"""What importing a checkpoint of the published size takes: FlashMD and PET with metatrain's default options.

    python benches/convert_size.py [ARCHITECTURE …]
    python benches/convert_size.py --fetch

With ``--fetch`` both are served by a hub on this machine, fetched by the command, and move a structure by name.

Weights are those of one epoch on random frames of 89 elements: the result is no model, its cost is that of one. Needs
``pip install './training[convert]'``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

sys.path.append(str(Path(__file__).parents[1] / "training" / "tests" / "convert"))

from hub_server import hub
from metatrain_models import train_model

from flashmd_train.convert.hub import REPOSITORY
from flashmd_train.graph.structures import random_structure

ARCHITECTURES = ("experimental.flashmd", "pet")
# H to Ac without Po to Ra, then Th to Pu: the elements of universal potentials.
ELEMENTS = [*range(1, 84), *range(89, 95)]
FRAMES, SPACING_A = 4, 2.6
CONVERT = """
import json, sys, time
from pathlib import Path
import torch
from flashmd_train.convert.conversion import convert_checkpoint
from flashmd_train.convert.memory import peak_memory_MB
checkpoint, output = map(Path, sys.argv[1:])
before, start = peak_memory_MB(), time.monotonic()
metadata = convert_checkpoint(checkpoint, output)
import onnx
weights = sum(torch.Size(w.dims).numel() for w in onnx.load(output).graph.initializer)
print(json.dumps(dict(seconds=time.monotonic() - start, peak_MB=peak_memory_MB(), before_MB=before, weights=weights)
    | metadata["validation"]))
"""


def frames() -> list[Atoms]:
    """Random structures that hold every element, with random ends of strides, energies and forces."""
    rng, made = np.random.default_rng(1), []
    for seed in range(FRAMES):
        atoms = random_structure(["H"], [1.0], len(ELEMENTS), SPACING_A, seed)
        atoms.numbers = rng.permutation(np.resize(ELEMENTS, len(atoms)))
        atoms.set_masses(atomic_masses[atoms.numbers])
        atoms.pbc = True
        for name in ("future_positions", "future_momenta", "forces"):
            atoms.new_array(name, rng.normal(size=(len(atoms), 3)))
        atoms.arrays["future_positions"] = atoms.positions + 0.1 * atoms.arrays["future_positions"]
        atoms.info["energy"] = float(rng.normal())
        made.append(atoms)
    return made


def trained(architecture: str, folder: Path) -> Path:
    """A checkpoint of all elements."""
    training = {} if architecture == "pet" else dict(scale_targets=False)
    return train_model(folder, architecture, [chemical_symbols[z] for z in ELEMENTS], {}, training, frames=frames())


def fetch_both(folder: Path) -> None:
    """Serve, fetch and run by name what was trained with the default options."""
    published = {"mlip_pet-omatpes-v2.ckpt": "pet", "flashmd_pet-omatpes-v2_16fs.ckpt": "experimental.flashmd"}
    checkpoints = {}
    for number, (file, architecture) in enumerate(published.items()):
        (folder / str(number)).mkdir()
        checkpoints[file] = trained(architecture, folder / str(number))
    atoms = frames()[0]
    atoms.write(folder / "start.extxyz")
    with hub(REPOSITORY) as served:
        served.commit(checkpoints)
        own = dict(HF_ENDPOINT=served.url, HF_HOME=str(folder / "hf"), FLASHMD_CACHE=str(folder / "cache"))
        fetch = "import typer; from flashmd_train.convert.fetch_command import fetch; typer.run(fetch)"
        run = "-m flashmd_rs run start.extxyz --model pet-omatpes-v2@16fs --steps 2 --temperature-k 10 --momenta draw"
        for command in (["-c", fetch, "pet-omatpes-v2", "--stride-fs", "16"], [*run.split(), "--guard", "off"]):
            arguments, environment = [sys.executable, *command], os.environ | own
            done = subprocess.run(arguments, cwd=folder, env=environment, text=True, capture_output=True, check=False)
            print(done.stdout + done.stderr, flush=True)


def measure(architecture: str, folder: Path) -> dict:
    """Sizes, seconds and memory of one import, in a process of its own."""
    checkpoint = trained(architecture, folder)
    model = folder / "model.onnx"
    command = [sys.executable, "-c", CONVERT, str(checkpoint), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sizes = dict(checkpoint_MB=checkpoint.stat().st_size / 1e6, model_MB=model.stat().st_size / 1e6)
    return sizes | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:] == ["--fetch"]:
        with tempfile.TemporaryDirectory() as folder:
            fetch_both(Path(folder))
        return
    for architecture in sys.argv[1:] or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(architecture, Path(folder))
        print(architecture, *(f"{name} {value:.3g}" for name, value in figures.items()), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
