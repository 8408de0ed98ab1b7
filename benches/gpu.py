"""The main job on a GPU: one page of what it gives there, beside the CPU.

python benches/gpu.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np

import flashmd_rs

STRIDES = 500


def device_name() -> str:
    """What the driver calls the first GPU."""
    if shutil.which("nvidia-smi") is None:
        return "unknown (no nvidia-smi)"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> int:
    """Print the page; 1 if CUDA is not usable."""
    try:
        models = {device: flashmd_rs.Model("water", device=device) for device in ("cpu", "cuda")}
    except flashmd_rs.RuntimeLibraryError as error:
        print(f"CUDA is not usable here: {error}", file=sys.stderr)
        return 1
    atoms = flashmd_rs.load_structure("water258")
    print(f"GPU            {device_name()}\nsystem         {len(atoms)} atoms of water, strides of 16 fs")
    for device, model in models.items():
        options = dict(temperature_K=300.0, seed=1, progress=False)
        flashmd_rs.rollout(atoms, model, steps=20, **options)
        run = flashmd_rs.rollout(atoms, model, steps=STRIDES, **options)
        report, mean = run.report, {k: v[len(v) // 2 :].mean() for k, v in run.temperature_K.items()}
        print(
            f"{device:<15}{1000 * report['seconds'] / STRIDES:.2f} ms/stride, {report['ns_per_day']:.1f} ns/day, "
            f"network {100 * report['seconds_network'] / report['seconds']:.0f} %, "
            + ", ".join(f"T {k} {v:.1f} K" for k, v in mean.items())
        )
    one, other = (model.stride(atoms) for model in models.values())
    dq = np.abs(one.positions - other.positions).max()
    dp = np.abs(one.get_momenta() - other.get_momenta()).max()
    print(f"one stride, CPU against CUDA: |Δq| {dq:.1e} Å, |Δp| {dp:.1e} √(eV·u)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
