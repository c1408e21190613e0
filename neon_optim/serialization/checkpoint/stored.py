"""A checkpoint whose arrays are read by ranges: one file, or the parts of a sharded one."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import weakref
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header, shard_index
from neon_optim.serialization.checkpoint.archive import Contents, State
from neon_optim.serialization.checkpoint.file_header import Entry
from neon_optim.serialization.checkpoint.shard_index import Index
from neon_optim.serialization.checkpoint.tensor_ranges import TensorRanges, open_ranges

__all__ = [
    "StoredArray",
    "StoredCheckpoint",
    "open_checkpoint",
    "read_checkpoint",
    "read_state",
    "verify_checkpoint",
]

_MOST_OPEN = 64
_MOST_THREADS = 4
_BLOCK = 16 << 20


class StoredArray:
    """An array of a checkpoint: name, dtype, shape, size, its entry in the file's terms, and its elements on demand."""

    def __init__(self, checkpoint: StoredCheckpoint, entry: Entry) -> None:
        self._checkpoint, self.entry = checkpoint, entry
        self.name, self.shape = entry.name, entry.shape
        self.dtype = file_header.numpy_type(entry.dtype)
        self.size = math.prod(entry.shape)

    def __repr__(self) -> str:
        return f"<StoredArray {self.name!r}, {self.dtype} {self.shape}>"

    def read(self, start: int = 0, stop: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """The elements from ``start`` to ``stop`` in C order, every byte of them verified.

        Args:
            out: a writable 1-d array of these elements, with contiguous memory, that they are read into.

        Raises:
            CheckpointError: they are damaged, or there are no such elements.
        """
        stop = self._checked(start, stop)
        self._checkpoint.prepare(self.entry, start, stop)
        if out is None:
            out = np.empty(stop - start, self.dtype)
        elif out.shape != (stop - start,) or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise CheckpointError(
                f"elements {start:,} to {stop:,} of {self.name!r} ({self.dtype}) cannot be read into an array of shape "
                f"{out.shape} and dtype {out.dtype}: pass one with contiguous memory"
            )
        raw = out.view(np.uint8)
        self._checkpoint.read_bytes(self.entry, start, stop, raw.data)
        if self.entry.dtype == "BOOL":
            file_header.as_array(raw, self.entry._replace(shape=out.shape), repr(self._checkpoint.path))
        if sys.byteorder == "big":
            out.byteswap(inplace=True)
        return out

    def check(self, start: int = 0, stop: int | None = None) -> None:
        """Verify the elements from ``start`` to ``stop`` without keeping them.

        Raises:
            CheckpointError: they are damaged.
        """
        stop = self._checked(start, stop)
        if self.entry.dtype != "BOOL":
            self._checkpoint.read_bytes(self.entry, start, stop, None)
        else:
            for begin in range(start, stop, _BLOCK):
                self.read(begin, min(begin + _BLOCK, stop))

    def _checked(self, start: int, stop: int | None) -> int:
        stop = self.size if stop is None else stop
        if not 0 <= start <= stop <= self.size:
            raise CheckpointError(
                f"{self._checkpoint.path!r}: array {self.name!r} has {self.size:,} elements, not those from {start:,} "
                f"to {stop:,}"
            )
        return stop

    def get(self) -> np.ndarray:
        """The whole array."""
        return self.read().reshape(self.shape)


class StoredCheckpoint:
    """A checkpoint that is open to read; :func:`open_checkpoint` makes one.

    Attributes:
        path: the file, or the folder.
        state: the JSON value.
        arrays: name → :class:`StoredArray`.
        dtypes: name → type in the file's terms.
        format_version: that it was written in.
        nbytes: of all files.
        parts: how many files hold the arrays; 0: it is one ordinary file.
        save: of a sharded one, an id that differs from save to save.
    """

    path: str
    save: str | None = None
    parts = 0

    def __init__(
        self, path: str, entries: Mapping[str, Entry], state: State, version: int, nbytes: int
    ) -> None:
        self.path, self.state, self.format_version, self.nbytes = path, state, version, nbytes
        self.arrays = {name: StoredArray(self, entry) for name, entry in entries.items()}
        self.dtypes = {name: entry.dtype for name, entry in entries.items()}
        self._files = contextlib.ExitStack()

    def check_files(self) -> None:
        """Verify that all files are there and belong together."""

    def contents(self) -> Contents:
        """All of it, in memory."""
        self.check_files()
        arrays = {name: array.get() for name, array in self.arrays.items()}
        return archive.migrated(arrays, self.state, self.dtypes, self.format_version)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def prepare(self, array: Entry, start: int, stop: int) -> None:
        """Verify what says where the elements are: only what is there may be given memory."""

    def read_bytes(self, array: Entry, start: int, stop: int, out: memoryview | None) -> None:
        """Read and verify elements of an array; without ``out`` they are not kept."""
        raise NotImplementedError


class _OneFile(StoredCheckpoint):
    def __init__(self, path: str) -> None:
        with contextlib.ExitStack() as files:
            self._file = files.enter_context(open_ranges(path))
            header = self._file.header
            state = file_header.decode_state(header.state, repr(path))
            nbytes = os.path.getsize(path)
            super().__init__(path, {e.name: e for e in header.entries}, state, header.format_version, nbytes)
            self._number = {entry.name: k for k, entry in enumerate(header.entries)}
            self._files = files.pop_all()

    def read_bytes(self, array: Entry, start: int, stop: int, out: memoryview | None) -> None:
        width = file_header.itemsize(array.dtype)
        if start < stop:
            self._file.read(self._number[array.name], start * width, stop * width, out)


class _Parts(StoredCheckpoint):
    def __init__(self, path: str) -> None:
        index = shard_index.read_index(path)
        nbytes = os.path.getsize(shard_index.index_file(path))
        nbytes += sum(part.nbytes for part in index.parts)
        super().__init__(path, {e.name: e for e in index.arrays}, index.state, index.format_version, nbytes)
        self.save, self.parts, self._index = index.save, len(index.parts), index
        places: dict[str, list[tuple[int, int, int, int]]] = {entry.name: [] for entry in index.arrays}
        for part, found in enumerate(index.parts):
            for tensor, (number, start, stop) in enumerate(found.ranges):
                places[index.arrays[number].name].append((start, stop, part, tensor))
        self._places = {name: sorted(found) for name, found in places.items()}
        self._open: OrderedDict[int, tuple[TensorRanges, contextlib.ExitStack]] = OrderedDict()
        self._seen: set[int] = set()
        self._files.callback(self._close_parts)

    def _close_parts(self) -> None:
        while self._open:
            self._open.popitem()[1][1].close()

    def check_files(self) -> None:
        for number in range(self.parts):
            self.part(number)

    def prepare(self, array: Entry, start: int, stop: int) -> None:
        for _, _, part, _ in self._places_of(array, start, stop):
            if part not in self._seen:
                self.part(part)

    def read_bytes(self, array: Entry, start: int, stop: int, out: memoryview | None) -> None:
        width = file_header.itemsize(array.dtype)
        for low, high, part, tensor in self._places_of(array, start, stop):
            begin, end = max(low, start), min(high, stop)
            target = None if out is None else out[(begin - start) * width : (end - start) * width]
            self.part(part).read(tensor, (begin - low) * width, (end - low) * width, target)

    def _places_of(self, array: Entry, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        places = self._places[array.name]
        first = max(bisect_right(places, start, key=lambda place: place[0]) - 1, 0)
        while first < len(places) and places[first][0] < stop and start < stop:
            yield places[first]
            first += 1

    def part(self, number: int) -> TensorRanges:
        """The file of a part, held against the index; the least recently used are closed."""
        found = self._open.get(number)
        if found is None:
            files = contextlib.ExitStack()
            file = files.enter_context(open_part(self.path, self._index, number))
            found = self._open[number] = (file, files)
            self._seen.add(number)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1][1].close()
        self._open.move_to_end(number)
        return found[0]


class ArraysOnDemand(Mapping[str, np.ndarray]):
    """The arrays of a checkpoint, each read when it is asked for; its files are closed with the last reference."""

    def __init__(self, stored: StoredCheckpoint) -> None:
        self._stored = stored
        weakref.finalize(self, stored.close)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._stored.arrays[name].get()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.arrays)

    def __len__(self) -> int:
        return len(self._stored.arrays)


@contextlib.contextmanager
def open_part(folder: str, index: Index, number: int) -> Iterator[TensorRanges]:
    """Open a part to read ranges of it, and hold its header against the index.

    Raises:
        CheckpointError: it is not there, not the one that the index means, or damaged.
    """
    path = os.path.join(folder, index.part_file(number))
    if not os.path.lexists(path):
        raise CheckpointError(
            f"{folder!r}: part {number} of {len(index.parts)} is missing: {index.part_file(number)!r}. A sharded "
            "checkpoint is copied with all that is in its folder."
        )
    with open_ranges(path, "part") as file:
        due = index.parts[number]
        found = file.nbytes, file.header.sha256, file.header.entries
        if found != (due.nbytes, due.sha256, index.tensors(number)):
            raise CheckpointError(f"{path!r}: damaged: it is not the part that the index was written with")
        yield file


@contextlib.contextmanager
def open_checkpoint(path: durable.StrPath) -> Iterator[StoredCheckpoint]:
    """Open a checkpoint, an ordinary file or the folder of a sharded one, to read its arrays by ranges.

    Every byte that is read is verified. Of a sharded checkpoint only what is asked for is read; an ordinary file is
    read once, without keeping anything, when it is opened. Memory beyond the arrays that are handed out: a few MiB.
    One thread at a time may read.

    Raises:
        CheckpointError: it cannot be read, is no checkpoint, or is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = archive.write(folder + "/a", {"fc/W": np.arange(6.0).reshape(2, 3)}, {"epoch": 3})
        ...     with open_checkpoint(path) as stored:
        ...         array = stored.arrays["fc/W"]
        ...         stored.state, array.shape, array.read(2, 5).tolist()
        ({'epoch': 3}, (2, 3), [2.0, 3.0, 4.0])
    """
    stored = opened(path)
    try:
        yield stored
    finally:
        stored.close()


def opened(path: durable.StrPath) -> StoredCheckpoint:
    """:func:`open_checkpoint` for callers that close it."""
    name = os.fsdecode(path)
    return _Parts(name) if os.path.isdir(name) else _OneFile(name)


def read_checkpoint(path: durable.StrPath) -> Contents:
    """All of a checkpoint of either kind, verified, in memory.

    Raises:
        CheckpointError: as :func:`open_checkpoint`.
    """
    if not os.path.isdir(path):
        return archive.read(path)
    with open_checkpoint(path) as stored:
        return stored.contents()


def read_state(path: durable.StrPath) -> State:
    """The JSON value alone, verified; arrays are neither read nor checked."""
    return shard_index.read_index(path).state if os.path.isdir(path) else archive.read_state(path)


def verify_checkpoint(path: durable.StrPath) -> None:
    """Check every byte of a checkpoint of either kind, without holding its arrays in memory.

    Raises:
        CheckpointError: as :func:`open_checkpoint`.
    """
    name = os.fsdecode(path)
    if not os.path.isdir(name):
        archive.verify(name)
        return
    index = shard_index.read_index(name)

    def verify(number: int) -> None:
        with open_part(name, index, number) as file:
            for tensor, entry in enumerate(file.header.entries):
                file.read(tensor, 0, entry.nbytes, None)

    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        for _ in pool.map(verify, range(len(index.parts))):
            pass
