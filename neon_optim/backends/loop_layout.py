"""How a loop lies in memory: its axes merged where all arrays allow it, and the strides of each array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LoopLayout", "lay_out"]


@dataclass(frozen=True)
class LoopLayout:
    """The axes of a loop: some outer ones, the one that is reduced, if any, and the inner one.

    Attributes:
        outer: extents of the outer axes.
        along: extent of the axis that is reduced; None: there is none.
        inner: extent of the innermost axis; None where the reduced axis is the innermost.
        strides: for each array its strides in bytes: outer axes, reduced axis, inner axis; as many as there are axes.
    """

    outer: tuple[int, ...]
    along: int | None
    inner: int | None
    strides: tuple[tuple[int, ...], ...]


def lay_out(arrays: Sequence[np.ndarray], shape: tuple[int, ...], axis: int | None) -> LoopLayout:
    """The layout of arrays that are broadcast to a shape.

    >>> a, b = np.zeros((4, 3, 2)), np.zeros((4, 1, 2))
    >>> lay_out([a, a], (4, 3, 2), None)
    LoopLayout(outer=(), along=None, inner=24, strides=((8,), (8,)))
    >>> lay_out([a, b], (4, 3, 2), 1)
    LoopLayout(outer=(4,), along=3, inner=2, strides=((48, 16, 8), (16, 0, 8)))
    """
    views = [np.broadcast_to(a, shape).strides for a in arrays]
    if axis is None:
        axes = _merged(shape, views, range(len(shape)))
        *outer, inner = axes or [(1, [0] * len(views))]
        return _layout(outer, None, inner, len(views))
    before = _merged(shape, views, range(axis))
    after = _merged(shape, views, range(axis + 1, len(shape)))
    along = (shape[axis], [v[axis] for v in views])
    if not after:
        return _layout(before, along, None, len(views))
    return _layout([*before, *after[:-1]], along, after[-1], len(views))


Axis = tuple[int, list[int]]


def _merged(shape: tuple[int, ...], views: Sequence[tuple[int, ...]], axes: range) -> list[Axis]:
    """Neighbouring axes made one where every array has the same distance between all their elements."""
    merged: list[Axis] = []
    for axis in axes:
        extent, steps = shape[axis], [v[axis] for v in views]
        if extent == 1:
            continue
        if merged and all(s == step * extent for s, step in zip(merged[-1][1], steps, strict=True)):
            merged[-1] = (merged[-1][0] * extent, steps)
        else:
            merged.append((extent, steps))
    return merged


def _layout(outer: Sequence[Axis], along: Axis | None, inner: Axis | None, count: int) -> LoopLayout:
    axes = [*outer, *(a for a in (along, inner) if a is not None)]
    return LoopLayout(
        tuple(extent for extent, _ in outer),
        None if along is None else along[0],
        None if inner is None else inner[0],
        tuple(tuple(steps[k] for _, steps in axes) for k in range(count)),
    )
