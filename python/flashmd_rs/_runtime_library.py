"""Find the ONNX Runtime library and open it, once per process.

The library is looked for in this order, and the first hit counts:

1. the ``path`` given to :func:`open_library`;
2. the environment variables ``FLASHMD_ORT_DYLIB`` and ``ORT_DYLIB_PATH``;
3. the installed ``onnxruntime`` package, which the wheels ``onnxruntime`` and ``onnxruntime-gpu`` share. It is
   located, not imported;
4. the libraries of this Python's prefix, where conda keeps it;
5. what the system's loader finds by the library's name, such as a package of the distribution.

Where there are several in one place, one that lists CUDA is preferred, then the newest.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _core
from flashmd_rs.errors import RuntimeLibraryError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

ENVIRONMENT_VARIABLES = ("FLASHMD_ORT_DYLIB", "ORT_DYLIB_PATH")
CPU_INSTALL = "pip install 'onnxruntime>=1.24'"
GPU_INSTALL = (
    "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.24'",
    "pip install --force-reinstall --no-deps onnxruntime-gpu",
)
CONDA_INSTALL = "conda install -c conda-forge onnxruntime-cpp"
CUDA_PROVIDER = "CUDAExecutionProvider"

_WHEELS = ("onnxruntime-gpu", "onnxruntime")
_PATTERNS = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")
# Not Windows' name: its system folder holds a version of its own that is too old.
_LOADER_NAMES = ("libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib")
# NVIDIA libraries in the order in which they need one another.
_CUDA_LIBRARIES = ("cudart", "nvJitLink", "nvrtc", "cublasLt", "cublas", "curand", "cufft", "cudnn")


@dataclass(frozen=True)
class Library:
    """An ONNX Runtime library file and the reason it was chosen."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Wheel:
    """An installed distribution of ONNX Runtime.

    Attributes:
        name: ``"onnxruntime"`` or ``"onnxruntime-gpu"``; both own the same folder.
        version: of the distribution.
        libraries: ONNX Runtime libraries it brought that are there unchanged; none in builds for conda or for a system.
        damaged: names of those that are gone, or that another wheel wrote over.
    """

    name: str
    version: str
    libraries: tuple[Path, ...]
    damaged: tuple[str, ...]

    @property
    def mend(self) -> str:
        """The command that puts its libraries back."""
        return f"pip install --force-reinstall --no-deps {self.name}"


def disable_telemetry() -> None:
    """Tell ONNX Runtime to send nothing home; must come before its library is opened."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def wheels() -> list[Wheel]:
    """The ONNX Runtime distributions that are installed, GPU first."""
    from importlib.metadata import PackageNotFoundError, distribution

    found = []
    for name in _WHEELS:
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        found.append(_wheel(name, installed))
    return found


def _wheel(name: str, distribution: Distribution) -> Wheel:
    """Compare its shared libraries with the sizes on record: where they differ, another wheel wrote over them."""
    import csv

    sound, damaged = [], []
    # Not ``distribution.files``: newer ones leave out the files that are missing, which are those looked for here.
    for file, _, size in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        folder, _, library = file.rpartition("/")
        if not folder.endswith("capi") or not re.match(r"(lib)?onnxruntime(_providers_\w+)?\.", library):
            continue
        path = Path(str(distribution.locate_file(file)))
        if not path.exists() or (size and path.stat().st_size != int(size)):
            damaged.append(library)
        else:
            sound.append(path.absolute())
    return Wheel(name, distribution.version, tuple(sound), tuple(damaged))


def installed_libraries() -> list[Path]:
    """Every ONNX Runtime library of the installed ``onnxruntime`` package, newest first."""
    from importlib.util import find_spec

    spec = find_spec("onnxruntime")
    folders = [Path(folder) / "capi" for folder in (spec.submodule_search_locations or [])] if spec else []
    return [path for folder in folders for path in _libraries_in(folder)]


def _libraries_in(folder: Path) -> list[Path]:
    """The ONNX Runtime libraries in a folder, newest first; names that are links to one of them stand for it once."""
    found = {path for pattern in _PATTERNS for path in folder.glob(pattern) if "provid" not in path.name}
    distinct: dict[Path, Path] = {}
    for path in sorted(found, key=_version_in_name, reverse=True):
        distinct.setdefault(path.resolve(), path)
    return list(distinct.values())


def _prefix_folders() -> list[Path]:
    """Where conda keeps libraries: this environment, and that of the Python it was made from."""
    inner = "Library/bin" if sys.platform == "win32" else "lib"
    return [Path(prefix) / inner for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))]


def _loader_libraries() -> list[Path]:
    """The library that the system's loader finds by its name, in its own folders and in ``LD_LIBRARY_PATH``."""
    if sys.platform == "win32":
        return []
    disable_telemetry()
    for name in _LOADER_NAMES:
        try:
            return [_path_of(ctypes.CDLL(name))]
        except (OSError, AttributeError):
            continue
    return []


class _SymbolInfo(ctypes.Structure):
    """``Dl_info`` of ``dlfcn.h``."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _path_of(library: ctypes.CDLL) -> Path:
    """The file of an open ONNX Runtime library."""
    info = _SymbolInfo()
    ctypes.CDLL(None).dladdr(ctypes.cast(library.OrtGetApiBase, ctypes.c_void_p), ctypes.byref(info))
    return Path(os.fsdecode(info.file)).absolute()


def _version_in_name(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def providers_of(path: Path) -> list[str]:
    """Execution providers that the library at ``path`` was built with (empty if it cannot be opened)."""
    disable_telemetry()
    try:
        return _query_providers(ctypes.CDLL(str(path)))
    except (OSError, AttributeError):
        return []


def _query_providers(library: ctypes.CDLL) -> list[str]:
    """Call ``OrtApi::GetAvailableProviders`` (entry 125 of the table, which only ever grows at its end)."""
    library.OrtGetApiBase.restype = ctypes.POINTER(ctypes.c_void_p)
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(library.OrtGetApiBase()[0])
    address = get_api(17)
    if not address:
        return []
    table = ctypes.cast(address, ctypes.POINTER(ctypes.c_void_p))
    names = ctypes.POINTER(ctypes.c_char_p)()
    count = ctypes.c_int()
    signature = (ctypes.c_void_p, ctypes.POINTER(type(names)), ctypes.POINTER(ctypes.c_int))
    if ctypes.CFUNCTYPE(*signature)(table[125])(ctypes.byref(names), ctypes.byref(count)):
        return []
    return [(names[k] or b"").decode() for k in range(count.value)]


def find_library(path: str | os.PathLike[str] | None = None) -> Library:
    """Choose the library as the module's documentation says.

    Raises:
        RuntimeLibraryError: nothing was found, or what was named does not exist.
    """
    if path is not None:
        return _named_library(path, "given as argument")
    for variable in ENVIRONMENT_VARIABLES:
        if os.environ.get(variable):
            return _named_library(os.environ[variable], f"named by {variable}")
    places = []
    for place, paths in _places():
        if paths:
            return _best_of(paths, place)
        places.append(place)
    raise RuntimeLibraryError(_missing_message(places))


def _places() -> Iterator[tuple[str, list[Path]]]:
    """Where an installed library may be, in words, and what is there; looked at only when it is asked for."""
    yield "installed in the onnxruntime package", installed_libraries()
    for folder in _prefix_folders():
        yield f"in {folder}", _libraries_in(folder)
    yield "found by the system's loader", _loader_libraries()


def _named_library(path: str | os.PathLike[str], reason: str) -> Library:
    absolute = Path(path).expanduser().absolute()
    if not absolute.is_file():
        raise RuntimeLibraryError(f"no ONNX Runtime library at {str(path)!r} ({reason}); wanted a shared library file")
    return Library(absolute, reason)


def _best_of(paths: list[Path], place: str) -> Library:
    why = f"the only one {place}"
    if len(paths) > 1:
        with_cuda = [path for path in paths if CUDA_PROVIDER in providers_of(path)]
        why = f"of {len(paths)} {place}, {'the newest that lists CUDA' if with_cuda else 'the newest'}"
        paths = with_cuda or paths
    chosen = paths[0].absolute()
    owners = [f"{wheel.name} {wheel.version}" for wheel in wheels() if chosen in wheel.libraries]
    return Library(chosen, f"{why}, from {owners[0]}" if owners else why)


def _missing_message(places: list[str]) -> str:
    installed = wheels()
    for wheel in installed:
        if wheel.damaged:
            return (
                f"the installed {wheel.name} {wheel.version} has lost its library "
                f"({', '.join(wheel.damaged)}): mend it with `{wheel.mend}`"
            )
    looked = f"there is no library {', nor '.join(places)}"
    if installed:
        return (
            f"the installed {installed[0].name} {installed[0].version} is a build without a library of its own, and "
            f"{looked}: install the one it was built for (conda: `{CONDA_INSTALL}`), name its file in "
            f"{ENVIRONMENT_VARIABLES[0]}, or run `{installed[0].mend}`"
        )
    return (
        f"ONNX Runtime is not installed ({looked}): install it with `{CPU_INSTALL}` (CPU), or for a GPU with "
        f"`{GPU_INSTALL[0]}` and then `{GPU_INSTALL[1]}`"
    )


def open_library(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Open ONNX Runtime unless it is open already.

    Args:
        path: the library to open; None looks it up. A process can hold one library only.

    Returns:
        ``{"path": str, "version": str, "providers": list[str]}`` of the open library.

    Raises:
        RuntimeLibraryError: no library, one that is too old, or another one is open already.
    """
    info = _core.runtime_info()
    if info is not None and path is None:
        return info
    disable_telemetry()
    _core.load_runtime(str(find_library(path).path))
    info = _core.runtime_info()
    assert info is not None
    return info


def cuda_obstacle(info: dict[str, Any]) -> str | None:
    """Why CUDA cannot be used with the open library ``info``, in one sentence with its mend; None if it can."""
    if CUDA_PROVIDER not in info["providers"]:
        return f"the ONNX Runtime library {info['path']} has no CUDA provider; {_gpu_mend()}"
    return _driver_obstacle()


def gpu_wheel() -> Wheel | None:
    """The installed ``onnxruntime-gpu``, if there is one."""
    return next((wheel for wheel in wheels() if wheel.name == "onnxruntime-gpu"), None)


def _gpu_mend() -> str:
    gpu = gpu_wheel()
    if gpu is not None:
        return f"onnxruntime-gpu {gpu.version} is installed but was overwritten: run `{gpu.mend}`"
    return f"for a GPU run `{GPU_INSTALL[0]}` and then `{GPU_INSTALL[1]}`"


def _driver_obstacle() -> str | None:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver was found ({name}): install one, or use device='cpu'"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver reports no usable GPU: see `nvidia-smi`, or use device='cpu'"
    return None


def preload_cuda() -> list[Path]:
    """Load the CUDA and cuDNN libraries of the installed ``nvidia-*`` wheels, so that ONNX Runtime finds them.

    Returns:
        The libraries that were loaded (none where CUDA is installed system-wide).
    """
    loaded = []
    for name in _CUDA_LIBRARIES:
        for path in _nvidia_libraries(name):
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            loaded.append(path)
    return loaded


def _nvidia_libraries(name: str) -> list[Path]:
    from importlib.util import find_spec

    try:
        spec = find_spec("nvidia")
    except (ImportError, ValueError):
        return []
    roots = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    patterns = (f"**/lib/lib{name}.so.*", f"**/bin/**/{name}64_*.dll")
    return sorted(path for root in roots for pattern in patterns for path in root.glob(pattern))
