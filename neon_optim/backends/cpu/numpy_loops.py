"""Runs loops of graphs with NumPy: operation by operation on blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.functions import largest_along, smallest_along, store
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import TOTALS
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS
from neon_optim.backends.sums import sum_axis

__all__ = ["NumpyLoop"]

_BLOCK = 65_536
"""Elements that are worked on at a time: few enough to stay in the cache from one operation to the next."""


class NumpyLoop:
    """One loop of a graph over the arrays of a flow.

    Arguments:
        functions: the elementwise operations.
    """

    def __init__(self, loop: Loop, memory: FlowMemory, functions: Mapping[str, Callable[..., Any]]):
        self._functions = functions
        self._values = memory.graph.values
        self._loop = loop
        self._arrays = memory.arrays
        self._numbers = memory.numbers
        axes = [k for k in range(len(loop.shape)) if k != loop.axis]
        self._split = max(axes, key=lambda k: (loop.shape[k] > 1, -k), default=None)
        size = int(np.prod(loop.shape, dtype=np.int64))
        extent = 1 if self._split is None else loop.shape[self._split]
        self._extent = extent if all(loop.shape[k] for k in axes) else 0
        self._block = max(1, _BLOCK // max(1, size // max(1, extent)))
        self._writes = set(loop.writes)
        self._last = {a: v for v in loop.values for a in self._values[v].args}

    def bind(self) -> None:
        """Other arrays have taken the place of some: each run looks them up."""

    def __call__(self) -> None:
        """Run the loop."""
        free: dict[Any, list[np.ndarray]] = {}
        with np.errstate(all="ignore"):
            numbers = self._number_values()
            for start in range(0, self._extent, self._block):
                self._run_block(start, numbers, free)

    def _number_values(self) -> dict[int, Any]:
        """The numbers in float64, those made of others included."""
        found: dict[int, Any] = {}

        def number(a: int) -> Any:
            if a not in found:
                value = self._values[a]
                if value.op == "number" or value.op in TOTALS:
                    found[a] = self._numbers[a]
                elif value.op == "broadcast":
                    found[a] = number(value.args[0])
                else:
                    out = np.empty(1)
                    SHARED_FUNCTIONS[value.op](*[np.array([number(b)]) for b in value.args], out)
                    found[a] = out[0]
            return found[a]

        for v in self._loop.values:
            for a in self._values[v].args:
                if self._values[a].is_number:
                    number(a)
        return found

    def _run_block(self, start: int, numbers: Mapping[int, Any], free: dict[Any, list[np.ndarray]]) -> None:
        loop, values = self._loop, self._values
        held: dict[int, np.ndarray] = {}
        made: set[int] = set()
        for v in loop.values:
            value = values[v]
            args = [
                value.dtype.type(numbers[a]) if a in numbers else self._operand(a, start, held, value.dtype)
                for a in value.args
            ]
            if value.op == "reduce":
                out = _reduced(value.attrs["kind"], args[0], value.attrs["axis"])
            elif value.op in ("copy", "contiguous"):
                out = args[0] if np.ndim(args[0]) else np.full(self._block_shape(value.shape, start), args[0])
                if value.args[0] not in held and len(loop.writes) > 1:
                    out = out.copy()
            else:
                shape = np.broadcast_shapes(*(np.shape(a) for a in args))
                shape = shape or self._block_shape(value.shape, start)
                waiting = free.get((shape, value.dtype))
                out = waiting.pop() if waiting else np.empty(shape, value.dtype)
                self._functions[value.op](*args, out)
                made.add(v)
            held[v] = out
            for a in set(value.args) & made - self._writes:
                if self._last[a] == v and not self._is_held_elsewhere(a, held):
                    buffer = held.pop(a)
                    free.setdefault((buffer.shape, buffer.dtype), []).append(buffer)
                    made.discard(a)
        for v in loop.writes:  # last, since what is written may lie where something was read
            store(self._block_of(self._arrays[v], start), held[v])

    def _is_held_elsewhere(self, a: int, held: Mapping[int, np.ndarray]) -> bool:
        return any(array is held[a] for v, array in held.items() if v != a)

    def _operand(self, a: int, start: int, held: Mapping[int, np.ndarray], dtype: np.dtype) -> np.ndarray:
        array = held[a] if a in held else self._block_of(self._arrays[a], start)
        if a not in held:
            array = array.astype(self._values[a].dtype, copy=False)
        return array.astype(dtype, copy=False)

    def _block_of(self, array: np.ndarray, start: int) -> np.ndarray:
        """The part of an array that belongs to a block."""
        if self._split is None:
            return array
        axis = self._split - (len(self._loop.shape) - array.ndim)
        if axis < 0 or array.shape[axis] == 1:
            return array
        return array[(slice(None),) * axis + (slice(start, start + self._block),)]

    def _block_shape(self, shape: tuple[int, ...], start: int) -> tuple[int, ...]:
        if self._split is None or not shape:
            return shape
        axis = self._split - (len(self._loop.shape) - len(shape))
        if axis < 0 or shape[axis] == 1:
            return shape
        extent = min(self._block, shape[axis] - start)
        return (*shape[:axis], extent, *shape[axis + 1 :])


def _reduced(kind: str, values: np.ndarray, axis: int) -> np.ndarray:
    if kind in ("sum", "mean"):
        total = sum_axis(values, axis)
        return (total / values.shape[axis] if kind == "mean" else total).astype(values.dtype)
    return (largest_along if kind == "amax" else smallest_along)(values, axis)
