"""Memory for the values of a graph: those that are not alive at the same time share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neon_optim.backends.fusion import Call, Steps
from neon_optim.backends.graph import VIEWS, Graph

__all__ = ["place_buffers"]

_ALIGNED = 64


def place_buffers(graph: Graph, steps: Steps) -> tuple[dict[int, int], int]:
    """Where each kept value lies in one block of memory, in bytes, and how large that block is."""
    first, last = _lifetimes(graph, steps)
    sizes = {v: _aligned(_bytes_of(graph, v)) for v in steps.kept}
    places: dict[int, int] = {}
    for v in sorted(steps.kept, key=lambda v: (-sizes[v], v)):
        others = sorted(
            (places[u], places[u] + sizes[u]) for u in places if first[u] <= last[v] and first[v] <= last[u]
        )
        places[v] = _first_gap(others, sizes[v])
    return places, max((places[v] + sizes[v] for v in places), default=0)


def _bytes_of(graph: Graph, v: int) -> int:
    value = graph.values[v]
    size = value.dtype.itemsize
    for n in value.shape:
        size *= n
    return size


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _first_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    place = 0
    for start, end in taken:
        if start - place >= size:
            break
        place = max(place, end)
    return place


def _lifetimes(graph: Graph, steps: Steps) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """The steps at which each kept value is made, and read last."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    base: dict[int, int] = {}
    for v, value in enumerate(graph.values):
        if value.op in VIEWS and not value.is_number:
            base[v] = base.get(value.args[0], value.args[0])
    for number, step in enumerate(steps.steps):
        if isinstance(step, Call):
            made: Sequence[int] = [step.value]
            read: Sequence[int] = graph.values[step.value].args
        else:
            made, read = step.writes, step.reads
        for v in made:
            first[v] = last[v] = number
        for v in read:
            last[base.get(v, v)] = number
    return first, last
