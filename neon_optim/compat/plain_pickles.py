"""Pickles of plain data and arrays: read without running anything in them, written for neon and for anybody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neon_optim.serialization.neon.pickle_data import read_pickle_data
from neon_optim.serialization.neon.pickle_write import write_pickle_data

__all__ = ["dump", "dumps", "load", "loads"]


def load(file: Any, **options: Any) -> Any:
    """The value in an open file. ``options`` are those of Python's function; text of Python 2 is latin-1 anyway.

    Raises:
        CheckpointError: damage, or something that is no plain data.
    """
    return read_pickle_data(file.read(), str(getattr(file, "name", "the pickle")))


def loads(data: bytes, **options: Any) -> Any:
    """The value in bytes, as :func:`load` gives it.

    >>> loads(dumps({"rate": np.float32(0.5), "steps": (1, 2)}))
    {'rate': 0.5, 'steps': (1, 2)}
    """
    return read_pickle_data(data, "the pickle")


def dump(value: Any, file: Any, protocol: int | None = None) -> None:
    """Write a value to an open file, in protocol 2.

    Raises:
        CheckpointError: the value holds something that is no plain data; nothing has been written.
    """
    file.write(dumps(value))


def dumps(value: Any, protocol: int | None = None) -> bytes:
    """A value as bytes, in protocol 2.

    NumPy's numbers become Python's, and kinds of dicts, lists and tuples become plain ones.

    Raises:
        CheckpointError: the value holds something that is no plain data.
    """
    return write_pickle_data(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    for kind in (list, tuple):
        if isinstance(value, kind):
            return kind(map(_plain, value))
    return value
