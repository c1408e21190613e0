"""Checks a list of parameters and keeps the table that engines run over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import is_
from typing import Any

import numpy as np

from neon_optim.backends.contract import Parameter, Plan, Tensor
from neon_optim.backends.cpu.table import Table
from neon_optim.backends.watch import ArrayWatch, Differ
from neon_optim.errors import StateError

__all__ = ["HostPlan", "host_array"]

_FLOATS = ("float16", "float32", "float64", "bfloat16")


def host_array(value: Any) -> np.ndarray:
    """A NumPy array on the memory of a tensor, an array, or an object that shares its memory with NumPy.

    Raises:
        StateError: the object has no memory that NumPy can share.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Tensor):
        array = getattr(value, "_array", None)
        if not isinstance(array, np.ndarray):
            raise StateError(f"{value!r} does not live in host memory: it belongs to another backend")
        return array
    if not any(hasattr(value, p) for p in ("__array__", "__array_interface__", "__dlpack__", "__buffer__")):
        raise StateError(
            f"expected a tensor or a NumPy array, received {type(value).__name__}: {value!r:.60}"
        )
    try:
        array, again = np.asarray(value), np.asarray(value)
    except Exception as error:
        raise StateError(f"{type(value).__name__} cannot share its memory with NumPy: {error}") from error
    if array.size and not np.shares_memory(array, again):
        raise StateError(
            f"{type(value).__name__} gives NumPy a copy of its memory, so it cannot be updated in place"
        )
    return array


class HostPlan(Plan):
    """The plan of the CPU backend; arguments as for :meth:`Backend.plan`, and ``differ`` as for :class:`ArrayWatch`.

    A backend of another memory says in :attr:`array_of` how values become described arrays, and in :attr:`table_of`
    what is kept of them.
    """

    array_of: Callable[[Any], np.ndarray] = staticmethod(host_array)
    table_of: Callable[..., Any] = Table

    def __init__(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None,
        scopes: Sequence[int] | None,
        describe: Callable[[int], str] | None,
        differ: Differ | None = None,
    ):
        self._describe = describe or "parameter {}".format
        self._slots = list(slots)
        rows = [self._row(index, parameter) for index, parameter in enumerate(parameters)]
        self._check_overlap(rows)
        self.table = self.table_of(rows, sets, scopes)
        self._remember(parameters, list(chain.from_iterable(rows)), differ)

    def _remember(
        self, parameters: Sequence[Parameter], arrays: list[np.ndarray], differ: Differ | None
    ) -> None:
        self._given = parameters if type(parameters) is tuple else None  # which cannot change
        self._states = [states for _, states in parameters]
        self._kept_states = [list(states) for states in self._states]
        self._kept = [(pair, states) for (pair, _), states in zip(parameters, self._kept_states, strict=True)]
        self._values = list(_flat(parameters))
        # A tensor of ours stays where it is and as it is.
        self._watch = ArrayWatch([value for value in self._values if isinstance(value, np.ndarray)], differ)
        self._foreign = [
            (value, array)
            for value, array in zip(self._values, arrays, strict=True)
            if not isinstance(value, (Tensor, np.ndarray))
        ]
        self._nested = all(type(p) is type(p[0]) is tuple for p in parameters) and all(
            map(_has_no_truth, self._values)
        )

    def fits(self, parameters: Sequence[Parameter]) -> bool:
        """Whether these are the same arrays, where they were, as they were."""
        return (
            self._holds(parameters)
            and self._watch.unchanged()
            and all(_in_place(self.array_of(value), array) for value, array in self._foreign)
        )

    def _holds(self, parameters: Sequence[Parameter]) -> bool:
        """Whether the tuples hold the very objects of this plan.

        A list takes an object to be equal to itself without comparing it, so that comparing nested lists is far faster
        than looking at each object; where one is another, its comparison has no truth value and raises.
        """
        if not self._nested:
            values = list(_flat(parameters))
            return len(values) == len(self._values) and all(map(is_, values, self._values))
        try:
            if parameters is self._given:
                return self._states == self._kept_states
            return list(parameters) == self._kept
        except (TypeError, ValueError):
            return False

    def _row(self, index: int, parameter: Parameter) -> list[np.ndarray]:
        (param, grad), states = parameter
        if len(states) != len(self._slots) - 2:
            self._fail(index, f"its state holds {len(states)} arrays, {self._names()} are needed")
        row = []
        for slot, value in zip(self._slots, (param, grad, *states), strict=True):
            try:
                array = self.array_of(value)
            except StateError as error:
                self._fail(index, f"{slot}: {error}")
            if array.dtype.name not in _FLOATS:
                self._fail(index, f"{slot} has dtype {array.dtype}; allowed: {', '.join(_FLOATS)}")
            if slot != "grad" and not array.flags.writeable:
                self._fail(index, f"{slot} is read-only, but a step writes to it")
            row.append(array)
        for slot, array in zip(self._slots[1:], row[1:], strict=True):
            if array.shape != row[0].shape and not _both_vectors(array.shape, row[0].shape):
                self._fail(index, f"{slot} has shape {array.shape}, param has {row[0].shape}")
        return row

    def _names(self) -> str:
        return f"{len(self._slots) - 2} ({', '.join(self._slots[2:])})" if self._slots[2:] else "none"

    def _fail(self, index: int, problem: str) -> Any:
        raise StateError(f"{self._describe(index)}: {problem}")

    def _check_overlap(self, arrays: list[list[np.ndarray]]) -> None:
        """No array that is written may share memory with another one."""
        spans = []
        for index, row in enumerate(arrays):
            for slot, array in enumerate(row):
                if array.size:
                    low, high = _byte_bounds(array)
                    spans.append((low, high, index, slot))
        spans.sort()
        reach = None  # the span so far that ends last
        for span in spans:
            if reach is not None and span[0] < reach[1]:
                one, other = arrays[reach[2]][reach[3]], arrays[span[2]][span[3]]
                both_read_only = self._slots[reach[3]] == "grad" == self._slots[span[3]]
                if not both_read_only and np.shares_memory(one, other):
                    self._fail(
                        span[2],
                        f"{self._slots[span[3]]} shares memory with {self._slots[reach[3]]} of "
                        f"{self._describe(reach[2])}: each array may stand in the list once",
                    )
            if reach is None or span[1] > reach[1]:
                reach = span


def _flat(parameters: Sequence[Parameter]) -> Any:
    return chain.from_iterable(chain.from_iterable(parameters))


def _has_no_truth(value: Any) -> bool:
    """Whether ``bool(value == anything else)`` raises: for expressions, and for arrays of several elements."""
    return isinstance(value, Tensor) or (type(value) is np.ndarray and value.size > 1)


def _in_place(now: np.ndarray, then: np.ndarray) -> bool:
    one, other = now.__array_interface__, then.__array_interface__
    return one["data"] == other["data"] and now.shape == then.shape and now.strides == then.strides


_byte_bounds: Any = np.lib.array_utils.byte_bounds if hasattr(np.lib, "array_utils") else np.byte_bounds  # type: ignore[attr-defined]


def _both_vectors(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether both shapes are the same vector, as (n,) or as neon's column (n, 1)."""
    return _column(one) == _column(other)


def _column(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape + (1,) * (2 - len(shape))
