"""Backends for the model stack, cleaned up after each test."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend


@pytest.fixture
def be():
    """float32, NumPy engine, minibatches of 8."""
    yield gen_backend("cpu", rng_seed=1, batch_size=8, engine="numpy")
    cleanup_backend()


@pytest.fixture
def be64():
    """float64, for comparison with finite differences."""
    yield gen_backend("cpu", rng_seed=1, datatype=np.float64, batch_size=8, engine="numpy")
    cleanup_backend()
