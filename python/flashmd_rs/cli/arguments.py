"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where it is usable, else the CPU.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of the network on the CPU.", show_default="what the process may use")
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="drawn and printed")]
ProgressBar = Annotated[bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")]


def read_structure(name: str) -> Any:
    """A structure file, or a bundled one.

    Raises:
        InputError: ASE cannot read the file.
        OSError: the file is missing or not readable.
    """
    from ase.io import read

    from flashmd_rs.bundled import bundled, load_structure
    from flashmd_rs.errors import InputError

    path = Path(name)
    if not path.exists():
        names = bundled()["structures"]
        if name.removesuffix(".extxyz") in names:
            return load_structure(name)
        raise FileNotFoundError(f"no structure file {name!r}, nor a bundled one ({', '.join(names) or 'none'})")
    try:
        return read(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is not a structure that ASE can read: {reason}") from None
