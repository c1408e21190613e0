"""Memory for the values of a graph: those that are not alive at the same time share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from neon_optim.backends.fusion import Call, Steps
from neon_optim.backends.graph import VIEWS, Graph

__all__ = ["place_buffers"]

_ALIGNED = 64


def place_buffers(graph: Graph, steps: Steps) -> tuple[dict[int, int], int]:
    """Where each kept value lies in one block of memory, in bytes, and how large that block is."""
    first, last = _lifetimes(graph, steps)
    heirs = _heirs(graph, steps, last)
    for v, heir in reversed(heirs.items()):  # whoever inherits later comes later
        last[v] = last[heir]
    inherited = set(heirs.values())
    sizes = {v: _aligned(_bytes_of(graph, v)) for v in steps.kept if v not in inherited}
    placed = _Placed(len(sizes))
    places = {v: placed.put(first[v], last[v], sizes[v]) for v in sorted(sizes, key=lambda v: (-sizes[v], v))}
    size = max((places[v] + sizes[v] for v in places), default=0)
    for v, heir in heirs.items():
        places[heir] = places[v]
    return places, size


def _heirs(graph: Graph, steps: Steps, last: Mapping[int, int]) -> dict[int, int]:
    """For some values the one that takes their place, element by element, in the loop that reads them last.

    The loop is told.
    """
    kept = set(steps.kept)
    heirs: dict[int, int] = {}
    for number, step in enumerate(steps.steps):
        if isinstance(step, Call) or any(step.phase[v] for v in step.values if v not in step.rows):
            continue  # what is gone through again must be there still
        bases = [_base(graph, v) for v in step.reads]
        dying = [
            v
            for v in step.reads
            if v in kept and last[v] == number and bases.count(v) == 1 and graph.values[v].shape == step.shape
        ]
        for v in step.writes:
            value = graph.values[v]
            fits = [u for u in dying if value.shape == step.shape and graph.values[u].dtype == value.dtype]
            if v in kept and fits:
                heirs[fits[0]] = v
                step.in_place[v] = fits[0]
                dying.remove(fits[0])
    return heirs


def _base(graph: Graph, v: int) -> int:
    """The value that a view is a view of, however many are between."""
    while graph.values[v].op in VIEWS:
        (v,) = graph.values[v].args
    return v


class _Placed:
    """Pieces of memory in the order of their places, and when they are in use.

    Arguments:
        most: how many there will be.
    """

    def __init__(self, most: int):
        self._table = np.zeros((4, most), np.int64)  # place, end, first and last step of each
        self._count = 0

    def put(self, first: int, last: int, size: int) -> int:
        """Place another piece where nothing lies in those steps, as far ahead as it can."""
        place, end, begins, ends = self._table[:, : self._count]
        there = (begins <= last) & (ends >= first)
        ahead = np.maximum.accumulate(end[there])
        free = np.flatnonzero(place[there][1:] - ahead[:-1] >= size)
        if not len(ahead) or place[there][0] >= size:
            found = 0
        else:
            found = int(ahead[free[0]] if len(free) else ahead[-1])
        at = int(np.searchsorted(place, found, side="right"))
        self._table[:, at + 1 : self._count + 1] = self._table[:, at : self._count].copy()
        self._table[:, at] = found, found + size, first, last
        self._count += 1
        return found


def _bytes_of(graph: Graph, v: int) -> int:
    value = graph.values[v]
    size = value.dtype.itemsize
    for n in value.shape:
        size *= n
    return size


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _lifetimes(graph: Graph, steps: Steps) -> tuple[dict[int, int], dict[int, int]]:
    """The steps at which each kept value is made, and read last."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, step in enumerate(steps.steps):
        if isinstance(step, Call):
            made: Sequence[int] = [step.value]
            read: Sequence[int] = graph.values[step.value].args
        else:
            made, read = step.writes, step.reads
        for v in made:
            first[v] = last[v] = number
        for v in read:
            last[_base(graph, v)] = number
    return first, last
