"""A 3-D view of frames in a page.

Drawn by chemiscope (Fraux, Cersonsky and Ceriotti, J. Open Source Softw. 5, 2117 (2020)).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from flashmd_rs._structure import F64
from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase

INSTALL = "pip install 'flashmd-rs[view]'"
# Atoms of all frames together that a page holds, about 20 bytes each.
_MOST_ATOMS = 100_000
_MOST_FRAMES = 200
_DECIMALS = 3  # of positions, Å

_HTML = Template("""<p>$text</p>
<div class="view"><div id="structure" style="height: 100%"></div></div>
<div id="meta" hidden></div><div id="info"></div>
<script>$script</script>
<script type="application/json" id="frames">$frames</script>
<script>
Chemiscope.StructureVisualizer.load(
  { meta: "meta", structure: "structure", info: "info" },
  JSON.parse(document.getElementById("frames").textContent),
  new Chemiscope.Warnings(),
).then(() => document.body.dataset.view = "drawn");
</script>
""")


@dataclass(frozen=True)
class View:
    """Frames for chemiscope.

    Attributes:
        dataset: what chemiscope reads.
        text: a sentence about the frames.
    """

    dataset: dict[str, Any]
    text: str

    def html(self) -> str:
        """The view with chemiscope's script, which comes out of its wheel."""
        import chemiscope

        script = (Path(chemiscope.__file__).parent / "sphinx" / "static" / "chemiscope.min.js").read_text()
        # What would end the element in the middle of the script or of the frames.
        script = re.sub(r"</(script)", r"<\\/\1", script, flags=re.IGNORECASE)
        frames = json.dumps(self.dataset).replace("<", "\\u003c")
        return _HTML.substitute(text=self.text, script=script, frames=frames)


def view_of(frames: Sequence[ase.Atoms], times_ps: Sequence[float] | F64, name: str) -> View | None:
    """A view of evenly spaced frames, as many as a page can hold; None where chemiscope is not installed.

    Args:
        frames: of one run.
        times_ps: their times, ps.
        name: of the run.
    """
    if find_spec("chemiscope") is None or not frames:
        return None
    import chemiscope

    chosen = _chosen(frames, times_ps, name)
    dataset = chemiscope.create_input(**chosen)
    for structure in dataset["structures"]:
        for axis in "xyz":
            structure[axis] = [round(float(value), _DECIMALS) for value in structure[axis]]
    shown = len(chosen["structures"])
    return View(dataset, f"{shown} of {len(frames)} frames; turn it with the mouse, choose a frame below.")


def widget(frames: Sequence[ase.Atoms], times_ps: Sequence[float] | F64, name: str) -> Any:
    """The same view as a notebook's widget.

    Raises:
        InputError: chemiscope is not installed.
    """
    if find_spec("chemiscope") is None:
        raise InputError(f"a view needs chemiscope: {INSTALL}")
    import chemiscope

    return chemiscope.show(**_chosen(frames, times_ps, name), mode="structure")


def _chosen(frames: Sequence[ase.Atoms], times_ps: Sequence[float] | F64, name: str) -> dict[str, Any]:
    """What chemiscope is given of a run."""
    most = max(1, min(_MOST_FRAMES, _MOST_ATOMS // len(frames[0])))
    every = -(-len(frames) // most)
    times = [round(float(time), 6) for time in times_ps[::every]]
    look = {"keepOrientation": True, "playbackDelay": 100, "unitCell": bool(frames[0].pbc.any())}
    return {
        "structures": [_wrapped(frame) for frame in frames[::every]],
        "properties": {"time": {"target": "structure", "values": times, "units": "ps"}},
        "metadata": {"name": name},
        "settings": {"target": "structure", "structure": [look]},
    }


def _wrapped(frame: ase.Atoms) -> ase.Atoms:
    """Atoms alone, within the cell, without what else a frame carries."""
    import ase

    bare = ase.Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    bare.wrap()
    return bare
