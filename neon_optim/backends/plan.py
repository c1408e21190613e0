"""Checks a list of parameters and keeps the table that engines run over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from neon_optim.backends.contract import Parameter, Plan
from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.backends.identity import FixedRows, same_lists, same_objects
from neon_optim.backends.watch import Differ, Watch
from neon_optim.errors import StateError

__all__ = ["MemoryPlan"]

_GRAD = 1  # the place of the gradient in a row


class MemoryPlan(Plan):
    """Parameters whose memory a backend reaches by address; a backend says what its memory and its tables are.

    Arguments are those of :meth:`Backend.plan`, and

    Arguments:
        array_of: turns a value into a NumPy array on its memory, or one that describes it.
        table_of: makes what engines run over, of rows of such arrays, sets and scopes.
        differ: as for :class:`ArrayWatch`.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None,
        scopes: Sequence[int] | None,
        describe: Callable[[int], str] | None,
        *,
        array_of: Callable[[Any], np.ndarray],
        table_of: Callable[..., Any],
        differ: Differ | None = None,
    ):
        self._describe = describe or "parameter {}".format
        self._slots = list(slots)
        self._array_of = array_of
        self._differ = differ
        rows = [self._row(index, parameter) for index, parameter in enumerate(parameters)]
        self._spans = self._check_overlap(rows)
        self.table = table_of(rows, sets, scopes)
        self._remember(parameters, rows)

    def _remember(self, parameters: Sequence[Parameter], rows: list[list[np.ndarray]]) -> None:
        self._gradient_bytes = np.array([row[_GRAD].nbytes for row in rows], np.int64)
        self._params = [param for (param, _), _ in parameters]
        self._states = [tuple(states) for _, states in parameters]
        self._written = self._watch_of(self._params + list(chain.from_iterable(self._states)))
        gradients = [grad for (_, grad), _ in parameters]
        self._remember_gradients(parameters, gradients, self._watch_of(gradients))

    def _remember_gradients(self, parameters: Sequence[Parameter], gradients: list[Any], read: Watch) -> None:
        self._given, self._gradients, self._read = parameters, gradients, read

    def _watch_of(self, values: Sequence[Any]) -> Watch:
        return Watch(values, self._array_of, self._differ)

    def fits(self, parameters: Sequence[Parameter]) -> bool:
        """Whether these are the same arrays, where they were, as they were."""
        if parameters is not self._given or type(parameters) is not FixedRows:
            if not same_objects([grad for (_, grad), _ in parameters], self._gradients):
                return False
            if not self._writes_to(parameters):
                return False
            self._given = parameters
        return self._written.unchanged() and self._read.unchanged()

    def _writes_to(self, parameters: Sequence[Parameter]) -> bool:
        """Whether parameters and states are those of this plan."""
        params = [param for (param, _), _ in parameters]
        return same_objects(params, self._params) and same_lists(
            [states for _, states in parameters], self._states
        )

    def renew(self, parameters: Sequence[Parameter]) -> bool:
        """Take other gradients in the place of those that were: True where nothing else has changed.

        A gradient may be another array at each step; it must be of the same shape and dtype, laid out alike, and share
        no memory with anything that is written.
        """
        if not self._writes_to(parameters) or not self._written.unchanged():
            return False
        gradients = [grad for (_, grad), _ in parameters]
        read = self._watch_of(gradients)
        addresses = read.elsewhere(self._read)
        if addresses is None or self._are_written(addresses):
            return False
        if not self.table.readdress(_GRAD, addresses, lambda: [self._array_of(grad) for grad in gradients]):
            return False
        self._remember_gradients(parameters, gradients, read)
        return True

    def _are_written(self, addresses: np.ndarray) -> bool:
        """Whether contiguous gradients at these addresses may share memory with what a step writes to."""
        starts, ends = self._spans
        after = addresses + self._gradient_bytes
        touched = np.searchsorted(starts, after, "left") > np.searchsorted(ends, addresses, "right")
        return bool((touched & (self._gradient_bytes > 0)).any())

    def _row(self, index: int, parameter: Parameter) -> list[np.ndarray]:
        (param, grad), states = parameter
        if len(states) != len(self._slots) - 2:
            self._fail(index, f"its state holds {len(states)} arrays, {self._names()} are needed")
        row = []
        for slot, value in zip(self._slots, (param, grad, *states), strict=True):
            try:
                array = self._array_of(value)
            except StateError as error:
                self._fail(index, f"{slot}: {error}")
            if array.dtype.name not in FLOAT_TYPES:
                self._fail(index, f"{slot} has dtype {array.dtype}; allowed: {', '.join(FLOAT_TYPES)}")
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

    def _check_overlap(self, rows: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """No array that is written may share memory with another one.

        Returns where the arrays that are written begin and end, in order.
        """
        spans = []
        for index, row in enumerate(rows):
            for slot, array in enumerate(row):
                if array.size:
                    low, high = _byte_bounds(array)
                    spans.append((low, high, index, slot))
        spans.sort()
        reach = None  # the span so far that ends last
        for span in spans:
            if reach is not None and span[0] < reach[1]:
                one, other = rows[reach[2]][reach[3]], rows[span[2]][span[3]]
                both_read_only = self._slots[reach[3]] == "grad" == self._slots[span[3]]
                if not both_read_only and np.shares_memory(one, other):
                    self._fail(
                        span[2],
                        f"{self._slots[span[3]]} shares memory with {self._slots[reach[3]]} of "
                        f"{self._describe(reach[2])}: each array may stand in the list once",
                    )
            if reach is None or span[1] > reach[1]:
                reach = span
        written = [span for span in spans if self._slots[span[3]] != "grad"]
        starts, ends = ([span[k] for span in written] for k in (0, 1))
        return np.array(starts, np.int64), np.sort(np.array(ends, np.int64))


_byte_bounds: Any = np.lib.array_utils.byte_bounds if hasattr(np.lib, "array_utils") else np.byte_bounds  # type: ignore[attr-defined]


def _both_vectors(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether both shapes are the same vector, as (n,) or as neon's column (n, 1)."""
    return _column(one) == _column(other)


def _column(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape + (1,) * (2 - len(shape))
