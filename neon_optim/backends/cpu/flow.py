"""A graph made ready to run over host arrays, again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from neon_optim.backends.buffers import place_buffers
from neon_optim.backends.cpu.engine import Engine, RunLoop
from neon_optim.backends.cpu.whole_arrays import WholeArrays
from neon_optim.backends.fusion import Call, Loop, Steps, fuse
from neon_optim.backends.graph import VIEWS, Flat, Graph, Leaf, Value

__all__ = ["Flow", "FlowPlan", "Place"]


class FlowPlan:
    """What is the same for all arrays of the same layout: the steps, and where their results lie."""

    def __init__(self, flat: Flat):
        self.graph = Graph(flat)
        self.steps: Steps = fuse(self.graph)
        self.places, self.size = place_buffers(self.graph, self.steps)
        self.idle: list[Flow] = []


class Place(NamedTuple):
    """A leaf, and what follows from it.

    Attributes:
        leaf: its value.
        views: the views of these, in order.
        homes: the values that are computed into it.
        loops: the loops that read or write any of these.
    """

    leaf: int
    views: list[tuple[int, Value]]
    homes: list[int]
    loops: list[Any]


class Flow:
    """A plan with memory of its own; it runs in one thread at a time.

    Arguments:
        whole: what does operations on whole arrays.
        engine: makes loops.
    """

    def __init__(self, plan: FlowPlan, flat: Flat, whole: WholeArrays, engine: Engine):
        graph, steps = plan.graph, plan.steps
        self._graph = graph
        self._memory = np.empty(plan.size + 64, np.uint8)
        self._numbers = np.zeros(max(1, len(graph.values)))
        self._number_words: Any = self._numbers.data
        self._arrays: dict[int, np.ndarray] = {}
        self._addresses: dict[int, int] = {}
        self._place_constants()
        self._place_kept(plan)
        self._take(flat.leaves)
        self._moving = self._views_of_leaves()
        self._homes = list(steps.home.items())
        moving = {*graph.leaves, *(v for v, _ in self._moving), *steps.home}
        self._follow()
        self._nothing: dict[int, Any] = dict.fromkeys(moving)
        self._calls = any(isinstance(step, Call) for step in steps.steps)
        self._steps = steps.steps
        self._runs: list[Callable[[], None]] = []
        self._rebound: list[RunLoop] = []
        for step in steps.steps:
            if isinstance(step, Call):
                self._runs.append(self._call(step.value, whole, engine))
                continue
            loop = engine.make_loop(graph, step, self._arrays, self._addresses, self._numbers)
            self._runs.append(loop)
            if moving.intersection((*step.reads, *step.writes)):
                self._rebound.append(loop)
        self._bind_numbers(flat.numbers)

    def _place_constants(self) -> None:
        for v, value in enumerate(self._graph.values):
            if value.op == "places":
                extent = value.shape[value.attrs["axis"]]
                self._arrays[v] = np.arange(extent, dtype=value.dtype).reshape(value.shape)
            elif value.op == "size":
                shape = self._graph.values[value.args[0]].shape
                self._numbers[v] = np.prod(shape, dtype=np.float64)

    def _place_kept(self, plan: FlowPlan) -> None:
        """Arrays for what is kept and for constants, and views of them."""
        start = -self._memory.ctypes.data % 64
        for v, place in plan.places.items():
            value = self._graph.values[v]
            count = int(np.prod(value.shape, dtype=np.int64))
            part = self._memory[start + place : start + place + count * value.dtype.itemsize]
            self._arrays[v] = part.view(value.dtype).reshape(value.shape)
        for v, value in enumerate(self._graph.values):
            if value.op in VIEWS and not value.is_number and value.args[0] in self._arrays:
                self._arrays[v] = _view(value, self._arrays[value.args[0]])
        for v, array in self._arrays.items():
            self._addresses[v] = array.__array_interface__["data"][0]

    def _take(self, leaves: Sequence[Leaf]) -> None:
        for v, leaf in zip(self._graph.leaves, leaves, strict=True):
            self._arrays[v] = leaf.array
            self._addresses[v] = leaf.address

    def _views_of_leaves(self) -> list[tuple[int, Value]]:
        """The views that are made anew for other leaves."""
        found: dict[int, Value] = {}
        for v, value in enumerate(self._graph.values):
            if value.op in VIEWS and not value.is_number and v not in self._arrays:
                found[v] = value
        return list(found.items())

    def _follow(self) -> None:
        """Make views of leaves, and let what is computed in place be there."""
        arrays, addresses = self._arrays, self._addresses
        for v, target in self._homes:
            arrays[v], addresses[v] = arrays[target], addresses[target]
        for v, value in self._moving:
            arrays[v] = view = _view(value, arrays[value.args[0]])
            addresses[v] = view.__array_interface__["data"][0]

    def _call(self, v: int, whole: WholeArrays, engine: Engine) -> Callable[[], None]:
        value, arrays = self._graph.values[v], self._arrays
        if value.is_number:
            (a,) = value.args
            words, op, addresses = self._number_words, value.op, self._addresses
            compiled = engine.make_total(
                op, arrays[a], lambda: addresses[a], lambda number: words.__setitem__(v, number)
            )
            if compiled is not None:
                return compiled

            def total() -> None:
                words[v] = whole.reduce_all(op, arrays[a])

            return total
        if value.op in ("dot", "batched_dot"):
            left, right = value.args
            product = whole.product

            def multiply() -> None:
                product(arrays[left], arrays[right], arrays[v])

            return multiply

        def move() -> None:
            whole.move(value, [arrays[a] for a in value.args], arrays[v])

        return move

    def bind(self, flat: Flat) -> None:
        """Take other arrays of the same layout, and other numbers."""
        self._take(flat.leaves)
        self._follow()
        for loop in self._rebound:
            loop.bind()
        self._bind_numbers(flat.numbers)

    def place_of(self, k: int) -> Place:
        """Where the k-th leaf stands, so that another may take its place."""
        leaf = self._graph.leaves[k]
        homes = [v for v, target in self._homes if target == leaf]
        moved = {leaf, *homes}
        views = []
        for v, value in self._moving:
            if value.args[0] in moved:
                moved.add(v)
                views.append((v, value))
        loops = [
            run
            for step, run in zip(self._steps, self._runs, strict=True)
            if isinstance(step, Loop) and moved.intersection((*step.reads, *step.writes))
        ]
        return Place(leaf, views, homes, loops)

    def put(self, place: Place, leaf: Leaf) -> None:
        """Let another array of the same layout take a place."""
        arrays, addresses = self._arrays, self._addresses
        arrays[place.leaf], addresses[place.leaf] = leaf.array, leaf.address
        for v in place.homes:
            arrays[v], addresses[v] = leaf.array, leaf.address
        for v, value in place.views:
            arrays[v] = view = _view(value, arrays[value.args[0]])
            addresses[v] = view.__array_interface__["data"][0]
        for loop in place.loops:
            loop.bind()

    def _bind_numbers(self, numbers: Sequence[float]) -> None:
        for v, number in zip(self._graph.numbers, numbers, strict=True):
            self._number_words[v] = number

    def release(self) -> None:
        """Hold no arrays but its own."""
        self._arrays.update(self._nothing)

    def run(self) -> None:
        """Compute everything once."""
        if self._calls:
            with np.errstate(all="ignore"):  # IEEE arithmetic: an overflow is an infinity, on every backend
                for run in self._runs:
                    run()
        else:
            for run in self._runs:
                run()


def _view(value: Value, array: np.ndarray) -> np.ndarray:
    if value.op == "transpose":
        return array.transpose(value.attrs["axes"])
    if value.op == "reshape":
        return array.reshape(value.shape)
    if value.op == "broadcast":
        return np.broadcast_to(array, value.shape)
    return array[tuple(slice(*part) for part in value.attrs["key"])]
