"""The fixed definition of a sum, in NumPy.

Whatever the engine, thread count or device: float64; chunks of 65,536 elements counted within each tensor; 256 lanes
strided inside a chunk, each lane added in order; lanes joined by halving (128, 64, ..., 1); chunks added in order.
"""

from __future__ import annotations

import numpy as np

__all__ = ["CHUNK", "LANES", "LaneSum", "join_lanes"]

CHUNK = 65_536
LANES = 256


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


AXIS_LANES = 32


def sum_axis(values: np.ndarray, axis: int) -> np.ndarray:
    """The sum along an axis, which stays with one element, in float64."""
    moved = np.moveaxis(values, axis, 0).astype(np.float64)
    lanes = np.zeros((AXIS_LANES, *moved.shape[1:]))
    for k in range(moved.shape[0]):
        lanes[k % AXIS_LANES] += moved[k]
    width = AXIS_LANES
    while width > 1:
        width //= 2
        lanes[:width] += lanes[width : 2 * width]
    return np.expand_dims(lanes[0], axis)
