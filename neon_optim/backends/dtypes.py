"""The element types that tensors may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neon_optim.errors import BackendError

__all__ = ["FLOAT_TYPES", "compute_type", "float_dtype"]

FLOAT_TYPES = ("float16", "bfloat16", "float32", "float64")


def float_dtype(value: Any) -> np.dtype:
    """The NumPy dtype for a name, a type or a dtype.

    Raises:
        BackendError: none of :data:`FLOAT_TYPES`, or bfloat16 without the package that gives it to NumPy.

    >>> float_dtype("float16")
    dtype('float16')
    """
    if isinstance(value, str) and value == "bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError:
            raise BackendError("bfloat16 needs ml_dtypes: pip install 'neon_optim[half]'") from None
        return np.dtype(bfloat16)
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.name not in FLOAT_TYPES:
        raise BackendError(f"a datatype must be one of {', '.join(FLOAT_TYPES)}, received {value!r}")
    return dtype


def compute_type(dtypes: Iterable[np.dtype]) -> np.dtype:
    """float64 if any array is float64, else float32; 16-bit types are storage only.

    >>> compute_type([np.dtype("float16"), np.dtype("float32")])
    dtype('float32')
    """
    return np.dtype(np.float64) if any(d == np.float64 for d in dtypes) else np.dtype(np.float32)
