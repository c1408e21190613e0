"""A graph made ready to run over host arrays, again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neon_optim.backends.buffers import place_buffers
from neon_optim.backends.cpu.engine import Engine, RunLoop
from neon_optim.backends.cpu.flow_memory import FlowMemory, Place
from neon_optim.backends.cpu.whole_arrays import WholeArrays
from neon_optim.backends.fusion import Call, Loop, fuse
from neon_optim.backends.graph import TOTALS, Flat, Graph, Leaf

__all__ = ["Flow", "FlowInput", "FlowPlan"]


class FlowPlan:
    """What is the same for all arrays of the same layout: the steps, and where their results lie.

    Arguments:
        flat: the assignments.
        whole: says which operations are no part of loops.
    """

    def __init__(self, flat: Flat, whole: WholeArrays):
        self.graph = Graph(flat)
        self.steps = fuse(self.graph, whole.is_alone)
        self.places, self.size = place_buffers(self.graph, self.steps)
        self.idle: list[Flow] = []


class FlowInput(NamedTuple):
    """A leaf that others take the place of, and the loops that must know."""

    place: Place
    loops: list[RunLoop]


class Flow:
    """A plan with memory of its own; it runs in one thread at a time.

    Arguments:
        whole: what does operations on whole arrays.
        engine: makes loops.
    """

    def __init__(self, plan: FlowPlan, flat: Flat, whole: WholeArrays, engine: Engine):
        memory = FlowMemory(plan.graph, plan.steps.home, plan.places, plan.size, flat.leaves)
        self._memory = memory
        self._runs: list[Callable[[], None]] = []
        self._loops: list[tuple[RunLoop, set[int]]] = []  # with what they read and write
        for step in plan.steps.steps:
            if isinstance(step, Call):
                self._runs.append(_call(step.value, memory, whole, engine))
            elif stored := _fill(step, memory) or _copy(step, memory):
                self._runs.append(stored)
            else:
                loop = whole.make_loop(step, memory) or engine.make_loop(step, memory)
                self._runs.append(loop)
                self._loops.append((loop, {*step.reads, *step.writes}))
        self._has_calls = len(self._runs) > len(self._loops)
        self._rebound = self._loops_of(memory.from_leaves)
        memory.set_numbers(flat.numbers)

    def _loops_of(self, values: set[int]) -> list[RunLoop]:
        return [loop for loop, used in self._loops if not used.isdisjoint(values)]

    def bind(self, flat: Flat) -> None:
        """Take other arrays of the same layout, and other numbers."""
        self._memory.take(flat.leaves)
        for loop in self._rebound:
            loop.bind()
        self._memory.set_numbers(flat.numbers)

    def input_of(self, k: int) -> FlowInput:
        """The k-th leaf, as one whose place others take."""
        place = self._memory.place_of(k)
        return FlowInput(place, self._loops_of(place.values))

    def put(self, where: FlowInput, leaf: Leaf) -> None:
        """Let another array of the same layout take the place of a leaf."""
        self._memory.put(where.place, leaf)
        for loop in where.loops:
            loop.bind()

    def release(self) -> None:
        """Hold no arrays but its own."""
        self._memory.release()

    def run(self) -> None:
        """Compute everything once."""
        if self._has_calls:
            with np.errstate(all="ignore"):  # IEEE arithmetic: an overflow is an infinity, on every backend
                for run in self._runs:
                    run()
        else:
            for run in self._runs:
                run()


def _fill(loop: Loop, memory: FlowMemory) -> Callable[[], None] | None:
    """A loop that only stores a number, as something to call; None where it does more, or rounds on the way."""
    values, (v, *others) = memory.graph.values, loop.values
    if others or values[v].op != "copy" or values[v].dtype.name not in ("float32", "float64"):
        return None
    (number,) = values[v].args
    if not (values[number].op == "number" or values[number].op in TOTALS):
        return None
    arrays, words = memory.arrays, memory.words

    def fill() -> None:
        arrays[v].fill(words[number])

    return fill


def _copy(loop: Loop, memory: FlowMemory) -> Callable[[], None] | None:
    """A loop that only copies an array to one of its type, as something to call; None where it does more."""
    values, (v, *others) = memory.graph.values, loop.values
    if others or values[v].op != "copy" or values[values[v].args[0]].is_number:
        return None
    (source,) = values[v].args
    arrays = memory.arrays
    if arrays[source].dtype != arrays[v].dtype:
        return None

    def copy() -> None:
        np.copyto(arrays[v], arrays[source])

    return copy


def _call(v: int, memory: FlowMemory, whole: WholeArrays, engine: Engine) -> Callable[[], None]:
    """An operation on whole arrays, as something to call."""
    value, arrays = memory.graph.values[v], memory.arrays
    if value.is_number:
        (a,) = value.args
        words, op = memory.words, value.op

        def total() -> None:
            words[v] = whole.reduce_all(op, arrays[a])

        return engine.make_total(v, memory) or total
    if value.op in ("dot", "batched_dot"):
        left, right = value.args
        product = whole.product

        def multiply() -> None:
            product(arrays[left], arrays[right], arrays[v])

        return multiply

    def move() -> None:
        whole.move(value, [arrays[a] for a in value.args], arrays[v])

    return move
