"""neon.backends.util.check_mkl: whether Intel's own engine is there, which no neon of today has."""

from __future__ import annotations

from typing import Any

__all__ = ["get_mkl_lib"]


def get_mkl_lib(device_id: Any = None, verbose: bool = False) -> int:
    """0: there is none."""
    return 0
