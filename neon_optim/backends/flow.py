"""A graph made ready to run over arrays, again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neon_optim.backends.buffers import place_buffers
from neon_optim.backends.executor import Executor, RunLoop
from neon_optim.backends.flow_memory import FlowMemory, Place
from neon_optim.backends.fusion import Call, fuse
from neon_optim.backends.graph import Flat, Graph, Leaf

__all__ = ["Flow", "FlowInput", "FlowPlan"]


class FlowPlan:
    """What is the same for all arrays of the same layout: the steps, and where their results lie.

    Arguments:
        flat: the assignments.
        executor: says which operations are no part of loops.
    """

    def __init__(self, flat: Flat, executor: Executor):
        self.graph = Graph(flat)
        self.steps = fuse(self.graph, executor.is_alone)
        self.places, self.size = place_buffers(self.graph, self.steps)
        self.idle: list[Flow] = []


class FlowInput(NamedTuple):
    """A leaf that others take the place of, and the loops that must know."""

    place: Place
    loops: list[RunLoop]


class Flow:
    """A plan with memory of its own; it runs in one thread at a time.

    Arguments:
        executor: what does the steps.
    """

    def __init__(self, plan: FlowPlan, flat: Flat, executor: Executor):
        memory = FlowMemory(executor, plan.graph, plan.steps.home, plan.places, plan.size, flat.leaves)
        self._memory = memory
        self._runs: list[Callable[[], None]] = []
        self._loops: list[tuple[RunLoop, set[int]]] = []  # with what they read and write
        for step in plan.steps.steps:
            if isinstance(step, Call):
                self._runs.append(executor.call(step.value, memory))
            else:
                loop = executor.loop(step, memory)
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
