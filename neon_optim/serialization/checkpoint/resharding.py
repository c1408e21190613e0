"""A checkpoint in another number of files: parts into one, one into parts, without holding more than a part of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header, sharded
from neon_optim.serialization.checkpoint.file_header import Entry
from neon_optim.serialization.checkpoint.share import Share, cut
from neon_optim.serialization.checkpoint.stored import StoredArray, open_checkpoint

__all__ = ["to_one_file", "to_parts"]

_BLOCK = 16 << 20


def to_one_file(source: durable.StrPath, target: durable.StrPath) -> str:
    """Write a checkpoint of either kind as one ordinary file; memory: some 16 MiB.

    The bytes are those that :func:`neon_optim.serialization.checkpoint.archive.write` writes of the same arrays.

    Raises:
        CheckpointError: ``source`` cannot be read, or ``target`` not be written.
    """
    with open_checkpoint(source) as stored:
        stored.check_files()
        entries = [array.entry for array in stored.arrays.values()]
        entries.sort(key=lambda entry: (-file_header.itemsize(entry.dtype), entry.name))
        sources = (_pieces(stored.arrays[entry.name]) for entry in entries)
        archive.write_tensors(target, entries, sources, stored.state, threads=False)
    return os.fsdecode(target)


def _pieces(array: StoredArray) -> Iterator[memoryview]:
    """The bytes of an array as they are in files; each piece is done with when the next one is asked for."""
    width = file_header.itemsize(array.entry.dtype)
    for start in range(0, array.size, _BLOCK // width):
        block = array.read(start, min(start + _BLOCK // width, array.size))
        if sys.byteorder == "big":
            block.byteswap(inplace=True)
        yield from archive.pieces_of(block.view(np.uint8))


def to_parts(source: durable.StrPath, target: durable.StrPath, parts: int) -> str:
    """Write a checkpoint of either kind as a sharded one, of parts of about the same size; memory: one part.

    Arguments:
        target: the folder that it becomes.

    Raises:
        CheckpointError: ``source`` cannot be read, or ``target`` not be written.
    """
    with open_checkpoint(source) as stored, sharded.begin(target, parts) as save:
        stored.check_files()
        _check_types([array.entry for array in stored.arrays.values()])
        sizes = {name: (array.size, array.dtype.itemsize) for name, array in stored.arrays.items()}
        receipts = []
        for part in range(parts):
            shares = {
                name: Share(stored.arrays[name].read(start, stop), stored.arrays[name].shape, start)
                for name, (start, stop) in cut(sizes, part, parts).items()
            }
            receipts.append(sharded.write_part(save.ticket, part, shares))
        save.commit(receipts, stored.state)
    return os.fsdecode(target)


def _check_types(entries: list[Entry]) -> None:
    """Without ml_dtypes bfloat16 would become uint16."""
    for entry in entries:
        if entry.dtype == "BF16" and file_header.numpy_type("BF16") == np.uint16:
            raise CheckpointError(
                f"array {entry.name!r} is bfloat16, which needs ml_dtypes: pip install 'neon_optim[half]'"
            )
