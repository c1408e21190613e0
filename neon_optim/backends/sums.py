"""The fixed definition of a sum, in NumPy.

Whatever the engine, thread count or device: float64; chunks of 65,536 elements counted within each tensor; 256 lanes
strided inside a chunk, each lane added in order; lanes joined by halving (128, 64, ..., 1); chunks added in order.

A sum along an axis: float64; element k of the axis is added to lane k mod 32, each lane in order from 0.0 on; lanes
joined by halving (16, 8, 4, 2, 1).
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["AXIS_LANES", "CHUNK", "LANES", "LaneSum", "join_lanes", "sum_axis"]

CHUNK = 65_536
LANES = 256
AXIS_LANES = 32

_WORTH_A_CALL = 4096
"""Elements from which adding them takes longer than calling NumPy."""

_BLOCK = 32_768
"""Elements that are widened at a time where there are many calls to save."""


def join_lanes(lanes: np.ndarray) -> float:
    """Add the upper half of the lanes to the lower half until one is left. Changes its argument."""
    width = LANES
    while width > 1:
        width //= 2
        np.add(lanes[:width], lanes[width : 2 * width], out=lanes[:width])
    return float(lanes[0])


class LaneSum:
    """A running sum of one tensor, fed with consecutive blocks.

    Every block but the last of a tensor holds a multiple of 256 elements, and none crosses the border of a chunk.

    >>> running = LaneSum(block=512)
    >>> running.add(np.arange(300.0), square=False)
    >>> running.close()
    44850.0
    """

    def __init__(self, block: int):
        rows = min(block, CHUNK) // LANES + 1
        self._stack = np.zeros((rows + 1, LANES))  # row 0: the lanes so far; below: the block, widened
        self._in_chunk = 0
        self._total = 0.0

    def add(self, values: np.ndarray, square: bool) -> None:
        """Add a block (one axis, any float type); its squares if ``square``."""
        n = values.size
        stack = self._stack
        flat = stack[1:].reshape(-1)[:n]
        flat[...] = values
        if square:
            np.multiply(flat, flat, out=flat)
        full, rest = divmod(n, LANES)
        lanes = stack[0]
        if full:
            lanes[...] = np.add.reduce(stack[: full + 1], axis=0)
        if rest:
            np.add(lanes[:rest], flat[full * LANES :], out=lanes[:rest])
        self._in_chunk += n
        if self._in_chunk == CHUNK:
            self._end_chunk()

    def _end_chunk(self) -> None:
        self._total += join_lanes(self._stack[0])
        self._stack[0] = 0.0
        self._in_chunk = 0

    def close(self) -> float:
        """The sum of the tensor; the running sum starts anew."""
        if self._in_chunk:
            self._end_chunk()
        total, self._total = self._total, 0.0
        return total


def sum_axis(values: np.ndarray, axis: int) -> np.ndarray:
    """The sums along an axis, which stays with one element, in float64.

    >>> sum_axis(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    array([[3.],
           [7.]])
    """
    n = values.shape[axis]
    first = values.T if values.ndim == 2 and axis in (1, -1) else np.moveaxis(values, axis, 0)
    columns = first.reshape(n, math.prod(first.shape[1:]))
    sums = np.empty(columns.shape[1])
    step = 2 * _BLOCK // max(1, min(n, AXIS_LANES))
    for start in range(0, sums.size, step):
        lanes = _axis_lanes(columns[:, start : start + step])
        width, used = AXIS_LANES, len(lanes)  # what lanes without elements would add is nothing
        while width > 1:
            width //= 2
            if used > width:
                np.add(lanes[: used - width], lanes[width:used], out=lanes[: used - width])
                used = width
        np.add(lanes[0], 0.0, out=sums[start : start + step])  # lanes start from 0: a sum is never -0
    shape = list(values.shape)
    shape[axis] = 1
    return sums.reshape(shape)


def _axis_lanes(columns: np.ndarray) -> np.ndarray:
    """The lanes of each column that have elements, as rows; one where there are none."""
    n, width = columns.shape
    if n <= AXIS_LANES:
        return columns.astype(np.float64, order="C") if n else np.zeros((1, width))
    count, rest = divmod(n, AXIS_LANES)
    whole = columns[: n - rest]
    beside = abs(columns.strides[0]) < abs(columns.strides[1])  # the elements of a column in memory
    if beside:
        groups = whole.T.reshape(width, count, AXIS_LANES).swapaxes(0, 1)
    else:
        groups = whole.reshape(count, AXIS_LANES, width)
    lanes = _added(groups)
    lanes = np.ascontiguousarray(lanes.T) if beside else lanes
    if rest:
        lanes[:rest] += columns[n - rest :].astype(np.float64)
    return lanes


def _added(groups: np.ndarray) -> np.ndarray:
    """Groups, added one after the other in float64."""
    lanes = groups[0].astype(np.float64, order="C")
    if lanes.size >= _WORTH_A_CALL:
        wide = np.empty_like(lanes)
        for group in groups[1:]:
            np.copyto(wide, group)
            np.add(lanes, wide, out=lanes)
        return lanes
    # Many at a time. What is added along the first axis of a contiguous array is added in order.
    stack = np.empty((min(len(groups), _BLOCK // lanes.size) + 1, *lanes.shape))
    stack[0] = lanes
    for start in range(1, len(groups), len(stack) - 1):
        block = groups[start : start + len(stack) - 1]
        stack[1 : len(block) + 1] = block
        stack[0] = np.add.reduce(stack[: len(block) + 1], axis=0)
    return stack[0]
