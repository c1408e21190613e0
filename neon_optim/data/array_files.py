"""Arrays in files, read whole or a part of the samples at a time: NumPy's, IDX and HDF5 files."""

from __future__ import annotations

import gzip
import math
import os
import struct
import threading
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.data.spool import Spool, read_exactly
from neon_optim.errors import DataError

__all__ = ["ArrayInFile", "Hdf5File", "open_idx", "open_numpy"]

_PIECE = 1 << 22
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class ArrayInFile(ABC):
    """An array of samples that lies somewhere.

    Attributes:
        where: its place, for messages.
        shape, dtype: of all of it.
        rows_at_once: samples that the file holds in one piece, which is read as a whole.
        checksum: the CRC-32 of what stands before it, and of all that; None where the file has none.
    """

    checksum: tuple[int, int] | None = None
    rows_at_once: int = 1

    def __init__(self, where: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.where, self.shape, self.dtype = where, tuple(shape), np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Size of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    @abstractmethod
    def read(self, first: int, last: int) -> np.ndarray:
        """Some samples, one after the other.

        Raises:
            DataError: the file cannot be read any more, or has changed.
        """


class FileRegion(ArrayInFile):
    """An array that lies in a file as it lies in memory.

    Arguments:
        file: the file; its path is in messages, and it may be deleted.
        offset: where the array begins.
    """

    def __init__(self, file: OpenFile, offset: int, where: str, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__(where, shape, dtype)
        self._file, self._offset = file, offset
        self._row = math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, first: int, last: int) -> np.ndarray:
        """See :meth:`ArrayInFile.read`."""
        out = np.empty((last - first, *self.shape[1:]), self.dtype)
        self._file.check()
        read_exactly(self._file.number, out, self._offset + first * self._row, self.where)
        return out


class OpenFile:
    """A file that must stay what it is while it is open, as long as this object lives.

    Attributes:
        number: its number for the system.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)
        self._stamp = self._stamped()

    def check(self) -> None:
        """Refuse a file that has changed.

        Raises:
            DataError: it has.
        """
        if self._stamped() != self._stamp:
            raise DataError(
                f"{self.path} has changed while it was trained on. Start anew, or bring back what it held and resume"
            )

    def _stamped(self) -> tuple[int, int]:
        found = os.fstat(self.number)
        return found.st_size, found.st_mtime_ns


class SpooledArray(ArrayInFile):
    """An array that is unpacked to where it can be read in parts, when it is first read."""

    def __init__(self, pieces: Any, limit: int, where: str, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__(where, shape, dtype)
        self._pieces, self._limit = pieces, limit
        self._spool: Spool | None = None

    def read(self, first: int, last: int) -> np.ndarray:
        """See :meth:`ArrayInFile.read`."""
        if self._spool is None:
            self._spool = self._unpacked()
        return self._spool.read(first, last)

    def _unpacked(self) -> Spool:
        spool = Spool(self.shape[1:], self.dtype, self._limit, self.where)
        size = max(1, spool.row_bytes)
        left = b""
        for piece in self._pieces():
            left += piece
            rows = min(len(left) // size, self.shape[0] - spool.count)
            spool.append(
                np.frombuffer(left, self.dtype, rows * size // self.dtype.itemsize).reshape(
                    -1, *self.shape[1:]
                )
            )
            left = left[rows * size :]
        if spool.count != self.shape[0]:
            raise DataError(
                f"{self.where} is cut off: {spool.count:,} of {self.shape[0]:,} samples are there"
            )
        return spool


class _Held(ArrayInFile):
    """An array in memory."""

    def __init__(self, array: np.ndarray, where: str) -> None:
        super().__init__(where, array.shape, array.dtype)
        self._array = array

    def read(self, first: int, last: int) -> np.ndarray:
        """See :meth:`ArrayInFile.read`."""
        return self._array[first:last]


def open_numpy(path: Path, limit: int) -> dict[str, ArrayInFile]:
    """The arrays of an ``.npz`` file by their names; the one of an ``.npy`` file has the name ''. No file runs code.

    Arguments:
        limit: bytes of a compressed array that may be unpacked to memory.

    Raises:
        DataError: the file cannot be read, is none of these, or holds Python objects.
    """
    path = path.expanduser()
    with _reading(path):
        file = OpenFile(path)
        with open(path, "rb") as stream:
            magic = stream.read(6)
            stream.seek(0)
            if magic == np.lib.format.MAGIC_PREFIX:
                shape, fortran, dtype = _header(stream, str(path))
                return {"": _region(file, stream.tell(), str(path), shape, fortran, dtype)}
            with zipfile.ZipFile(stream) as archive:
                names = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                return {info.filename[:-4]: _member(file, archive, info, limit) for info in names}


def _member(file: OpenFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> ArrayInFile:
    """An array in an archive."""
    where = f"{file.path}: {info.filename[:-4]}"
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(stream, where)
        begin = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if info.compress_type == zipfile.ZIP_STORED and not fortran:
        local = bytearray(30)
        read_exactly(file.number, np.frombuffer(local, np.uint8), info.header_offset, where)
        name, extra = struct.unpack("<2H", local[26:30])
        with archive.open(info) as stream:
            before = zlib.crc32(stream.read(begin))
        found = _region(file, info.header_offset + 30 + name + extra + begin, where, shape, fortran, dtype)
        found.checksum = before, info.CRC
        return found
    if fortran:
        with archive.open(info) as stream:
            return _Held(np.lib.format.read_array(stream, allow_pickle=False), where)
    if info.file_size - begin < size:
        raise DataError(f"{where} is cut off")
    return SpooledArray(lambda: _unzipped(file.path, info.filename, begin), limit, where, shape, dtype)


def _unzipped(path: Path, name: str, begin: int) -> Iterator[bytes]:
    with _reading(path), zipfile.ZipFile(path) as archive, archive.open(name) as stream:
        stream.read(begin)
        while piece := stream.read(_PIECE):
            yield piece


def _header(stream: Any, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise DataError(
            f"{where}: a file of NumPy's format {version} is not read; save it with plain names of fields"
        )
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(
            f"{where} cannot be read: it holds Python objects, which could run code; save arrays of numbers or of words"
        )
    return shape, fortran and len(shape) > 1, dtype


def _region(
    file: OpenFile, offset: int, where: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype
) -> ArrayInFile:
    size, there = math.prod(shape) * dtype.itemsize, os.fstat(file.number).st_size - offset
    if there < size:
        raise DataError(f"{where} is cut off: {there:,} of {size:,} bytes are there")
    if not fortran:
        return FileRegion(file, offset, where, shape, dtype)
    flat = np.empty(math.prod(shape), dtype)
    read_exactly(file.number, flat, offset, where)
    return _Held(np.ascontiguousarray(flat.reshape(shape, order="F")), where)


def open_idx(path: Path, limit: int) -> ArrayInFile:
    """The array of an IDX file, gzipped or not.

    Arguments:
        limit: bytes of a gzipped array that may be unpacked to memory.

    Raises:
        DataError: the file cannot be read or is no such file.
    """
    path = path.expanduser()
    with _reading(path):
        file = OpenFile(path)
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as stream:
            head: Any = stream.read(4)
            # Two zero bytes, the type, the number of axes, then the axes as big-endian integers.
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or not head[3]:
                raise DataError(f"{path} is no IDX file: it starts with {head.hex(' ') or 'nothing'}")
            axes: Any = stream.read(4 * head[3])
        if len(axes) < 4 * head[3]:
            raise DataError(f"{path} is cut off within its head")
        shape, begin = struct.unpack(f">{head[3]}I", axes), 4 + 4 * head[3]
        dtype = np.dtype(_IDX_TYPES[head[2]])
        if path.suffix == ".gz":
            return SpooledArray(lambda: _ungzipped(path, begin), limit, str(path), shape, dtype)
        return _region(file, begin, str(path), shape, False, dtype)


def _ungzipped(path: Path, begin: int) -> Iterator[bytes]:
    with _reading(path), gzip.open(path) as stream:
        stream.read(begin)
        while piece := stream.read(_PIECE):
            yield piece


class Hdf5File:
    """An HDF5 file, open for reading.

    Raises:
        DataError: it cannot be read or is no such file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise DataError(
                "HDF5 files are read by h5py, which is not installed: pip install 'neon_optim[data]'"
            ) from error
        self.path = path.expanduser()
        with _reading(self.path):
            self._stamp = OpenFile(self.path)
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                locked = "lock" in str(error).lower()
                why = "another program has it open for writing" if locked else str(error).splitlines()[0]
                raise DataError(f"{self.path} cannot be read: {why}") from error
        self._datasets = h5py.Dataset
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the datasets at the top of the file."""
        return [name for name, item in self._file.items() if isinstance(item, self._datasets)]

    def array(self, name: str) -> ArrayInFile:
        """A dataset of the file."""
        return _Hdf5Array(self, self._file[name], f"{self.path}: {name}", self._lock)

    def attribute(self, name: str, attribute: str) -> Any:
        """An attribute of a dataset; None where there is none."""
        return self._file[name].attrs.get(attribute)

    def check(self) -> None:
        """Refuse a file that has changed."""
        self._stamp.check()


class _Hdf5Array(ArrayInFile):
    def __init__(self, file: Hdf5File, dataset: Any, where: str, lock: threading.Lock) -> None:
        text = dataset.dtype.hasobject
        super().__init__(where, dataset.shape, "O" if text else dataset.dtype)
        self._file, self._lock = file, lock
        self._dataset = dataset.asstr() if text else dataset
        self.rows_at_once = dataset.chunks[0] if dataset.chunks else 1

    def read(self, first: int, last: int) -> np.ndarray:
        """See :meth:`ArrayInFile.read`."""
        with self._lock, _reading(self._file.path):
            self._file.check()
            found: np.ndarray = self._dataset[first:last]
            return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Within the block errors of reading a file are ours."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file of arrays") from None
    except (
        OSError,
        ValueError,
        EOFError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read: {reason}") from error
