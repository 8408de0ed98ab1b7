"""A model file: found, checked, opened, and asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _checks, _core, _runtime_library, _threads
from flashmd_rs._structure import F64, Geometry, check_unconstrained, geometry, momenta, with_state
from flashmd_rs._warn import warn
from flashmd_rs.bundled import MODELS, bundled, bundled_file
from flashmd_rs.errors import InputError, ModelError, RuntimeLibraryError
from flashmd_rs.fetched import fetched_file, fetched_names, not_fetched, published_names

if TYPE_CHECKING:
    import ase
    from ase.calculators.calculator import Calculator

_LARGEST_FILE = 2 * 1024**3
_DEVICES = ("auto", "cpu", "cuda")
_KERNELS = ("auto", "off")


def find_model(path_or_name: str | os.PathLike[str]) -> Path:
    """The file of a model: an existing path wins, else a bundled name, else a fetched one, with or without ``.onnx``.

    Raises:
        FileNotFoundError: none of these; the message lists the names there are, or says how to fetch the model.
    """
    if not isinstance(path_or_name, str | os.PathLike):
        raise InputError(f"got {type(path_or_name).__name__} for a model, wanted a path or a bundled name")
    path = Path(path_or_name)
    if path.is_file():
        return path
    if path.is_dir():
        raise IsADirectoryError(f"{os.fspath(path_or_name)!r} is a folder, wanted a model file (.onnx)")
    name = os.fspath(path_or_name)
    found = bundled_file(MODELS, name, ".onnx") or fetched_file(name)
    if found is None:
        raise FileNotFoundError(_no_model(name))
    return found


def _no_model(name: str) -> str:
    """Why there is no model of a name, and which was meant or how to get it."""
    if reason := not_fetched(name):
        return reason
    import difflib

    here = [*bundled()["models"], *fetched_names()]
    near = difflib.get_close_matches(name.removesuffix(".onnx"), {*here, *published_names()}, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"no model file {name!r}, nor a bundled or fetched model of that name ({', '.join(here) or 'none'}){meant}"


def read_model(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelError: larger than 2 GiB.
        OSError: not readable.
    """
    size = path.stat().st_size
    if size <= _LARGEST_FILE:
        with path.open("rb") as file:
            # No more than that, even if the file grows meanwhile.
            data = file.read(_LARGEST_FILE + 1)
        size = len(data)
    if size > _LARGEST_FILE:
        raise ModelError(f"{path} has {size} bytes: a model has at most {_LARGEST_FILE}")
    return data


def read_metadata(path_or_name: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``flashmd`` metadata of a model, without opening ONNX Runtime.

    Raises:
        ModelError: the file is not a model of this contract.
        FileNotFoundError: no such file or bundled model.
    """
    path = find_model(path_or_name)
    return _parse_metadata(read_model(path), path)


def _parse_metadata(data: bytes, path: Path) -> dict[str, Any]:
    import json

    try:
        metadata: dict[str, Any] = json.loads(_core.inspect_model(data))
    except ModelError as error:
        raise _named(error, path) from None
    except ValueError as error:
        # Python reads no integer of more than 4300 digits.
        raise ModelError(f"{path}: the metadata under `flashmd` cannot be read: {error}") from None
    return metadata


def _named(error: ModelError, path: Path) -> ModelError:
    """The same error, its message opening with the file it speaks of."""
    message = str(error)
    if path.name in message or path.stem in message:
        return error
    return ModelError(f"{path}: {message}", fault=error.fault)


class Model:
    """A model file, opened on a device.

    Args:
        path_or_name: a file, one of ``bundled()["models"]``, or a fetched model such as ``"pet-omatpes-v2@16fs"``.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it is usable, else the CPU.
        kernels: ``"auto"``: on the CPU, flashmd-rs runs what it can of the network itself, on a few atoms at a time;
            ``"off"``: ONNX Runtime runs all of it. Results agree to rounding.
        threads: threads of the network on the CPU. None takes as many as there are processors for this process (by its
            affinity mask and the quota of its control group), or fewer where ``OMP_NUM_THREADS``, or else
            ``SLURM_CPUS_PER_TASK``, says so. No thread is pinned to a processor.

    A copy shares the session, whose users take turns. A model that was pickled is opened again where it is needed, from
    the same path, which must hold the same file.

    Raises:
        FileNotFoundError: no such file, or bundled or fetched model.
        ModelError: not a model, or not of this contract.
        RuntimeLibraryError: ONNX Runtime is missing or too old, CUDA was asked for and is not usable, or this process
            was forked from one that had a model open.
        InputError: an unknown device or setting of the kernels, or a number of threads below 1.

    Attributes:
        name: the file's name without its suffix.
        path: the file.
        metadata: the contract's metadata, as a dict.
        sha256: SHA-256 of the file, hexadecimal.
        kind: ``"direct"``, ``"energy"``, ….
        stride_fs: simulated time of one stride in fs; None for models that do not move atoms.
        cutoff_A: radius of the neighbour list, Å.
        species: chemical symbols the model knows.
        device: where it runs, ``"cpu"`` or ``"cuda"``.
        kernels: as given.
        kernel_version: of the kernels that run the network, or None where ONNX Runtime runs all of it.
        threads: as given.
        threads_used: the number that the network works with.
        threads_source: where that number comes from, in words.
    """

    def __init__(
        self,
        path_or_name: str | os.PathLike[str],
        device: str = "auto",
        threads: int | None = None,
        kernels: str = "auto",
    ) -> None:
        check_device(device)
        check_threads(threads)
        _checks.one_of("kernels", kernels, _KERNELS)
        self.kernels = kernels
        self.path = find_model(path_or_name).absolute()
        self.name = self.path.stem
        data = read_model(self.path)
        self.metadata = _parse_metadata(data, self.path)
        self.threads = None if threads is None else int(threads)
        chosen = _threads.choose(self.threads)
        self.threads_used, self.threads_source = chosen.count, chosen.source
        self._core = _open(data, self.path, device, chosen.count, kernels)

    def __repr__(self) -> str:
        stride = "" if self.stride_fs is None else f", stride {self.stride_fs:g} fs"
        return (
            f"<flashmd_rs.Model {self.name!r}: {self.kind}{stride}, {'/'.join(self.species)}, "
            f"on {self.device}, threads={self.threads_used}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the main properties as a table."""
        from flashmd_rs.pages.notebook import table

        kelvin = (self.metadata.get("domain") or {}).get("temperature_K") or []
        rows = [
            ("model", self.name),
            ("kind", self.kind),
            ("stride", "moves no atoms" if self.stride_fs is None else f"{self.stride_fs:g} fs"),
            ("species", ", ".join(self.species)),
            ("cutoff", f"{self.cutoff_A:g} Å"),
            ("trained at", " to ".join(f"{t:g}" for t in kelvin) + " K" if kelvin else "not stated"),
            ("reference", str(self.metadata.get("reference") or "not stated")),
            ("runs on", f"{self.device}, threads {self.threads_used}, kernels {self.describe_kernels()}"),
            ("SHA-256", self.sha256),
        ]
        return table(rows)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.sha256, self.device, self.threads, self.kernels)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return self._core.sha256

    @property
    def kernel_version(self) -> int | None:
        """Version of the kernels that run the network; None where ONNX Runtime runs all of it."""
        known = _core.kernel_version()
        return None if known is None or self._core.kernels is None else known[0]

    def describe_kernels(self) -> str:
        """What kernels run of the network, in words."""
        known, found = _core.kernel_version(), self._core.kernels
        if known is None or found is None:
            return "off" if self.kernels == "off" else "none"
        version, instructions = known
        stages, operators, left = found
        return f"version {version} ({instructions}), {operators} operators in {stages} stages, {left} in ONNX Runtime"

    @property
    def kind(self) -> str:
        """What the model computes: ``"direct"``, ``"energy"``, …."""
        return str(self.metadata["kind"])

    @property
    def stride_fs(self) -> float | None:
        """Simulated time of one stride, fs; None for models that do not move atoms."""
        value = self.metadata.get("stride_fs")
        return None if value is None or self.kind == "energy" else float(value)

    @property
    def cutoff_A(self) -> float:
        """Radius of the neighbour list, Å."""
        return float(self.metadata["cutoff_A"])

    @property
    def species(self) -> list[str]:
        """Chemical symbols the model knows."""
        return list(self.metadata["species"])

    @property
    def device(self) -> str:
        """Where the network runs, ``"cpu"`` or ``"cuda"``."""
        return self._core.device

    def stride(self, atoms: ase.Atoms) -> ase.Atoms:
        """One bare stride: no rotation, no noise, no thermostat, no energy rescaling.

        Total momentum is conserved, and the centre of mass moves uniformly.

        Args:
            atoms: structure with momenta.

        Returns:
            A copy one stride later, unwrapped.

        Raises:
            ModelError: the model does not move atoms, or does not know a species or a mass.
            InputError: no momenta, constraints, an unusable structure, or bonds that the model does not know.
            StabilityError: the result is not finite.
        """
        if self.stride_fs is None:
            raise ModelError(
                f"{self.name} is of kind {self.kind!r}, which does not move atoms: wanted a model that does"
            )
        arrays = geometry(atoms)
        check_unconstrained(atoms)
        start = momenta(atoms)
        if start is None:
            raise InputError("the structure has no momenta: set them, for example with ase.md.velocitydistribution")
        self._check_start(arrays)
        end = self._core.stride(arrays.positions, start, arrays.masses, arrays.numbers, arrays.cell, arrays.pbc)
        return with_state(atoms, *end)

    def _check_start(self, structure: Geometry) -> None:
        """Check a structure that is to be moved; warn of surfaces where the model was trained on bulk only.

        Raises:
            InputError: two atoms are at one place, the cell is too small for its atoms, or bonds are otherwise than the
                model knows them.
        """
        s = structure
        note = self._core.check_start(s.positions, s.masses, s.numbers, s.cell, s.pbc)
        if note is not None:
            warn(note)

    def energy(self, atoms: ase.Atoms) -> float:
        """Potential energy in eV, of a model of kind ``"energy"``."""
        return self._evaluate(atoms)[0]

    def forces(self, atoms: ase.Atoms) -> F64:
        """Forces [N,3] in eV/Å, of a model of kind ``"energy"``: the exact gradient of :meth:`energy`."""
        return self._evaluate(atoms)[1]

    def calculator(self) -> Calculator:
        """An ASE calculator (energy, forces, stress) around a model of kind ``"energy"``."""
        from flashmd_rs.energies.model_calculator import ModelCalculator

        if self.kind != "energy":
            raise ModelError(f"{self.name} is of kind {self.kind!r}: a calculator needs an 'energy' model")
        return ModelCalculator(self._evaluate)

    def _evaluate(self, atoms: ase.Atoms) -> tuple[float, F64, F64]:
        """Energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV)."""
        if self.kind != "energy":
            raise ModelError(f"{self.name} is of kind {self.kind!r}, which has no energy: wanted an 'energy' model")
        arrays = geometry(atoms)
        return self._core.energy(arrays.positions, arrays.masses, arrays.numbers, arrays.cell, arrays.pbc)


def check_device(device: str) -> None:
    """Raise InputError for an unknown device."""
    _checks.one_of("device", device, _DEVICES)


def check_threads(threads: int | None) -> None:
    """Raise InputError for a number of threads below 1."""
    if threads is not None:
        _checks.whole("threads", threads, "threads")


def _reopen(path: str, sha256: str, device: str, threads: int | None, kernels: str) -> Model:
    """A model that was pickled, opened again.

    Raises:
        ModelError: the file is another one now.
        FileNotFoundError: it is gone.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"the file of a pickled model is gone, {path}: put it back")
    model = Model(path, device, threads, kernels)
    if model.sha256 != sha256:
        raise ModelError(
            f"{path} is not the file of the pickled model any more: its SHA-256 was {sha256}, now it is {model.sha256}"
        )
    return model


def _open(data: bytes, path: Path, device: str, threads: int, kernels: str) -> _core.Model:
    import logging

    info = _runtime_library.open_library()
    obstacle = _runtime_library.cuda_obstacle(info) if device != "cpu" else "not asked for"
    if device == "cuda" and obstacle is not None:
        raise RuntimeLibraryError(f"device='cuda' is not usable: {obstacle}")
    try:
        if obstacle is None:
            _runtime_library.preload_cuda()
            return _open_cuda(data, path, device, threads, kernels)
        logging.getLogger("flashmd_rs").info("%s runs on the CPU: %s", path.name, obstacle)
        return _core.Model(data, name=path.name, device="cpu", threads=threads, kernels=kernels)
    except ModelError as error:
        raise _named(error, path) from None


def _open_cuda(data: bytes, path: Path, device: str, threads: int, kernels: str) -> _core.Model:
    """Open on the GPU; with ``device="auto"`` a GPU that fails is said, and the CPU takes over."""
    try:
        return _core.Model(data, name=path.name, device="cuda", threads=threads)
    except RuntimeLibraryError as error:
        if device == "cuda":
            gpu = _runtime_library.gpu_wheel()
            if gpu is not None and gpu.damaged:
                raise RuntimeLibraryError(f"{error}; parts of onnxruntime-gpu were overwritten: `{gpu.mend}`") from None
            raise
        warn(f"the GPU is not usable, running on the CPU: {error}")
        return _core.Model(data, name=path.name, device="cpu", threads=threads, kernels=kernels)
