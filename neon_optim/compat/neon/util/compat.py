"""neon.util.compat: what neon took from Python 2 and 3, and pickles of plain data."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from neon_optim.compat.plain_pickles import dump, dumps, load, loads

__all__ = ["PY3", "pickle", "pickle_load", "xrange"]

PY3 = True
xrange = range
pickle = SimpleNamespace(load=load, loads=loads, dump=dump, dumps=dumps, HIGHEST_PROTOCOL=2)
"""Stands for Python's module, for plain data and arrays alone: nothing in a file is run."""


def pickle_load(filepath: Any) -> Any:
    """The plain data in an open file, or in the file of a name."""
    if isinstance(filepath, (str, os.PathLike)):
        with open(filepath, "rb") as file:
            return load(file)
    return load(filepath)
