"""PLUMED's collective variables and biases around strides, through ASE's calculator of PLUMED."""

from __future__ import annotations

from collections.abc import Sequence

import ase
from ase import units
from ase.calculators.idealgas import IdealGas
from ase.calculators.plumed import Plumed

from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike


def plumed_bias(
    atoms: ase.Atoms,
    lines: str | Sequence[str],
    model: PathLike | Model,
    *,
    temperature_K: float,
    log: str = "",
    strides_done: int = 0,
) -> Plumed:
    """A bias of PLUMED, to be given as ``bias=``; one of its steps is a stride.

    Args:
        atoms: the structure of the run.
        lines: PLUMED's input, in its own units (nm, kJ/mol, ps). ``PACE`` and ``STRIDE`` count strides.
        model: what moves the atoms, for the length of a stride.
        temperature_K: temperature of the run, K, for well-tempered biases.
        log: file for PLUMED's log.
        strides_done: strides before these, of a run that is gone on with: PLUMED then goes on with its own files.

    Raises:
        InputError: the ``plumed`` package is missing or has no kernel, or PLUMED refuses its input.

    Example:
        >>> lines = ["phi: TORSION ATOMS=5,7,9,15", "METAD ARG=phi PACE=50 HEIGHT=1.2 SIGMA=0.35"]  # doctest: +SKIP
        >>> bias = plumed_bias(atoms, lines, "molecule.onnx", temperature_K=300)  # doctest: +SKIP
        >>> flashmd_rs.rollout(atoms, "molecule.onnx", bias=bias, temperature_K=300, time_ps=100)  # doctest: +SKIP
    """
    stride_fs = (model if isinstance(model, Model) else Model(model)).stride_fs
    if stride_fs is None:
        raise InputError("got an energy model, which has no strides: give the model that moves the atoms")
    _check_kernel()
    try:
        bias = Plumed(
            IdealGas(),  # what the bias is beside
            lines.splitlines() if isinstance(lines, str) else list(lines),
            stride_fs * units.fs,
            atoms=atoms.copy(),
            kT=temperature_K * units.kB,
            log=log,
            restart=strides_done > 0,
        )
    except RuntimeError as error:
        raise InputError(f"PLUMED refuses its input: {error}") from None
    bias.istep = strides_done
    return bias


def _check_kernel() -> None:
    """Raise InputError unless PLUMED can be opened."""
    try:
        import plumed

        plumed.Plumed().finalize()
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"PLUMED cannot be used ({error}): pip install plumed, and set PLUMED_KERNEL to the path of "
            "libplumedKernel.so, which comes with PLUMED itself (conda install -c conda-forge plumed)"
        ) from None
