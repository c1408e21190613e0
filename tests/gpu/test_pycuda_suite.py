"""PyCUDA's own tests, on the driver of this run.

PYCUDA_SOURCE names the unpacked source distribution (the wheel holds no tests); without it there is nothing to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

NOT_EMULATED = ["test_recursive_launch", "test_jit_link_module"]  # launches from the device
NEEDS_CURAND = ["test_curand_wrappers"]


@pytest.mark.skipif("PYCUDA_SOURCE" not in os.environ, reason="PYCUDA_SOURCE names no source distribution")
def test_pycudas_own_tests(gpu_driver):
    names = ["test_gpuarray.py", "test_driver.py", "test_cumath.py"]
    left_out = NEEDS_CURAND + (NOT_EMULATED if gpu_driver.kind == "emulated" else [])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "pycuda_without_curand",
        "-p",
        "no:cacheprovider",
        *names,
    ]
    command += ["-k", " and ".join(f"not {name}" for name in left_out)]
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": str(here)}
    if gpu_driver.kind == "emulated":
        from cudasim import build

        library = build.cached_library(Path(os.environ["CUDASIM_CACHE"]))
        environment["LD_LIBRARY_PATH"] = str(library.parent)
    folder = Path(os.environ["PYCUDA_SOURCE"]) / "test"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
