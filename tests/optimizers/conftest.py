"""Fixtures of the optimizer tests."""

import pytest

from neon_optim import cleanup_backend
from neon_optim.backends.cpu.backend import ENGINES


@pytest.fixture(params=[engine for engine in ENGINES if engine != "auto"])
def engine(request):
    """Every CPU engine."""
    return request.param


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()
