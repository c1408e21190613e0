"""What the GPU tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cudasim import session

HERE = Path(__file__).parent


@pytest.fixture
def cuda_context(gpu_driver: session.Driver) -> Iterator[object]:
    """The device's primary context, current for one test."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    yield context
    context.pop()


@pytest.fixture
def emulator(gpu_driver: session.Driver) -> session.Driver:
    """Skips the test where a real device is used."""
    if gpu_driver.kind != "emulated":
        pytest.skip("about the emulated driver")
    return gpu_driver


@pytest.fixture
def prompt(emulator: session.Driver) -> Iterator[None]:
    """A fault shows where it happens, and only there, as no work of the emulator is delayed."""
    with session.delayed(0):
        yield


@pytest.fixture
def run_emulated(emulator: session.Driver) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a Python script in a process of its own on the emulator with other settings."""

    def run(script: str, **settings: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {name: str(value) for name, value in settings.items()}
        paths = [str(HERE.parent), str(HERE.parent.parent)]
        environment["PYTHONPATH"] = os.pathsep.join([*paths, environment.get("PYTHONPATH", "")])
        start = "from cudasim import session; session.start('emulated')\n"
        return subprocess.run(
            [sys.executable, "-c", start + script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
