"""Machine code of generated functions: compiled once, kept on disk, loaded by later processes without Numba.

The folder is ``$NEON_OPTIM_CACHE``, else ``$XDG_CACHE_HOME/neon_optim``, else ``~/.cache/neon_optim``. A kernel is one
file there, named by a digest of all that its code depends on, and beside it the source, for people. Files appear by
renaming, so several processes may share the folder; a file whose digest is wrong is made anew. What is in the folder
is run, so one that others may write to is not used. A cache that cannot be read or written costs time, never a result.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import stat
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding as llvm  # type: ignore[import-untyped]

from neon_optim.backends.cpu.compiled.machine_code import MachineCode, host_target
from neon_optim.version import __version__

__all__ = ["kept_kernel", "load_kernel"]

_log = logging.getLogger(__name__)
_loading = threading.RLock()


def load_kernel(function: str, source: str, n_arguments: int) -> Callable[..., None]:
    """The function of that name in a module with that source, ready to be called with so many 64-bit integers.

    It releases the interpreter lock while it runs.
    """
    with _loading:
        kernel = kept_kernel(function, source, n_arguments)
        if kernel is not None:
            return kernel
        from neon_optim.backends.cpu.compiled.compiler import compile_kernel

        code = compile_kernel(function, source)
        path = _path(function, source)
        if path is not None:
            _write(path, code.to_bytes())
            _write(path.with_suffix(".py"), source.encode())
        return _linked(code, n_arguments)


def kept_kernel(function: str, source: str, n_arguments: int) -> Callable[..., None] | None:
    """The same where it has been compiled before, by any process; None: it has not."""
    with _loading:
        path = _path(function, source)
        code = None if path is None else _read(path)
        return None if code is None else _linked(code, n_arguments)


def _linked(code: MachineCode, n_arguments: int) -> Callable[..., None]:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), host_target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.content))
    engine.finalize_object()
    _kept.append(engine)
    # Numba's calling convention: a place for the result, a place for an exception (there is none), the arguments.
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * n_arguments)
    call = prototype(engine.get_function_address(code.symbol))
    places = (ctypes.c_void_p * 2)()  # the same for every call: nothing is ever read there
    _kept.append(places)
    here = ctypes.addressof(places)
    return partial(call, here, here + ctypes.sizeof(ctypes.c_void_p))


_kept: list[Any] = []  # engines, which own the machine code, and memory that it writes to


# --- files ---


def _path(function: str, source: str) -> Path | None:
    folder = _cache_folder()
    if folder is None:
        return None
    key = hashlib.sha256("\0".join([source, *_environment()]).encode()).hexdigest()[:32]
    return folder / f"{function}-{key}.kernel"


def _read(path: Path) -> MachineCode | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    code = MachineCode.from_bytes(data)
    if code is None:
        _log.info("%s is damaged; it is made anew", path)
        return None
    return code if all(map(_is_known, code.needs)) else None


def _is_known(symbol: str) -> bool:
    """Whether this process has a function of that name: linking a name that it has not would end the process."""
    host_target()
    return bool(llvm.address_of_symbol(symbol)) or hasattr(ctypes.CDLL(None), symbol)


def _write(path: Path, data: bytes) -> None:
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        _log.info("%s cannot be kept: %s", path, error)


def _cache_folder() -> Path | None:
    """The folder of all kernels, or None where there is none that can be trusted."""
    try:
        given = os.environ.get("NEON_OPTIM_CACHE")
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(given) if given else Path(base) / "neon_optim"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_mine_alone(folder):
            return folder
        _log.info("%s is no cache for machine code: others may write to it", folder)
    except (OSError, RuntimeError) as error:
        _log.info("no kernel cache: %s", error)
    return None


def _is_mine_alone(folder: Path) -> bool:
    """Whether the folder belongs to this user, and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@cache
def _environment() -> Sequence[str]:
    """What machine code depends on beside its source."""
    here = Path(__file__).parent
    return (
        __version__,
        *(hashlib.sha256((here / name).read_bytes()).hexdigest() for name in _WRITTEN_BY),
        version("numba"),
        llvmlite.__version__,
        platform.machine(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )


_WRITTEN_BY = (
    *("support.py", "formulas.py", "compiler.py", "machine_code.py", "cache.py"),
    *("../../philox.py", "../../formula.py", "../../elementary.py"),
)
