"""Notices arrays that were moved, resized or given another shape, type or permission.

A plan keeps the addresses of its arrays from step to step, and a step of many small tensors is done in less time than
Python needs to ask each array where it is. So the few words that say so are read from the array objects themselves:
NumPy's C structure ``PyArrayObject_fields``, which is part of its binary interface. Whether it is laid out as expected
is checked against what the arrays say; where it is not, each array is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import methodcaller
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.identity import same_objects

__all__ = ["EXTENTS", "FIELDS", "ArrayWatch", "Differ", "ForeignWatch", "PointerWatch", "Watch"]

_HEAD = object.__basicsize__ // 8
FIELDS = (_HEAD, _HEAD + 2, _HEAD + 5, _HEAD + 6)
"""Words of an array object: address of the data, of the extents and strides, of the dtype; flags."""
EXTENTS, _KIND = 1, (2, 3)  # places in FIELDS
_ARE_READABLE = sys.implementation.name == "cpython" and np.ndarray.__basicsize__ >= 8 * (_HEAD + 7)


Differ = Callable[[int, int, int], None]
"""Compiled code that compares array objects with what they were. Its arguments are

- the address of a table: for each array its address, the words expected at ``FIELDS``, the number of its extents and
  strides, and those;
- how many arrays there are;
- the address of a word that becomes 0 where all are as expected.
"""


class _Window:
    """Memory of this process as NumPy sees it; apart from :class:`_Words`, which no array must keep alive."""

    def __init__(self, address: int, n_words: int):
        self.__array_interface__ = {
            "data": (address, True),
            "shape": (n_words,),
            "typestr": "<i8",
            "version": 3,
        }


class _Words:
    """The words of this process's memory at some addresses.

    Attributes:
        then: what they were when this was made.
    """

    def __init__(self, addresses: np.ndarray):
        low = int(addresses.min()) if addresses.size else id(self)
        n_words = (int(addresses.max()) - low) // 8 + 1 if addresses.size else 0
        self._memory = np.asarray(_Window(low, n_words))
        self._places = ((addresses - low) // 8).reshape(-1)
        self.then = self._memory[self._places]

    def unchanged(self) -> bool:
        """Whether they are the same still."""
        return np.array_equal(self._memory[self._places], self.then)


def _beyond(starts: np.ndarray, dimensions: Sequence[int]) -> np.ndarray:
    """The addresses of the extents and strides of arrays of so many dimensions, which stand at some addresses."""
    n = 2 * np.array(dimensions, np.int64)
    return np.repeat(starts - 8 * (np.cumsum(n) - n), n) + 8 * np.arange(n.sum())


class ArrayWatch:
    """Remembers how arrays are now.

    Arguments:
        arrays: what to watch; they stay alive as long as this does.
        differ: compiled code that does the comparing; None: NumPy does.

    >>> a = np.zeros(10)
    >>> watch = ArrayWatch([a])
    >>> watch.unchanged()
    True
    >>> a.resize(20, refcheck=False)
    >>> watch.unchanged()
    False
    """

    def __init__(self, arrays: Sequence[np.ndarray], differ: Differ | None = None):
        self._arrays = list(arrays)
        self._words: tuple[_Words, _Words] | None = None
        self._compare = None
        if not (_ARE_READABLE and _can_be_read()):
            self._layouts = [_layout(a) for a in arrays]
        elif self._arrays:
            self._look_directly(differ)

    def _look_directly(self, differ: Differ | None) -> None:
        objects = np.array([id(a) for a in self._arrays])
        fields = _Words(objects[:, None] + 8 * np.array(FIELDS))
        self._dimensions = [a.ndim for a in self._arrays]
        extents_at = fields.then[EXTENTS :: len(FIELDS)]  # the strides follow the extents
        extents = _Words(_beyond(extents_at, self._dimensions))
        self._words = fields, extents
        if differ is not None:
            n_extents = 2 * np.array(self._dimensions)
            heads = np.column_stack([objects, fields.then.reshape(-1, len(FIELDS)), n_extents])
            ends = np.cumsum(n_extents)
            self._table = np.insert(
                extents.then, np.repeat(ends - n_extents, heads.shape[1]), heads.reshape(-1)
            )
            self._difference = np.zeros(1, np.int64)
            self._compare = partial(
                differ, self._table.ctypes.data, len(objects), self._difference.ctypes.data
            )
            self._found = self._difference.data

    def unchanged(self) -> bool:
        """Whether every array is where it was and as it was."""
        if self._compare is not None:
            self._compare()
            return self._found[0] == 0
        if self._words is None:
            return not self._arrays or [_layout(a) for a in self._arrays] == self._layouts
        fields, extents = self._words
        # Where the fields have changed, the extents may be elsewhere and must not be read.
        return fields.unchanged() and extents.unchanged()

    def elsewhere(self, before: Any) -> np.ndarray | None:
        """Where the arrays are, if in all but that they are like those of another watch; None if not."""
        if self._words is None or not isinstance(before, ArrayWatch) or before._words is None:
            return None
        (fields, extents), (fields_before, extents_before) = self._words, before._words
        same = (
            self._dimensions == before._dimensions
            and np.array_equal(extents.then, extents_before.then)
            and all(
                np.array_equal(fields.then[k :: len(FIELDS)], fields_before.then[k :: len(FIELDS)])
                for k in _KIND
            )
        )
        return fields.then[:: len(FIELDS)] if same else None


@cache
def _can_be_read() -> bool:
    """Whether array objects are laid out in memory as expected."""
    arrays: list[np.ndarray] = [
        np.zeros((2, 3)),
        np.zeros(4, np.float32)[::2],
        np.zeros((), np.int8),
        np.zeros((0, 5)),
    ]
    fields = _Words(np.array([id(a) for a in arrays])[:, None] + 8 * np.array(FIELDS)).then.reshape(
        -1, len(FIELDS)
    )
    extents = _Words(_beyond(fields[:, EXTENTS], [a.ndim for a in arrays])).then.tolist()
    found = fields[:, 0].tolist() == [_layout(a)[0] for a in arrays]
    return found and extents == [word for a in arrays for word in a.shape + a.strides]


def _layout(array: np.ndarray) -> tuple[Any, ...]:
    return (
        array.__array_interface__["data"][0],
        array.shape,
        array.strides,
        array.dtype,
        array.flags.writeable,
    )


class PointerWatch:
    """Remembers where the arrays of another library are that tell it by ``data_ptr``, as PyTorch's do."""

    def __init__(self, tensors: Sequence[Any]):
        self._tensors = tensors
        self._then = self._now()

    def _now(self) -> list[Any]:
        tensors = self._tensors
        return [[t.data_ptr() for t in tensors], [t.shape for t in tensors], [t.stride() for t in tensors]]

    def unchanged(self) -> bool:
        """Whether every tensor is where it was and as it was."""
        return self._now() == self._then

    def elsewhere(self, before: Any) -> np.ndarray | None:
        """See :meth:`ArrayWatch.elsewhere`."""
        if not isinstance(before, PointerWatch) or self._then[1:] != before._then[1:]:
            return None
        if [t.dtype for t in self._tensors] != [t.dtype for t in before._tensors]:
            return None
        return np.array(self._then[0], np.int64)


class ForeignWatch:
    """Remembers where the arrays of other libraries are, by making arrays of them anew.

    Arguments:
        values: the objects.
        array_of: turns one into an array on its memory.
    """

    def __init__(self, values: Sequence[Any], array_of: Callable[[Any], np.ndarray]):
        self._values = [(value, array_of) for value in values]
        self._then = self._now()

    def _now(self) -> list[Any]:
        return [_layout(array_of(value)) for value, array_of in self._values]

    def unchanged(self) -> bool:
        """Whether every object is where it was and as it was."""
        return self._now() == self._then

    def elsewhere(self, before: Any) -> np.ndarray | None:
        """See :meth:`ArrayWatch.elsewhere`."""
        if not isinstance(before, ForeignWatch) or [t[1:] for t in self._then] != [
            t[1:] for t in before._then
        ]:
            return None
        return np.array([then[0] for then in self._then], np.int64)


class HeldWatch:
    """Remembers the arrays that tensors of neon's hold, each in ``_tensor``, and how these are.

    Arguments are those of :class:`ArrayWatch`, but the tensors for their arrays.
    """

    def __init__(self, tensors: Sequence[Any], differ: Differ | None = None):
        self._tensors = tensors
        self._arrays = self._now()
        self._watch = ArrayWatch(self._arrays, differ)

    def _now(self) -> list[np.ndarray]:
        return [tensor._tensor for tensor in self._tensors]

    def unchanged(self) -> bool:
        """Whether every tensor holds the same array, where it was and as it was."""
        return same_objects(self._now(), self._arrays) and self._watch.unchanged()

    def elsewhere(self, before: Any) -> np.ndarray | None:
        """See :meth:`ArrayWatch.elsewhere`."""
        return self._watch.elsewhere(before._watch) if isinstance(before, HeldWatch) else None


_unchanged = methodcaller("unchanged")


def _kind(value: Any) -> str:
    """Who is asked where a value's array is."""
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, Tensor):
        return "ours"
    if isinstance(getattr(value, "_tensor", None), np.ndarray):
        return "held"
    return "pointer" if hasattr(value, "data_ptr") and hasattr(value, "stride") else "other"


class Watch:
    """Remembers how some arrays are now, whoever made them; tensors of ours stay where they are."""

    def __init__(
        self, values: Sequence[Any], array_of: Callable[[Any], np.ndarray], differ: Differ | None = None
    ):
        kinds: dict[str, list[Any]] = {}
        for value in values:
            kinds.setdefault(_kind(value), []).append(value)
        self._count = len(values)
        self._is_of_one_kind = len(kinds) == 1 and "ours" not in kinds
        self._watches: list[Any] = []
        if "array" in kinds:
            self._watches.append(ArrayWatch(kinds["array"], differ))
        if "held" in kinds:
            self._watches.append(HeldWatch(kinds["held"], differ))
        if "pointer" in kinds:
            self._watches.append(PointerWatch(kinds["pointer"]))
        if "other" in kinds:
            self._watches.append(ForeignWatch(kinds["other"], array_of))

    def unchanged(self) -> bool:
        """Whether all are where they were and as they were."""
        return all(map(_unchanged, self._watches))

    def elsewhere(self, before: Watch) -> np.ndarray | None:
        """The addresses of the arrays, if they are of one kind and in all else like those of another watch."""
        if (
            not self._count
            or not self._is_of_one_kind
            or not before._is_of_one_kind
            or self._count != before._count
        ):
            return None
        return self._watches[0].elsewhere(before._watches[0])
