"""The index of a sharded checkpoint: which arrays there are, which part holds which elements, the digest of each part.

The folder of a sharded checkpoint holds

```
index.safetensors                        written last; without it there is no checkpoint
part-00000-of-00002-<save>.safetensors   one for each process; <save> tells the parts of one save from those of others
```

All of them have the layout of a checkpoint file. The names of parts are computed, never read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neon_optim.errors import CheckpointError, shown
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header
from neon_optim.serialization.checkpoint.archive import State
from neon_optim.serialization.checkpoint.file_header import Entry

INDEX_FILE = "index.safetensors"
MAX_PARTS = 9_999
MAX_RANGES = 1 << 19
MAX_TEXT = 32 << 20
MAX_NAME = file_header.MAX_NAME - 48
"""Names are followed by a range in parts: ``fc/W[1024:2048]``."""

_TENSOR = "index"
_PART_FILE = re.compile(r"part-\d{5}-of-\d{5}-([0-9a-f]{16})\.safetensors")
_SAVE = re.compile("[0-9a-f]{16}")
_DIGEST = re.compile("[0-9a-f]{64}")


class Range(NamedTuple):
    """Elements of an array, by its number in the index."""

    array: int
    start: int
    stop: int


class PartRecord(NamedTuple):
    """A part: size of its file, digest of its header, and what its tensors are, in their order."""

    nbytes: int
    sha256: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Index:
    """What an index says, checked: the parts hold every element of every array once.

    Attributes:
        save: 16 hexadecimal digits that the files of one save have in common.
        arrays: name, type and shape of each.
        parts: in their order.
        state: the JSON value of the checkpoint.
        format_version: of all its files.
    """

    save: str
    arrays: tuple[Entry, ...]
    parts: tuple[PartRecord, ...]
    state: State
    format_version: int = file_header.FORMAT_VERSION

    def part_file(self, part: int) -> str:
        """The name of the file of a part."""
        return part_file(self.save, part, len(self.parts))

    def tensors(self, part: int) -> list[Entry]:
        """The tensors that the file of a part must have."""
        return [self._tensor(found) for found in self.parts[part].ranges]

    def _tensor(self, found: Range) -> Entry:
        return range_entry(self.arrays[found.array], found.start, found.stop)


def part_file(save: str, part: int, parts: int) -> str:
    """The name of the file of a part.

    >>> part_file("0123456789abcdef", 0, 2)
    'part-00000-of-00002-0123456789abcdef.safetensors'
    """
    return f"part-{part:05d}-of-{parts:05d}-{save}.safetensors"


def save_of(file: str) -> str | None:
    """The save to which a file belongs, by its name; None: it is no part."""
    match = _PART_FILE.fullmatch(file)
    return None if match is None else match[1]


def is_save(save: Any) -> bool:
    """Whether this can be the name of a save."""
    return isinstance(save, str) and _SAVE.fullmatch(save) is not None


def range_entry(array: Entry, start: int, stop: int) -> Entry:
    """The tensor that holds a range of an array."""
    size = stop - start
    return Entry(
        f"{array.name}[{start}:{stop}]", array.dtype, (size,), size * file_header.itemsize(array.dtype)
    )


def is_sharded(path: durable.StrPath) -> bool:
    """Whether this is the folder of a sharded checkpoint, damaged or not."""
    return os.path.lexists(index_file(path))


def index_file(path: durable.StrPath) -> str:
    """The index in the folder of a sharded checkpoint."""
    return os.path.join(os.fsdecode(path), INDEX_FILE)


def holds_parts(path: durable.StrPath) -> bool:
    """Whether a folder was made for a sharded checkpoint, which it may not have, or not yet."""
    try:
        return is_sharded(path) or any(map(save_of, os.listdir(path)))
    except OSError:
        return False


def write_index(folder: str, index: Index) -> None:
    """Write an index, durably: from then on the checkpoint is valid.

    Raises:
        CheckpointError: what the parts hold does not add up to the arrays, or the file cannot be written.
    """
    check(index, repr(folder))
    text = _encode(index)
    if len(text) > MAX_TEXT:
        raise CheckpointError(f"the index would have {len(text):,} bytes, at most {MAX_TEXT:,} fit")
    raw = np.frombuffer(text.encode("ascii"), np.uint8)
    entry = Entry(_TENSOR, "U8", raw.shape, raw.nbytes)
    path = index_file(folder)
    archive.write_tensors(path, [entry], [archive.pieces_of(raw)], index.state, kind="index")


def read_index(folder: durable.StrPath) -> Index:
    """Read and verify the index in a folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = index_file(folder)
    file = repr(path)
    if not is_sharded(folder):
        raise CheckpointError(
            f"{os.fsdecode(folder)!r} is a folder without {INDEX_FILE!r}: no sharded checkpoint, or one whose save was "
            "interrupted. Give a file, or the folder of a whole one (step-….sharded)."
        )
    with durable.reading(path) as (_, size):
        if size > 2 * MAX_TEXT:
            raise CheckpointError(f"{file}: {size:,} bytes are too many for an index")
    contents = archive.read(path, kind="index")
    raw = contents.arrays.get(_TENSOR)
    if len(contents.arrays) != 1 or raw is None or raw.dtype != np.uint8 or raw.ndim != 1:
        raise CheckpointError(f"{file}: malformed: an index has one tensor, {_TENSOR!r}, and that of bytes")
    index = _decode(raw.tobytes(), contents, file)
    check(index, file)
    return index


def check(index: Index, file: str) -> None:
    """Raise an error unless the parts hold every element of every array exactly once."""
    _check_counts(len(index.parts), len(index.arrays), file)
    names = [array.name for array in index.arrays]
    if names != sorted(set(names)):
        raise CheckpointError(f"{file}: the arrays are not in order, or a name stands twice")
    for name in names:
        if len(name) > MAX_NAME:
            raise CheckpointError(f"{file}: the name {shown(name)} has more than {MAX_NAME} characters")
    ranges = sorted((found, k) for k, part in enumerate(index.parts) for found in part.ranges)
    if len(ranges) > MAX_RANGES:
        raise CheckpointError(f"{file}: {len(ranges):,} ranges, at most {MAX_RANGES:,} are allowed")
    ends = [0] * len(index.arrays)
    for (number, start, stop), part in ranges:
        if number >= len(index.arrays):
            raise CheckpointError(f"{file}: part {part} holds elements of an array that there is not")
        end, array = ends[number], index.arrays[number]
        size = array.nbytes // file_header.itemsize(array.dtype)
        if not start < stop <= size:
            raise CheckpointError(
                f"{file}: part {part} holds elements {start:,} to {stop:,} of array {array.name!r}, which has {size:,}"
            )
        if start != end:
            what = "no part holds" if start > end else "two parts hold"
            raise CheckpointError(
                f"{file}: {what} elements {min(start, end):,} to {max(start, min(end, stop)):,} of array {array.name!r}"
            )
        ends[number] = stop
    for array, end in zip(index.arrays, ends, strict=True):
        size = array.nbytes // file_header.itemsize(array.dtype)
        if end != size:
            raise CheckpointError(
                f"{file}: no part holds elements {end:,} to {size:,} of array {array.name!r}"
            )


def _check_counts(parts: int, arrays: int, file: str) -> None:
    if not 1 <= parts <= MAX_PARTS:
        raise CheckpointError(f"{file}: {parts:,} parts, 1 to {MAX_PARTS:,} are allowed")
    if arrays > file_header.MAX_TENSORS:
        raise CheckpointError(f"{file}: {arrays:,} arrays, at most {file_header.MAX_TENSORS:,} are allowed")


def _encode(index: Index) -> str:
    arrays = [[array.name, array.dtype, array.shape] for array in index.arrays]
    value = {"save": index.save, "arrays": arrays, "parts": index.parts}
    return json.dumps(value, separators=(",", ":"))


def _decode(raw: bytes, contents: archive.Contents, file: str) -> Index:
    if not raw.isascii():
        raise CheckpointError(f"{file}: malformed: it is not ASCII")
    text = raw.decode("ascii")
    if len(text) > MAX_TEXT:
        raise CheckpointError(f"{file}: {len(text):,} bytes are too many for an index")
    fields = file_header.parse_json(text, f"{file}: the index", 1, 4 * MAX_RANGES, 6)
    fields = fields if isinstance(fields, dict) else {}
    save, arrays, parts = fields.get("save"), fields.get("arrays"), fields.get("parts")
    if (
        not isinstance(save, str)
        or not is_save(save)
        or not isinstance(arrays, list)
        or not isinstance(parts, list)
    ):
        raise CheckpointError(f"{file}: the index is malformed: it has no save, arrays or parts")
    _check_counts(len(parts), len(arrays), file)
    index = Index(
        save=save,
        arrays=tuple(
            file_header.entry_of(name, dtype, shape, file) for name, dtype, shape in _rows(arrays, 3, file)
        ),
        parts=tuple(_part(row, file) for row in _rows(parts, 3, file)),
        state=contents.state,
        format_version=contents.format_version,
    )
    if _encode(index) != text:
        raise CheckpointError(f"{file}: the index is malformed: it is not spelled as it is written")
    return index


def _part(fields: Sequence[Any], file: str) -> PartRecord:
    nbytes, digest, ranges = fields
    if not _is_count(nbytes) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise CheckpointError(f"{file}: a part has the size {shown(nbytes)} and the digest {shown(digest)}")
    found = [Range(*row) for row in _rows(ranges, 3, file)]
    for row in found:
        if not all(map(_is_count, row)):
            raise CheckpointError(f"{file}: a part holds the range {shown(list(row))}")
    return PartRecord(nbytes, digest, tuple(found))


def _rows(value: Any, length: int, file: str) -> Iterator[list[Any]]:
    for row in value if isinstance(value, list) else [value]:
        if not isinstance(row, list) or len(row) != length:
            raise CheckpointError(
                f"{file}: the index is malformed: {shown(row)} where {length} values are due"
            )
        yield row


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
