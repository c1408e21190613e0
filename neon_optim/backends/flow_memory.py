"""Where the values of a graph are: arrays, where these begin, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from neon_optim.backends.graph import VIEWS, Graph, Leaf, Value

__all__ = ["FlowMemory", "MemoryOfBackend", "Place"]

_ALIGNED = 64


class MemoryOfBackend(Protocol):
    """Where the values of a flow are."""

    def allocate(self, size: int) -> np.ndarray:
        """So many bytes of undefined contents."""

    def constant(self, values: np.ndarray) -> np.ndarray:
        """A host array, in that memory."""


class Place(NamedTuple):
    """A leaf, and what follows from it.

    Attributes:
        leaf: its value.
        homes: the values that are computed into it, each with the leaf.
        views: the views of these, in order.
    """

    leaf: int
    homes: list[tuple[int, int]]
    views: list[tuple[int, Value]]

    @property
    def values(self) -> set[int]:
        """All of them."""
        return {self.leaf, *(v for v, _ in self.homes), *(v for v, _ in self.views)}


class FlowMemory:
    """The memory of one flow, and what it has been given.

    Arguments:
        where: the memory of a backend. Its arrays may describe what only the backend can read.
        home: for values that are computed where they are stored in the end: the leaf.
        places: where the values that are kept lie in memory of the flow's own, in bytes.
        size: how much of that there is.
        leaves: the arrays that the graph reads and writes; others of the same layout may take their place.

    Attributes:
        arrays: the array of each value in memory.
        addresses: where these begin.
        numbers: the numbers of the graph, by value, in float64.
        words: the same, for quick access one by one.
        from_leaves: the values whose arrays are others where leaves are others.
    """

    def __init__(
        self,
        where: MemoryOfBackend,
        graph: Graph,
        home: Mapping[int, int],
        places: Mapping[int, int],
        size: int,
        leaves: Sequence[Leaf],
    ):
        self.graph = graph
        self.arrays: dict[int, np.ndarray] = {}
        self.addresses: dict[int, int] = {}
        self.numbers = np.zeros(max(1, len(graph.values)))
        self.words: Any = self.numbers.data
        self._own = where.allocate(size + _ALIGNED)
        self._set_constants(where)
        self._set_kept(places)
        self._homes = list(home.items())
        views = [(v, value) for v, value in enumerate(graph.values) if _is_view(value)]
        self._views = [(v, value) for v, value in views if v not in self.arrays]
        self.from_leaves = {*graph.leaves, *home, *(v for v, _ in self._views)}
        self._nothing: dict[int, Any] = dict.fromkeys(self.from_leaves)
        self.take(leaves)

    def _set_constants(self, where: MemoryOfBackend) -> None:
        for v, value in enumerate(self.graph.values):
            if value.op == "places":
                extent = value.shape[value.attrs["axis"]]
                self.arrays[v] = where.constant(np.arange(extent, dtype=value.dtype).reshape(value.shape))
            elif value.op == "size":
                self.numbers[v] = np.prod(self.graph.values[value.args[0]].shape, dtype=np.float64)

    def _set_kept(self, places: Mapping[int, int]) -> None:
        """Arrays for what is kept, and views of these and of constants."""
        start = -self._own.ctypes.data % _ALIGNED
        for v, place in places.items():
            value = self.graph.values[v]
            count = int(np.prod(value.shape, dtype=np.int64))
            part = self._own[start + place : start + place + count * value.dtype.itemsize]
            self.arrays[v] = part.view(value.dtype).reshape(value.shape)
        for v, value in enumerate(self.graph.values):
            if _is_view(value) and value.args[0] in self.arrays:
                self.arrays[v] = _view(value, self.arrays[value.args[0]])
        for v, array in self.arrays.items():
            self.addresses[v] = array.__array_interface__["data"][0]

    def take(self, leaves: Sequence[Leaf]) -> None:
        """Take other leaves."""
        for v, leaf in zip(self.graph.leaves, leaves, strict=True):
            self.arrays[v], self.addresses[v] = leaf.array, leaf.address
        self._follow(self._homes, self._views)

    def place_of(self, k: int) -> Place:
        """Where the k-th leaf stands, so that another may take its place."""
        leaf = self.graph.leaves[k]
        place = Place(leaf, [(v, target) for v, target in self._homes if target == leaf], [])
        found = place.values
        for v, value in self._views:
            if value.args[0] in found:
                found.add(v)
                place.views.append((v, value))
        return place

    def put(self, place: Place, leaf: Leaf) -> None:
        """Let another leaf take a place."""
        self.arrays[place.leaf], self.addresses[place.leaf] = leaf.array, leaf.address
        self._follow(place.homes, place.views)

    def _follow(self, homes: Iterable[tuple[int, int]], views: Iterable[tuple[int, Value]]) -> None:
        arrays, addresses = self.arrays, self.addresses
        for v, target in homes:
            arrays[v], addresses[v] = arrays[target], addresses[target]
        for v, value in views:
            (a,) = value.args
            whole = arrays[a]
            arrays[v] = view = _view(value, whole)
            begins_there = value.op != "slice" and (value.op != "reshape" or view.shape == whole.shape)
            addresses[v] = addresses[a] if begins_there else view.__array_interface__["data"][0]

    def set_numbers(self, numbers: Sequence[float]) -> None:
        """Take other numbers, those that stand in the trees."""
        for v, number in zip(self.graph.numbers, numbers, strict=True):
            self.words[v] = number

    def release(self) -> None:
        """Hold no arrays but its own."""
        self.arrays.update(self._nothing)


def _is_view(value: Value) -> bool:
    return value.op in VIEWS and not value.is_number


def _view(value: Value, array: np.ndarray) -> np.ndarray:
    if value.op == "transpose":
        return array.transpose(value.attrs["axes"])
    if value.op == "reshape":
        return array.reshape(value.shape)
    if value.op == "broadcast":
        return np.broadcast_to(array, value.shape)
    return array[tuple(slice(*part) for part in value.attrs["key"])]
