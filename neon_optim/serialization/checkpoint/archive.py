"""Named arrays and a JSON value in one verified file: the layout of docs/checkpoint-format.md, version 1.

The file is a safetensors file, so any safetensors reader opens it. What safetensors lacks is added inside its
metadata: SHA-256 digests over the header and over every tensor, and a format version. The bytes are written
here and not by ``safetensors.numpy.save``, because that copies all data twice in memory, and because a digest
of data that stands behind its digest can only be filled in afterwards; the tests hold both libraries against
each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import file_header
from neon_optim.serialization.checkpoint.digests import DIGEST_BYTES, PIECE, TensorDigests
from neon_optim.serialization.checkpoint.file_header import FORMAT_VERSION, Entry, Header
from neon_optim.serialization.checkpoint.file_kind import HEAD_BYTES

State = dict[str, Any]
Arrays = dict[str, np.ndarray]

#: The tensor of a part that lists the digests of the pieces of all others.
PIECE_DIGESTS = "piece_sha256"

# Format version N -> a function that turns (arrays, state) as version N wrote them into what version N + 1
# would write.
MIGRATIONS: dict[int, Callable[[Arrays, State], tuple[Arrays, State]]] = {}


@dataclass(frozen=True)
class Contents:
    """What a file holds: ``arrays`` by name, the JSON value ``state``, the format version it was written in.

    ``dtypes`` gives each array's type in the file's terms (``'F32'``); it tells bfloat16 (``'BF16'``), which
    without the package ml_dtypes is handed out as its bits in uint16, from real uint16 (``'U16'``).
    """

    arrays: Mapping[str, np.ndarray]
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
    entries, buffers = file_header.arrange(arrays)
    write_tensors(path, entries, map(pieces_of, buffers), state)
    return os.fsdecode(path)


def write_tensors(
    path: durable.StrPath,
    entries: list[Entry],
    sources: Iterable[Iterable[memoryview]],
    state: Mapping[str, Any],
    *,
    kind: str = "checkpoint",
    threads: bool = True,
) -> str:
    """Write a file tensor by tensor, of any kind of :data:`~.file_header.FORMATS`.

    A part gets one tensor more, :data:`PIECE_DIGESTS`: the digests of all pieces of all others.

    Args:
        path: the file; its folder must exist.
        entries: the tensors, in the order of the file.
        sources: the bytes of each, in pieces of 1 MiB (the last may be shorter).
        state: as for :func:`write`.
        kind: of file.
        threads: hash in threads; a piece must then stay as it is until the end.

    Returns:
        The digest of the header.

    Raises:
        CheckpointError: as :func:`write`.
    """
    lists = [piece_digests(entries)] if kind == "part" else []
    text = file_header.encode_state(state)
    every = [*entries, *lists]
    header_size = len(file_header.encode_header(every, [file_header.NO_DIGEST] * len(every), text, kind))
    nbytes = sum(entry.nbytes for entry in entries) if threads else 0
    with durable.replacing(path) as file, TensorDigests(len(every), nbytes) as digests:

        def put(index: int, pieces: Iterable[memoryview]) -> None:
            for piece in pieces:
                digests.add(index, piece)  # hashed by other threads while this one writes it
                file.write(piece)

        file.seek(header_size)
        for index, source in enumerate(sources):
            put(index, source)
        file.sync()  # the disk works while the digests are still being computed
        for index in range(len(entries), len(every)):
            listed = b"".join(map(digests.of_pieces, range(len(entries))))
            put(index, pieces_of(np.frombuffer(listed, np.uint8)))
        header = file_header.encode_header(every, digests.result(), text, kind)
        file.seek(0)
        file.write(header)
    return file_header.digest_of(header)


def piece_digests(entries: list[Entry]) -> Entry:
    """The tensor that lists the digests of all pieces of ``entries``."""
    count = sum(-(-entry.nbytes // PIECE) for entry in entries)
    return Entry(PIECE_DIGESTS, "U8", (count, DIGEST_BYTES), count * DIGEST_BYTES)


def read(path: durable.StrPath, kind: str = "checkpoint") -> Contents:
    """Read and verify a whole file.

    Every byte is checked against the digests before anything is returned; an older format version is
    migrated.

    Raises:
        CheckpointError: names the file and what is wrong with it: not there, not a checkpoint, damaged,
            written by a newer version of this package.
    """
    with durable.reading(path) as (fd, size):
        header = read_header(fd, size, path, kind)
        arrays: Arrays = {}
        with TensorDigests(len(header.entries), size) as digests:
            for index, entry in enumerate(header.entries):
                raw = np.empty(entry.nbytes, np.uint8)
                for piece in pieces_of(raw):
                    fill(fd, piece, path)
                    digests.add(index, piece)
                arrays[entry.name] = raw
            _compare(header, digests.result(), path)
    for entry in header.entries:
        arrays[entry.name] = file_header.as_array(arrays[entry.name], entry, _name(path))
    state = file_header.decode_state(header.state, _name(path))
    return migrated(arrays, state, {e.name: e.dtype for e in header.entries}, header.format_version)


def migrated(arrays: Arrays, state: State, dtypes: dict[str, str], version: int) -> Contents:
    """What a file of format ``version`` holds, in the terms of the present one."""
    for old in range(version, FORMAT_VERSION):
        arrays, state = MIGRATIONS[old](arrays, state)
    return Contents(arrays, state, dtypes, version)


def verify(path: durable.StrPath) -> None:
    """Check a file like :func:`read`, without holding its arrays in memory.

    Raises:
        CheckpointError: as :func:`read`.
    """
    with durable.reading(path) as (fd, size):
        header = read_header(fd, size, path)
        file_header.decode_state(header.state, _name(path))
        check_data(fd, header, path)


def check_data(fd: int, header: Header, path: durable.StrPath) -> list[bytes]:
    """Check the data of a file behind its header; for each tensor the digests of its pieces, joined."""
    buffer = np.empty(PIECE, np.uint8)
    with TensorDigests(len(header.entries), nbytes=0) as digests:
        for index, entry in enumerate(header.entries):
            for start in range(0, entry.nbytes, PIECE):
                piece = buffer.data[: min(PIECE, entry.nbytes - start)]
                fill(fd, piece, path)
                digests.add(index, piece)
        _compare(header, digests.result(), path)
        return [digests.of_pieces(index) for index in range(len(header.entries))]


def read_state(path: durable.StrPath) -> State:
    """The JSON value alone, from a verified header; the arrays are neither read nor checked."""
    with durable.reading(path) as (fd, size):
        header = read_header(fd, size, path)
    return file_header.decode_state(header.state, _name(path))


def read_head(path: durable.StrPath, count: int = HEAD_BYTES) -> bytes:
    """The first ``count`` bytes of a file, or all where it has fewer."""
    with durable.reading(path) as (fd, size):
        head = bytearray(min(count, size))
        fill(fd, memoryview(head), path)
    return bytes(head)


def read_header(fd: int, size: int, path: durable.StrPath, kind: str = "checkpoint") -> Header:
    """The header of an open file of ``size`` bytes, verified; the next byte to read is the first of the data."""
    name = _name(path)
    head = bytearray(min(size, HEAD_BYTES))
    fill(fd, memoryview(head), path)
    raw = bytearray(file_header.LENGTH_BYTES + file_header.header_length(bytes(head), size, name, kind))
    os.lseek(fd, 0, os.SEEK_SET)
    fill(fd, memoryview(raw), path)
    header = file_header.decode_header(bytes(raw), size, name, kind)
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


def pieces_of(buffer: np.ndarray) -> Iterator[memoryview]:
    """Bytes (1-d uint8) in the pieces that are hashed and written."""
    view = buffer.data
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]


def fill(fd: int, view: memoryview, path: durable.StrPath) -> None:
    """Read as many bytes as ``view`` takes; ``path`` names the file in errors."""
    while view.nbytes:
        count = os.readv(fd, [view])
        if count == 0:
            raise CheckpointError(f"{_name(path)}: the file became shorter while it was read")
        view = view[count:]


def _name(path: durable.StrPath) -> str:
    return repr(os.fsdecode(path))
