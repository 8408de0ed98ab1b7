"""Instructions that the core executes on fixed inputs, against budgets: a slower core is seen on a busy machine.

    python benches/instructions.py            # each count beside its budget; fails if one is exceeded
    python benches/instructions.py --keep     # the counts become the budgets

Counted by callgrind, which knows no AVX-512: the AVX2 code of x86-64 is counted. Needs Valgrind and Cargo. What is
counted are the tests named ``instructions_…`` of the Rust core.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
BUDGETS = Path(__file__).parent / "results" / "instructions.json"
# Compilers differ by some per cent.
ALLOWED = 1.1


def test_binary() -> Path:
    """The core's unit tests, built with optimisation."""
    command = ["cargo", "test", "--release", "-q", "-p", "flashmd", "--lib", "--locked", "--no-run"]
    done = subprocess.run([*command, "--message-format=json"], cwd=ROOT, capture_output=True, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return Path(next(m["executable"] for m in messages if m.get("executable")))


def cases(binary: Path) -> list[str]:
    """Names of the tests that are counted."""
    command = [str(binary), "instructions_", "--ignored", "--list", "--format", "terse"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]


def count(binary: Path, case: str) -> int:
    """Instructions within the function ``counted`` that the test calls."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--toggle-collect=*counted*"]
        test = [str(binary), "--exact", case, "--ignored", "--test-threads=1"]
        done = subprocess.run([*valgrind, *test], capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found or int(found[1]) == 0:
        raise RuntimeError(f"callgrind counted nothing of {case}:\n{done.stderr}")
    return int(found[1])


def main(keep: Annotated[bool, typer.Option("--keep", help="Make these counts the budgets.")] = False) -> None:
    """Count, compare, and fail if a count is above its budget."""
    binary = test_binary()
    counts = {case.rsplit("instructions_")[-1]: count(binary, case) for case in cases(binary)}
    if keep:
        BUDGETS.write_text(json.dumps(counts, indent=1) + "\n")
    budgets = json.loads(BUDGETS.read_text())
    if counts.keys() != budgets.keys():
        typer.echo(f"other cases than budgets: {', '.join(sorted(counts.keys() ^ budgets.keys()))}; --keep", err=True)
        raise typer.Exit(1)
    for name, number in counts.items():
        typer.echo(f"{name:<24}{number / 1e6:>10.2f} million, budget {budgets[name] / 1e6:.2f}")
    exceeded = [name for name, number in counts.items() if number > ALLOWED * budgets[name]]
    if exceeded:
        typer.echo(f"above budget: {', '.join(exceeded)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
