"""Chooses the CUDA driver of a test run: a real device where there is one, else the emulator."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import build

MODES = ("auto", "real", "emulated", "off")
PROBE = """
import ctypes
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
assert not hasattr(driver, "cudasim_counters")
assert driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value
device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
assert driver.cuDeviceGet(ctypes.byref(device), 0) == 0 and driver.cuDeviceGetName(name, 256, device) == 0
print(name.value.decode())
"""


@dataclass(frozen=True)
class Driver:
    """What CUDA calls of this process run on. ``kind`` is 'real', 'emulated' or 'none'."""

    kind: str
    description: str


class UnavailableError(Exception):
    """The driver that was asked for is not there; the message says why."""


def start(mode: str) -> Driver:
    """Makes the chosen driver ready. Call it before PyCUDA is imported.

    Raises:
        UnavailableError: ``mode`` forces a driver that this machine cannot give.
    """
    if mode == "off":
        return Driver("none", "switched off by --gpu=off")
    if importlib.util.find_spec("pycuda") is None:
        return _missing(mode, "PyCUDA is not installed")
    name = _device_of_the_system() if mode != "emulated" else ""
    if name:
        return Driver("real", f"the system's CUDA device, {name}")
    if mode == "real":
        raise UnavailableError("--gpu=real: no CUDA device (cuInit or cuDeviceGetCount failed)")
    if shutil.which("nvcc") is None and not Path("/usr/local/cuda/bin/nvcc").exists():
        return _missing(mode, "no nvcc, which the emulated driver needs too")
    try:
        _preload_emulator()
    except (build.BuildError, OSError) as error:
        return _missing(mode, f"the emulated driver cannot be built: {error}")
    settings = ", ".join(f"{name}={os.environ[name]}" for name in sorted(os.environ) if name in DEFAULTS)
    return Driver("emulated", f"EMULATED by tests/cudasim ({settings}); no timing of it means anything")


DEFAULTS = {"CUDASIM_SM": "80", "CUDASIM_CHECK": "1", "CUDASIM_POISON": "1", "CUDASIM_SHUFFLE": "1"}


def _missing(mode: str, reason: str) -> Driver:
    if mode in ("real", "emulated"):
        raise UnavailableError(f"--gpu={mode}: {reason}")
    return Driver("none", reason)


def _device_of_the_system() -> str:
    """The first device's name, or ''; asked in a process of its own, so that this one may still load the emulator."""
    return subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True).stdout.strip()


def _preload_emulator() -> None:
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cudasim"
    cache = Path(os.environ.setdefault("CUDASIM_CACHE", str(base)))
    library = build.cached_library(cache)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("CUDA_ROOT", str(build.toolkit()))
    wrapper = str(build.HOME / "bin")
    if wrapper not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([wrapper, os.environ["PATH"]])
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)  # PyCUDA's libcuda.so.1 is now this one


class Counters(ctypes.Structure):
    """What the emulated driver was asked to do since it was loaded (driver/driver.hpp)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "launches",
            "synchronizations",
            "host_to_device_bytes",
            "device_to_host_bytes",
            "allocations",
        )
    ]

    def __sub__(self, earlier: Counters) -> dict[str, int]:
        return {name: getattr(self, name) - getattr(earlier, name) for name, _ in self._fields_}


@contextmanager
def delayed(operations: int) -> Iterator[None]:
    """The emulated driver leaves so many operations undone until somebody waits, as a real device may."""
    library = ctypes.CDLL("libcuda.so.1")
    delay = ctypes.c_int.in_dll(library, "cudasim_delay")
    before, delay.value = delay.value, operations
    try:
        yield
    finally:
        delay.value = before
        library.cuCtxSynchronize()


def counters() -> Counters:
    """A snapshot of the emulated driver's counts."""
    live = Counters.in_dll(ctypes.CDLL("libcuda.so.1"), "cudasim_counters")
    return Counters.from_buffer_copy(live)
