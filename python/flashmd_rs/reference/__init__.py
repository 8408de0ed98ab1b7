"""Reference molecular dynamics of any potential, and the file that keeps its segments; no PyTorch.

A :class:`~flashmd_rs.reference.system.System` is start structures and a potential: an ASE calculator
(:mod:`~flashmd_rs.reference.ase_system`) or an OpenMM system (:mod:`~flashmd_rs.reference.openmm_system`). A data file
is described by a :class:`~flashmd_rs.reference.recipe.Recipe`, simulated on all cores by
:func:`~flashmd_rs.reference.generate.generate`, kept as HDF5 by :mod:`~flashmd_rs.reference.store`, and tested by
:func:`~flashmd_rs.reference.checks.findings`.

Needs the extra ``evaluate``; from a clone: ``pip install '.[evaluate]'``.
"""

from importlib.util import find_spec


def require_extra() -> None:
    """Check that the packages of the extra ``evaluate`` are installed; nothing is imported.

    Raises:
        ImportError: some are not; the message names them and the command that installs them.
    """
    missing = [name for name in ("openmm", "h5py", "scipy", "filelock", "yaml") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"reference MD and evaluation need {', '.join(missing)}; from a clone of this repository: "
            "pip install '.[evaluate]'"
        )
