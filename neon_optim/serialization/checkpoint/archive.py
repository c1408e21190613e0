"""Named arrays and a JSON value in one verified file: the layout of docs/checkpoint-format.md, version 1.

The file is a safetensors file, so any safetensors reader opens it. What safetensors lacks is added inside its
metadata: SHA-256 digests over the header and over every tensor, and a format version. The bytes are written
here and not by ``safetensors.numpy.save``, because that copies all data twice in memory, and because a digest
of data that stands behind its digest can only be filled in afterwards; the tests hold both libraries against
each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import file_header
from neon_optim.serialization.checkpoint.digests import PIECE, TensorDigests
from neon_optim.serialization.checkpoint.file_header import FORMAT_VERSION, Header
from neon_optim.serialization.checkpoint.file_kind import HEAD_BYTES

State = dict[str, Any]
Arrays = dict[str, np.ndarray]

# Format version N -> a function that turns (arrays, state) as version N wrote them into what version N + 1
# would write.
MIGRATIONS: dict[int, Callable[[Arrays, State], tuple[Arrays, State]]] = {}


@dataclass(frozen=True)
class Contents:
    """What a file holds: ``arrays`` by name, the JSON value ``state``, the format version it was written in.

    ``dtypes`` gives each array's type in the file's terms (``'F32'``); it tells bfloat16 (``'BF16'``), which
    without the package ml_dtypes is handed out as its bits in uint16, from real uint16 (``'U16'``).
    """

    arrays: Arrays
    state: State
    dtypes: dict[str, str]
    format_version: int


def write(path: durable.StrPath, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Write ``arrays`` and ``state`` to ``path``, durably; the same input gives the same bytes.

    Args:
        path: the file; its folder must exist.
        arrays: name → NumPy array (bool, intN, uintN, float16/32/64, bfloat16 of ml_dtypes), of any shape and
        order.
        state: a dict of JSON values, finite numbers only; at most 8 MiB of text and 100,000 values.

    Returns:
        The path as a string.

    Raises:
        CheckpointError: where the input does not fit the format or the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(folder + "/a", {"fc/W": np.eye(2, dtype=np.float32)}, {"epoch": 3})
        ...     contents = read(path)
        >>> contents.state, contents.dtypes, contents.arrays["fc/W"].tolist()
        ({'epoch': 3}, {'fc/W': 'F32'}, [[1.0, 0.0], [0.0, 1.0]])
    """
    shown = os.fsdecode(path)
    entries, buffers = file_header.arrange(arrays)
    text = file_header.encode_state(state)
    header_size = len(file_header.encode_header(entries, [file_header.NO_DIGEST] * len(entries), text))
    with (
        durable.replacing(path) as file,
        TensorDigests(len(entries), sum(e.nbytes for e in entries)) as digests,
    ):
        file.seek(header_size)
        for index, buffer in enumerate(buffers):
            for piece in _pieces(buffer):
                digests.add(index, piece)  # hashed by other threads while this one writes it
                file.write(piece)
        file.sync()  # the disk works while the digests are still being computed
        header = file_header.encode_header(entries, digests.result(), text)
        file.seek(0)
        file.write(header)
    return shown


def read(path: durable.StrPath) -> Contents:
    """Read and verify a whole file.

    Every byte is checked against the digests before anything is returned; an older format version is
    migrated.

    Raises:
        CheckpointError: names the file and what is wrong with it: not there, not a checkpoint, damaged,
            written by a newer version of this package.
    """
    with durable.reading(path) as (fd, size):
        header = _read_header(fd, size, path)
        arrays: Arrays = {}
        with TensorDigests(len(header.entries), size) as digests:
            for index, entry in enumerate(header.entries):
                raw = np.empty(entry.nbytes, np.uint8)
                for piece in _pieces(raw):
                    _fill(fd, piece, path)
                    digests.add(index, piece)
                arrays[entry.name] = raw
            _compare(header, digests.result(), path)
    for entry in header.entries:
        if entry.dtype == "BOOL" and arrays[entry.name].max(initial=0) > 1:
            raise CheckpointError(
                f"{_name(path)}: tensor {entry.name!r} is bool but holds bytes other than 0 and 1"
            )
        arrays[entry.name] = file_header.as_array(arrays[entry.name], entry)
    state = file_header.decode_state(header.state, _name(path))
    for version in range(header.format_version, FORMAT_VERSION):
        arrays, state = MIGRATIONS[version](arrays, state)
    return Contents(arrays, state, {e.name: e.dtype for e in header.entries}, header.format_version)


def verify(path: durable.StrPath) -> None:
    """Check a file like :func:`read`, without holding its arrays in memory.

    Raises:
        CheckpointError: as :func:`read`.
    """
    with durable.reading(path) as (fd, size):
        header = _read_header(fd, size, path)
        file_header.decode_state(header.state, _name(path))
        buffer = np.empty(PIECE, np.uint8)
        with TensorDigests(len(header.entries), nbytes=0) as digests:
            for index, entry in enumerate(header.entries):
                for start in range(0, entry.nbytes, PIECE):
                    piece = buffer.data[: min(PIECE, entry.nbytes - start)]
                    _fill(fd, piece, path)
                    digests.add(index, piece)
            _compare(header, digests.result(), path)


def read_state(path: durable.StrPath) -> State:
    """The JSON value alone, from a verified header; the arrays are neither read nor checked."""
    with durable.reading(path) as (fd, size):
        header = _read_header(fd, size, path)
    return file_header.decode_state(header.state, _name(path))


def read_head(path: durable.StrPath, count: int = HEAD_BYTES) -> bytes:
    """The first ``count`` bytes of a file, or all where it has fewer."""
    with durable.reading(path) as (fd, size):
        head = bytearray(min(count, size))
        _fill(fd, memoryview(head), path)
    return bytes(head)


def _read_header(fd: int, size: int, path: durable.StrPath) -> Header:
    name = _name(path)
    head = bytearray(min(size, HEAD_BYTES))
    _fill(fd, memoryview(head), path)
    raw = bytearray(file_header.LENGTH_BYTES + file_header.header_length(bytes(head), size, name))
    os.lseek(fd, 0, os.SEEK_SET)
    _fill(fd, memoryview(raw), path)
    header = file_header.decode_header(bytes(raw), size, name)
    missing = [v for v in range(header.format_version, FORMAT_VERSION) if v not in MIGRATIONS]
    if missing:
        raise CheckpointError(f"{name}: format version {missing[0]} was never released")
    return header


def _compare(header: Header, digests: list[str], path: durable.StrPath) -> None:
    for entry, expected, found in zip(header.entries, header.digests, digests, strict=True):
        if found != expected:
            raise CheckpointError(
                f"{_name(path)}: the data of tensor {entry.name!r} are damaged: digest {found[:16]}…, "
                f"the file was written with {expected[:16]}…. Use an older checkpoint."
            )


def _pieces(buffer: np.ndarray) -> Iterator[memoryview]:
    view = buffer.data
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]


def _fill(fd: int, view: memoryview, path: durable.StrPath) -> None:
    while view.nbytes:
        count = os.readv(fd, [view])
        if count == 0:
            raise CheckpointError(f"{_name(path)}: the file became shorter while it was read")
        view = view[count:]


def _name(path: durable.StrPath) -> str:
    return repr(os.fsdecode(path))
