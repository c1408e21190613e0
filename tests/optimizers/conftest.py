"""Fixtures of the optimizer tests."""

from functools import partial

import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.cpu.backend import ENGINES

CPU_ENGINES = [engine for engine in ENGINES if engine != "auto"]


@pytest.fixture(params=CPU_ENGINES)
def engine(request):
    """Every CPU engine."""
    return request.param


@pytest.fixture(params=[*CPU_ENGINES, pytest.param("gpu", marks=pytest.mark.gpu)])
def open_backend(request):
    """gen_backend for every CPU engine and for the GPU backend; takes its other arguments."""
    return (
        partial(gen_backend, "gpu") if request.param == "gpu" else partial(gen_backend, engine=request.param)
    )


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()
