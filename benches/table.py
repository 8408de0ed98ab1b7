"""The page of benches: what pytest-benchmark measured, as tables and a picture.

    pytest benches --benchmark-only --benchmark-json benchmark.json && python benches/table.py benchmark.json

Rows that were measured take the place of older ones in ``results/speed.json``, from which the tables in
``benches/README.md`` and ``docs/validation/speed.md`` and the picture are made. Remove that file to begin anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer

BENCHES = Path(__file__).parent
RESULTS = BENCHES / "results" / "speed.json"
DOCS = BENCHES.parent / "docs" / "validation"
MS_PER_DAY = 86_400_000.0
# What each way to move water keeps, where it is not the reference itself.
KEEPS = {
    "OpenMM, velocity Verlet, 0.5 fs": "the reference",
    "OpenMM, r-RESPA, 0.5 and 2 fs": "the reference's energy",
    "OpenMM, rigid molecules, 2 fs": "another model: no vibrations",
    "`water`, 16 fs": "T, g(r) in a bath; not energy without one",
    "`water-nve`, 4 fs": "energy: +0.0065 eV/ps; T, g(r)",
    "Verlet by `water-energy`, 0.5 fs": "energy of the learned potential",
}
Row = dict[str, object]


def rows_of(raw: Path) -> list[Row]:
    """What is kept of a benchmark."""
    rows, found = [], json.loads(raw.read_text())
    cpu = found["machine_info"]["cpu"]
    for entry in found["benchmarks"]:
        info = entry["extra_info"]
        row = dict(group=entry["group"], name=info["name"], rounds=entry["stats"]["rounds"])
        row |= dict(cpu=f"{cpu['brand_raw']}, {cpu['count']} processors")
        row |= dict(ms=float(f"{1000 * entry['stats']['median'] / info['amount']:.4g}"), unit=info["unit"])
        if "ratio" in info:
            row["ratio"] = float(f"{info['ratio']:.3g}")
        rows.append(row)
    return rows


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """New rows in the place of old ones of the same group and name."""
    known = {(row["group"], row["name"]): row for row in [*old, *new]}
    return list(known.values())


def tables(rows: list[Row]) -> dict[str, str]:
    """Markdown by what it is about."""
    return {about: table(rows, about) for about in ("water", "PET", "neighbour list")}


def table(rows: list[Row], about: str) -> str:
    """Contenders in rows, sizes and threads in columns."""
    of = [row for row in rows if str(row["group"]).startswith(about)]
    columns = list(dict.fromkeys(str(row["group"]).removeprefix(f"{about}, ") for row in of))
    keeps = about == "water"
    head = ["", *columns, *(["keeps"] if keeps else [])]
    lines = [_line(head), _line(["---"] * len(head))]
    for name in dict.fromkeys(str(row["name"]) for row in of):
        cells = {str(row["group"]).removeprefix(f"{about}, "): cell(row) for row in of if row["name"] == name}
        lines.append(_line([name, *(cells.get(c, "") for c in columns), *([KEEPS.get(name, "")] if keeps else [])]))
    return "\n".join(lines)


def cell(row: Row) -> str:
    """Speed, and its ratio to the opponent's."""
    ms, ratio = float(str(row["ms"])), row.get("ratio")
    speed = f"{MS_PER_DAY * 1e-6 / ms:.3g} ns/day" if row["unit"] == "fs" else f"{ms:.3g} ms"
    return speed if ratio is None else f"{speed}, **{float(str(ratio)):.3g}**"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put(file: Path, texts: dict[str, str]) -> None:
    """Write each table between its two comments."""
    content = file.read_text()
    for about, text in texts.items():
        between = rf"(<!-- {about} -->\n).*?(\n<!-- end -->)"
        content, count = re.subn(between, rf"\1\n{text}\n\2", content, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{file} has {count} places for the table about {about}, wanted one: <!-- {about} -->")
    file.write_text(content)


def draw(rows: list[Row], file: Path) -> None:
    """Simulated time a day of 774 atoms of water."""
    figure, all_axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, sharex=True, layout="constrained")
    for axes, threads in zip(all_axes, (1, 2)):
        of = [row for row in rows if row["group"] == f"water, 774 atoms, threads: {threads}"][::-1]
        speeds = [MS_PER_DAY * 1e-6 / float(str(row["ms"])) for row in of]
        ours = ["water" in str(row["name"]) for row in of]
        bars = axes.barh([str(row["name"]).replace("`", "") for row in of], speeds)
        for bar, own in zip(bars, ours):
            bar.set_color("tab:blue" if own else "tab:gray")
        axes.bar_label(bars, [f"{speed:.3g}" for speed in speeds], padding=3)
        axes.set(title="one thread" if threads == 1 else "two threads", xlabel="ns/day")
        axes.margins(x=0.15)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def main(raw: Annotated[list[Path] | None, typer.Argument(help="Files of --benchmark-json.")] = None) -> None:
    """Take in what was measured, and write tables and picture."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for file in raw or []:
        rows = merged(rows, rows_of(file))
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    for page in (BENCHES / "README.md", DOCS / "speed.md"):
        put(page, tables(rows))
    draw(rows, DOCS / "speed.png")


if __name__ == "__main__":
    typer.run(main)
