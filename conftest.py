"""Where Numba is not installed, what needs it is skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator

import pytest

from neon_optim.errors import BackendError

HAS_NUMBA = importlib.util.find_spec("numba") is not None

CPU = "neon_optim/backends/cpu"
collect_ignore_glob = [
    "neon_optim/compat/plugin.py",
    "neon_optim/compat/inside/*_backend.py",
]  # they need neon
collect_ignore_glob += (
    []
    if HAS_NUMBA
    else [
        f"{CPU}/compiled/{name}.py"
        for name in ("cache", "compiler", "machine_code", "support", "words_differ")
    ]
)


def _skip_without_numba() -> Generator[None]:
    try:
        return (yield)
    except BackendError as error:
        if HAS_NUMBA or "engine 'numba' needs Numba" not in str(error):
            raise
        pytest.skip("Numba is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    return (yield from _skip_without_numba())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    return (yield from _skip_without_numba())
