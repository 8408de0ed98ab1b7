"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where it is usable, else the CPU.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of the network on the CPU.", show_default="what the process may use")
]
Kernels = Annotated[
    Literal["auto", "off"],
    typer.Option(help="auto: flashmd-rs runs what it can of the network on the CPU itself; off: ONNX Runtime runs it."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="drawn and printed")]
ProgressBar = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a bar on a terminal, else a line now and then.")
]
