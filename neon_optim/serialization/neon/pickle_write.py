"""Writes plain data and NumPy arrays as a pickle of protocol 2, for readers that know nothing else (neon)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim.errors import CheckpointError, shown
from neon_optim.serialization.neon.pickle_data import MAX_DEPTH


def write_pickle_data(value: Any) -> bytes:
    """The pickle of None, bool, int, float, str, bytes, list, tuple, dict and NumPy arrays of plain numbers.

    Python 2 and 3 and NumPy 1 and 2 read it; it names the globals of genuine neon files and no others.

    Raises:
        CheckpointError: ``value`` holds something else.

    Example:
        >>> from neon_optim.serialization.neon.pickle_data import read_pickle_data
        >>> raw = write_pickle_data({"W": np.eye(2, dtype="f4"), "epoch_index": 3})
        >>> read_pickle_data(raw, "a.p")["W"].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    out: list[bytes] = [b"\x80\x02"]
    _write(value, out.append, 0)
    return b"".join([*out, b"."])


def _write(value: Any, put: Callable[[bytes], None], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CheckpointError(f"a pickle nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if value is None or kind is bool:
        put({None: b"N", True: b"\x88", False: b"\x89"}[value])
    elif kind is int:
        _write_int(value, put)
    elif kind is float:
        put(b"G" + struct.pack(">d", value))
    elif kind is str:
        raw = value.encode("utf-8", "surrogatepass")
        put(b"X" + struct.pack("<I", len(raw)) + raw)
    elif kind is bytes:
        _write_call(b"_codecs", b"encode", (value.decode("latin-1"), "latin1"), put, depth)
    elif kind is list:
        put(b"](")
        for item in value:
            _write(item, put, depth + 1)
        put(b"e")
    elif kind is tuple:
        put(b"(")
        for item in value:
            _write(item, put, depth + 1)
        put(b"t")
    elif kind is dict:
        put(b"}(")
        for key, item in value.items():
            _write(key, put, depth + 1)
            _write(item, put, depth + 1)
        put(b"u")
    elif kind is np.ndarray and value.dtype.kind in "biuf":
        _write_array(value, put, depth)
    else:
        raise CheckpointError(f"a {kind.__name__} cannot be written: {shown(value)}")


def _write_int(value: int, put: Callable[[bytes], None]) -> None:
    if -(2**31) <= value < 2**31:
        put(b"J" + struct.pack("<i", value))
        return
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(raw) > 255:
        raise CheckpointError("an integer of more than 255 bytes cannot be written")
    put(b"\x8a" + bytes([len(raw)]) + raw)


def _write_call(
    module: bytes, name: bytes, arguments: tuple, put: Callable[[bytes], None], depth: int
) -> None:
    put(b"c" + module + b"\n" + name + b"\n")
    _write(arguments, put, depth + 1)
    put(b"R")


def _write_array(array: np.ndarray, put: Callable[[bytes], None], depth: int) -> None:
    """What ``ndarray.__reduce__`` gives, with the names that every NumPy has."""
    put(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
    _write((0,), put, depth + 1)
    _write(b"b", put, depth + 1)
    put(b"\x87R(")
    _write(1, put, depth + 1)
    _write(array.shape, put, depth + 1)
    code = array.dtype.str
    _write_call(b"numpy", b"dtype", (code[1:], 0, 1), put, depth + 1)
    _write((3, code[0], None, None, None, -1, -1, 0), put, depth + 1)
    put(b"b")
    _write(False, put, depth + 1)
    _write(array.tobytes(), put, depth + 1)
    put(b"tb")
