"""Values as plain Python: what a description, YAML and JSON hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neon_optim.errors import NeonOptimError, shown


def python_numbers(value: Any) -> Any:
    """`value` with NumPy's scalars, also those in a list or tuple, as Python's.

    >>> python_numbers([np.int64(3), "x", np.float64(0.5)])
    [3, 'x', 0.5]
    """
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple) and any(isinstance(item, np.generic) for item in value):
        return type(value)(map(python_numbers, value))
    return value


def plain(value: Any) -> Any:
    """`value` in plain Python: objects as descriptions, NumPy as numbers and lists, tuples as lists."""
    if isinstance(value, np.generic):
        return python_numbers(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if callable(getattr(value, "get_description", None)):
        return plain(value.get_description())
    raise NeonOptimError(f"{shown(value)} cannot be described: it has no get_description()")
