"""What is in a checkpoint, and what differs between two, for people and as JSON values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from neon_optim.serialization.checkpoint import archive, training_state
from neon_optim.serialization.checkpoint.archive import State
from neon_optim.serialization.checkpoint.stored import ArraysOnDemand, opened
from neon_optim.serialization.checkpoint.training_state import TrainingState

_BLOCK = 1 << 20
_ABSENT = "(absent)"


@dataclass(frozen=True)
class ArraySummary:
    """One array; the numbers are of its finite elements, in float64, and None where there are none."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    min: float | None
    mean: float | None
    max: float | None
    norm: float | None
    nonfinite: int


@dataclass(frozen=True, kw_only=True)
class Inspection(TrainingState):
    """A verified checkpoint.

    Attributes:
        path, nbytes, format_version: of the file, or of all files of a sharded checkpoint.
        parts: of a sharded checkpoint; 0: it is one file.
        arrays: one summary each, by name.
    """

    path: str
    nbytes: int
    format_version: int
    parts: int
    arrays: list[ArraySummary]

    def as_dict(self) -> dict[str, Any]:
        """JSON values without the random numbers; what is not finite as in the file."""
        found = {key: value for key, value in asdict(self).items() if key not in ("parameters", "backend")}
        return training_state.encode(found)


@dataclass(frozen=True)
class Difference:
    """What differs between two checkpoints.

    Attributes:
        only_a, only_b: names of arrays that one of them has.
        arrays: for each array that both have and that differs: dtype and shape of both where they differ,
            else the number of elements that differ and the largest absolute difference of finite ones.
        state: path → (value in a, value in b) in the rest.
    """

    only_a: list[str]
    only_b: list[str]
    arrays: dict[str, dict[str, Any]]
    state: dict[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return bool(self.only_a or self.only_b or self.arrays or self.state)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "state": {key: list(pair) for key, pair in self.state.items()}}


def inspect_checkpoint(path: str | os.PathLike[str]) -> Inspection:
    """Verify a checkpoint and describe what is in it: of a file, or of the folder of a sharded one.

    Raises:
        CheckpointError: the file cannot be read or is damaged.

    Example:
        >>> import tempfile
        >>> from neon_optim.optimizers import Adam
        >>> from neon_optim.serialization import save_checkpoint
        >>> layers = [((np.array([[3.0, 4.0]]), np.zeros((1, 2))), [])]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_checkpoint(folder + "/a", optimizer=Adam(), layers=layers, epoch=2)
        ...     found = inspect_checkpoint(path)
        >>> found.epoch, found.arrays[0].name, found.arrays[0].norm
        (2, 'parameter_0/W', 5.0)
    """
    given = _read(path)
    found = training_state.parse(given.state, repr(os.fsdecode(path)))
    return Inspection(
        **vars(found),
        path=os.fsdecode(path),
        nbytes=given.nbytes,
        format_version=given.format_version,
        parts=given.parts,
        arrays=[summarize(name, given.arrays[name]) for name in sorted(given.arrays)],
    )


class _Given(NamedTuple):
    """A checkpoint of either kind; the arrays of a sharded one are read, and verified, one after the other."""

    arrays: Mapping[str, np.ndarray]
    state: State
    format_version: int
    nbytes: int
    parts: int


def _read(path: str | os.PathLike[str]) -> _Given:
    if not os.path.isdir(path):
        contents = archive.read(path)
        return _Given(contents.arrays, contents.state, contents.format_version, os.path.getsize(path), 0)
    arrays = ArraysOnDemand(stored := opened(path))
    stored.check_files()
    return _Given(arrays, stored.state, stored.format_version, stored.nbytes, stored.parts)


def summarize(name: str, array: np.ndarray) -> ArraySummary:
    """The numbers of one array.

    Example:
        >>> summarize("w", np.array([1.0, -3.0, np.nan], np.float32))  # doctest: +NORMALIZE_WHITESPACE
        ArraySummary(name='w', dtype='float32', shape=(3,), min=-3.0, mean=-1.0, max=1.0,
                     norm=3.1622776601683795, nonfinite=1)
    """
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for block in _float_blocks(array):
        finite = block[np.isfinite(block)]
        if finite.size:
            count += finite.size
            total += float(finite.sum())
            squares += float(np.dot(finite, finite))
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    some = count > 0
    return ArraySummary(
        name=name,
        dtype=str(array.dtype),
        shape=array.shape,
        min=low if some else None,
        mean=total / count if some else None,
        max=high if some else None,
        norm=float(np.sqrt(squares)) if some and np.isfinite(squares) else None,
        nonfinite=array.size - count,
    )


def diff_checkpoints(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> Difference:
    """Compare two checkpoints, arrays bit for bit. The result is false where they hold the same.

    Raises:
        CheckpointError: one of the files cannot be read or is damaged.
    """
    first, second = _read(a), _read(b)
    names_a, names_b = first.arrays.keys(), second.arrays.keys()
    arrays = {}
    for name in sorted(names_a & names_b):
        difference = _difference(first.arrays[name], second.arrays[name])
        if difference is not None:
            arrays[name] = difference
    flat_a, flat_b = dict(_flatten(first.state)), dict(_flatten(second.state))
    state = {
        key: (flat_a.get(key, _ABSENT), flat_b.get(key, _ABSENT))
        for key in sorted(flat_a.keys() | flat_b.keys())
        if flat_a.get(key, _ABSENT) != flat_b.get(key, _ABSENT)
    }
    return Difference(sorted(names_a - names_b), sorted(names_b - names_a), arrays, state)


def _difference(a: np.ndarray, b: np.ndarray) -> dict[str, Any] | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return {
            "dtype": [str(a.dtype), str(b.dtype)],
            "shape": [list(a.shape), list(b.shape)],
        }
    count, largest = 0, 0.0
    width = a.dtype.itemsize
    bytes_a, bytes_b = a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)
    for index, (block_a, block_b) in enumerate(zip(_float_blocks(a), _float_blocks(b), strict=True)):
        place = slice(index * _BLOCK * width, (index + 1) * _BLOCK * width)
        same = (bytes_a[place] == bytes_b[place]).reshape(-1, width).all(axis=1)
        count += int(same.size - same.sum())
        both = np.isfinite(block_a) & np.isfinite(block_b) & ~same
        if both.any():
            largest = max(largest, float(np.abs(block_a[both] - block_b[both]).max()))
    return {"elements": count, "of": a.size, "largest": largest} if count else None


def _float_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK].astype(np.float64)


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) pairs of nested dicts; lists count as leaves."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else key)
    else:
        yield path, value
