"""``neon-optim doctor``: what this machine can compute on, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

from neon_optim.errors import BackendError
from neon_optim.version import __version__

__all__ = ["Finding", "doctor", "findings"]


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: what it is.
        fine: whether it is there and works.
        detail: version, place or what is wrong.
        remedy: the command that mends it; '' where nothing has to be mended.
    """

    name: str
    fine: bool
    detail: str
    remedy: str = ""


@click.command()
def doctor() -> None:
    """Check what this machine can compute on; name what is missing and the command that mends it.

    The exit code is 0: everything beyond Python and NumPy is optional.
    """
    found = list(findings())
    width = max(len(finding.name) for finding in found)
    for finding in found:
        click.echo(f"{'ok     ' if finding.fine else 'missing'}  {finding.name:{width}}  {finding.detail}")
        if finding.remedy:
            click.echo(f"{'':{width + 11}}to mend: {finding.remedy}")


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    yield Finding("neon_optim", True, f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("Python", True, f"{platform.python_version()} ({sys.executable})")
    yield _blas()
    yield _threads()
    yield _package("Numba", "numba", "fast", "compiles the update into one pass")
    yield _package("ml_dtypes", "ml_dtypes", "half", "bfloat16")
    yield _package("scikit-learn", "sklearn", "data", "the digits data of the default config", "scikit-learn")
    yield _package("matplotlib", "matplotlib", "plot", "training.png")
    yield from _gpu()
    for name, folder in _cache_folders().items():
        yield _writable(name, folder)


def _package(name: str, module: str, extra: str, use: str, distribution: str = "") -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(name, False, f"not installed ({use})", f'pip install "neon_optim[{extra}]"')
    return Finding(name, True, metadata.version(distribution or module))


def _blas() -> Finding:
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = (config or {}).get("Build Dependencies", {}).get("blas", {})
    library = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    return Finding("NumPy", True, f"{np.__version__}, BLAS {library}")


def _threads() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [
        f"{name}={os.environ[name]}"
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
        if name in os.environ
    ]
    return Finding("processors", True, ", ".join([f"{usable} of {os.cpu_count()} for this process", *limits]))


def _gpu() -> Iterator[Finding]:
    pycuda = _package("PyCUDA", "pycuda", "gpu", "the GPU backend; docs/gpu.md says what it needs")
    yield pycuda
    if pycuda.fine:
        yield from _devices()
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        mend = "install the CUDA toolkit, or PATH=/usr/local/cuda/bin:$PATH"
        yield Finding("nvcc", False, "not on PATH (compiles kernels for the GPU)", mend)
        return
    answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True)
    release = [line for line in answer.stdout.splitlines() if "release" in line]
    if answer.returncode or not release:
        yield Finding(
            "nvcc", False, f"{nvcc} does not run: {answer.stderr.strip()}", "install the CUDA toolkit again"
        )
    else:
        yield Finding("nvcc", True, f"{release[0].strip()} ({nvcc})")


def _devices() -> Iterator[Finding]:
    from neon_optim.backends.gpu.device import open_driver

    try:
        cuda = open_driver()
    except BackendError as error:
        yield Finding("CUDA driver", False, str(error), "install the NVIDIA driver, then run nvidia-smi")
        return
    major, minor = divmod(cuda.get_driver_version(), 1000)
    yield Finding("CUDA driver", True, f"for CUDA {major}.{minor // 10}")
    for number in range(cuda.Device.count()):
        device = cuda.Device(number)
        capability = ".".join(map(str, device.compute_capability()))
        memory = f"{device.total_memory() / 2**30:.0f} GiB"
        yield Finding(f"device {number}", True, f"{device.name()}, compute capability {capability}, {memory}")


def _cache_folders() -> dict[str, Path]:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = {"kernels": Path(os.environ.get("NEON_OPTIM_CACHE") or base / "neon_optim")}
    if importlib.util.find_spec("pycuda"):
        folders["CUDA kernels"] = Path(os.environ.get("PYCUDA_CACHE_DIR") or base / "pycuda")
    return folders


def _writable(name: str, folder: Path) -> Finding:
    """Whether compiled kernels can be kept there; a folder that is not there yet can be made in its parent."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding(f"cache of {name}", True, str(folder))
    detail = f"{folder} cannot be written: kernels are compiled anew in each process"
    return Finding(f"cache of {name}", False, detail, f"chmod u+rwx {existing}")
