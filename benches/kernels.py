"""What the kernels make of a stride: models with them and without, alternating, on the same structure.

Beside each, how near its products come to the processor's peak, which is that of NumPy's own product on as many
threads, and what share of the kernels' time is products, elementwise operators, sums and softmax, and movement.

    python benches/kernels.py [MODEL.onnx …] [--threads 1]

Without models: the bundled ones, and with ``--pet`` random weights of the network FlashMD is (PET, its default size and
one of 64 features). Needs ``pip install '.[bench]'``, and for ``--pet`` ``./training``.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from ase.build import bulk
from threadpoolctl import threadpool_limits

import flashmd_rs
from flashmd_rs import _core
from flashmd_rs.temperature import draw_momenta

RESULTS = Path(__file__).parent / "results"
BUNDLED = ("water", "water-nve", "water-energy", "aluminium")
PET_CUTOFF_A = 4.5
PET = {
    "PET, 128 features": {},
    "PET, 64 features": dict(features=64, node_features=256, head_features=64, hidden=128, heads=4),
}


def structure(model: flashmd_rs.Model, copies: int) -> Atoms:
    """258 waters, or 864 atoms of aluminium, so many times along each axis."""
    if "O" in model.species:
        return flashmd_rs.load_structure("water258").repeat(copies)
    atoms = bulk(model.species[0], cubic=True) * ((6 * copies,) * 3)
    atoms.rattle(0.05, seed=1)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 600.0, seed=1))
    return atoms


def once(model: flashmd_rs.Model, atoms: Atoms) -> np.ndarray:
    """A stride, or the forces of an energy."""
    if model.kind == "energy":
        return model.forces(atoms)
    end = model.stride(atoms)
    return np.concatenate([end.positions - atoms.positions, end.get_momenta()])


def peak_gflops(threads: int) -> float:
    """Of NumPy's product of large matrices."""
    a = np.ones((1024, 1024), np.float32)

    def once_s() -> float:
        start = time.perf_counter()
        a @ a
        return time.perf_counter() - start

    with threadpool_limits(threads):
        return 2e-9 * 1024**3 / min(once_s() for _ in range(20))


def profile(model: flashmd_rs.Model, atoms: Atoms, threads: int) -> dict:
    """Speed within the products, on all threads, and shares of time."""
    _core.start_kernel_profile()
    once(model, atoms)
    kinds, multiply_adds = _core.stop_kernel_profile()
    seconds, total = dict(kinds), sum(seconds for _, seconds in kinds)
    if not multiply_adds:
        return dict(product_gflops=None, shares_percent=None)
    gflops = 2e-9 * multiply_adds / seconds["products"] * threads
    shares = {kind: round(100 * s / total) for kind, s in kinds}
    return dict(product_gflops=round(gflops), shares_percent=shares)


def random_pet(folder: Path) -> dict[str, Path]:
    """Files of PET with random weights for water, strides of 16 fs."""
    import torch

    from flashmd_train.graph.structures import water_graph
    from flashmd_train.model_files.contract import DIRECT_INPUTS, write_model
    from flashmd_train.model_files.onnx_graph import export_forward
    from flashmd_train.models.config import DirectConfig
    from flashmd_train.models.direct import Direct

    known = flashmd_rs.Model("water").metadata
    kept = {k: v for k, v in known.items() if k not in ("energy_model", "validation", "gain")}
    kept["domain"] = {k: v for k, v in kept["domain"].items() if k != "largest_uncertainty"}
    files = {}
    for index, (name, sizes) in enumerate(PET.items()):
        torch.manual_seed(0)
        given = dict(backbone="pet", prior="none", momenta_as_difference=True, cutoff_A=PET_CUTOFF_A, options=sizes)
        module = Direct(DirectConfig.model_validate(given)).requires_grad_(False)
        graphs = [water_graph(n, PET_CUTOFF_A, n, tuple(known["masses_u"])) for n in (3, 5, 4)]
        graph, _ = export_forward(module, DIRECT_INPUTS, module.outputs, graphs)
        reach = dict(cutoff_A=PET_CUTOFF_A, receptive_field_A=module.backbone.reach * PET_CUTOFF_A, equivariant=False)
        files[name] = folder / f"pet-{index}.onnx"
        write_model(graph, kept | reach, files[name])
    return files


def main(
    models: Annotated[list[Path] | None, typer.Argument(help="Model files.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 1,
    repeats: Annotated[int, typer.Option(help="Alternating runs of each.")] = 9,
    copies: Annotated[int, typer.Option(help="Of the structure along each axis.")] = 1,
    pet: Annotated[bool, typer.Option("--pet", help="Random weights of PET too.")] = False,
) -> None:
    """Alternate runs with kernels and without; print medians, their ratio and the largest difference."""
    rows, peak = [], peak_gflops(threads)
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, str | Path] = {path.stem: path for path in models or []} or {name: name for name in BUNDLED}
        files |= random_pet(Path(folder)) if pet else {}
        for name, file in files.items():
            opened = {k: flashmd_rs.Model(file, device="cpu", threads=threads, kernels=k) for k in ("off", "auto")}
            atoms = structure(opened["off"], copies)
            seconds: dict[str, list[float]] = {kernels: [] for kernels in opened}
            made = {}
            for repeat in range(repeats + 1):
                for kernels, model in opened.items():
                    start = time.perf_counter()
                    made[kernels] = once(model, atoms)
                    if repeat:
                        seconds[kernels].append(time.perf_counter() - start)
            error = np.abs(made["auto"] - made["off"]).max() / np.abs(made["off"]).max()
            ratio = median(a / b for a, b in zip(seconds["off"], seconds["auto"]))
            off, auto = (1000 * median(seconds[kernels]) for kernels in ("off", "auto"))
            row = dict(model=name, atoms=len(atoms), threads=threads, repeats=repeats, off_ms=round(off, 1))
            row |= dict(kernels_ms=round(auto, 1), ratio=round(ratio, 2), largest_difference=float(f"{error:.1e}"))
            row |= profile(opened["auto"], atoms, threads) | dict(peak_gflops=round(peak))
            rows.append(row | dict(kernels=opened["auto"].describe_kernels()))
            typer.echo("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    RESULTS.mkdir(exist_ok=True)
    suffix = "" if copies == 1 else f"-{copies}"
    (RESULTS / f"kernels-{threads}{suffix}.json").write_text("\n".join(json.dumps(row) for row in rows) + "\n")


if __name__ == "__main__":
    typer.run(main)
