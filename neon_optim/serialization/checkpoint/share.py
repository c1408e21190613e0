"""What a process holds of an array that several processes share, and how whole arrays are cut for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neon_optim.errors import CheckpointError, shown

__all__ = ["Share", "cut", "share_out"]

_ALIGNMENT = 64


class Share:
    """The elements from ``start`` on of an array of ``shape``, in C order: those that one process holds.

    Args:
        values: the elements, a NumPy array or a tensor of any shape; without elements where the process holds nothing.
        shape: of the whole array.
        start: the number of the first element.

    Raises:
        CheckpointError: the elements go beyond the end of the array.

    Example:
        >>> share = Share(np.arange(4, dtype=np.float32), shape=(5, 2), start=6)
        >>> share.shape, share.start, share.stop, share.dtype
        ((5, 2), 6, 10, dtype('float32'))
    """

    def __init__(self, values: Any, shape: tuple[int, ...], start: int) -> None:
        self.values = values
        self.shape = tuple(int(n) for n in shape)
        self.start = int(start)
        self.stop = self.start + math.prod(int(n) for n in values.shape)
        if not 0 <= self.start <= self.stop <= math.prod(self.shape):
            raise CheckpointError(
                f"an array of shape {self.shape} has {math.prod(self.shape):,} elements: no process can hold those "
                f"from {self.start:,} to {self.stop:,}"
            )

    @property
    def dtype(self) -> Any:
        """Of the elements."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """Elements of the whole array."""
        return math.prod(self.shape)

    @property
    def is_partial(self) -> bool:
        """Whether there are elements that this process does not hold."""
        return self.stop - self.start < self.size

    def __repr__(self) -> str:
        return f"Share(elements {self.start} to {self.stop} of {self.shape}, {self.dtype})"


def share_out(arrays: Mapping[str, Any], part: int, parts: int) -> dict[str, Share]:
    """What process ``part`` of ``parts`` writes of some arrays.

    Args:
        arrays: name → NumPy array that every process holds whole, with the same name, shape and dtype on each; or
            :class:`Share`, which is written as it is.
        part: from 0 on.

    Returns:
        For every name a share, which may be without elements. The shares of whole arrays are about as many bytes for
        each process.

    Example:
        >>> arrays = {"fc/W": np.zeros((128, 2), np.float32), "fc/b": np.zeros((64, 1), np.float32)}
        >>> share_out(arrays, 0, 2), share_out(arrays, 1, 2)  # doctest: +NORMALIZE_WHITESPACE
        ({'fc/W': Share(elements 0 to 128 of (128, 2), float32), 'fc/b': Share(elements 0 to 0 of (64, 1), float32)},
         {'fc/W': Share(elements 128 to 256 of (128, 2), float32), 'fc/b': Share(elements 0 to 64 of (64, 1), float32)})
    """
    whole = {name: array for name, array in arrays.items() if not isinstance(array, Share)}
    for name, array in whole.items():
        if not isinstance(array, np.ndarray):
            raise CheckpointError(f"array {name!r} must be a NumPy array or a Share, received {shown(array)}")
    ranges = cut({name: (array.size, array.itemsize) for name, array in whole.items()}, part, parts)
    shares = {}
    for name, array in arrays.items():
        if isinstance(array, Share):
            shares[name] = array
        else:
            start, stop = ranges[name]
            shares[name] = Share(array.reshape(-1)[start:stop], array.shape, start)
    return shares


def cut(sizes: Mapping[str, tuple[int, int]], part: int, parts: int) -> dict[str, tuple[int, int]]:
    """The ranges of elements that part ``part`` of ``parts`` gets of arrays, as many bytes for each part.

    Args:
        sizes: name → (elements, bytes of an element).

    Example:
        >>> [cut({"a": (100, 4), "b": (300, 4)}, part, 2) for part in (0, 1)]
        [{'a': (0, 100), 'b': (0, 64)}, {'a': (100, 100), 'b': (64, 300)}]
    """
    if not 0 <= part < parts:
        raise CheckpointError(f"part {part} of {parts}: parts are counted from 0")
    total = sum(size * width for size, width in sizes.values())
    low, high = total * part // parts, total * (part + 1) // parts
    ranges, position = {}, 0
    for name in sorted(sizes):
        size, width = sizes[name]
        ranges[name] = (_element(low - position, size, width), _element(high - position, size, width))
        position += size * width
    return ranges


def _element(offset: int, size: int, width: int) -> int:
    """The element at a byte of an array, or before it: cuts stand at multiples of 64 elements."""
    if offset >= size * width:
        return size
    return max(offset // width // _ALIGNMENT * _ALIGNMENT, 0)
