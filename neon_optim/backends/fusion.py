"""Which operations of a graph are done in one loop, in what order, and which results are kept in memory.

A loop goes over one shape. It may hold reductions along one axis of that shape, and what is made of their results: the
elements are then gone through again, row by row, while they are in the cache (a softmax with its cost and the
derivative of both is one loop). Everything that is not elementwise or a reduction along an axis is a step of its own.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from neon_optim.backends.graph import VIEWS, Graph, Value, lies_contiguous
from neon_optim.backends.optree import ELEMENTWISE, PRODUCTS

__all__ = ["ALONG_AN_AXIS", "CHEAP", "Call", "Loop", "Steps", "fuse"]

ALONG_AN_AXIS = ("sum", "mean", "amax", "amin")
"""Reductions that a loop can hold. Those that look for a place (argmax, argmin) are calls."""

_ELEMENTWISE = {*ELEMENTWISE, "contiguous", "copy"}

CHEAP = {
    *("add", "subtract", "multiply", "negative", "absolute", "maximum", "minimum", "copy", "contiguous"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
}
"""Operations that are done again rather than kept."""

_MOST_ARRAYS = 20
"""Arrays that one loop reads and writes: more would not help, and engines can tell only so many apart."""

_LOOKED_AT = 8
"""How many of the latest steps may be joined by an operation that needs nothing of them."""


@dataclass(eq=False)
class Loop:
    """A loop over a shape.

    Attributes:
        shape: what it goes over.
        axis: the axis that its reductions go along; None: it has none.
        values: the operations in it, in order.
        phase: for each of them how many times a row has been gone through before it can be computed; a reduction is
            known when the time of its operand is over.
        rows: those of which there is one for each row, not for each element: the reductions, and what follows of them.
        reads: values in memory that it reads.
        writes: values of its own that are kept in memory.
        in_place: for values that are written over one that the loop reads, element by element, that one.
        compiled: a place for engines to keep what they made of it.
    """

    shape: tuple[int, ...]
    axis: int | None = None
    values: list[int] = field(default_factory=list)
    phase: dict[int, int] = field(default_factory=dict)
    rows: set[int] = field(default_factory=set)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    in_place: dict[int, int] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(eq=False)
class Call:
    """One operation on whole arrays: a product, a reduction of everything, what moves slices."""

    value: int


@dataclass(eq=False)
class Steps:
    """What is done, in order.

    Attributes:
        steps: loops and calls.
        kept: the values that need memory of their own, in order.
        home: for a value that is stored in the end, and need not be kept apart: the target that it is computed into.
    """

    steps: list[Loop | Call]
    kept: list[int]
    home: dict[int, int]


def fuse(graph: Graph, alone: Callable[[Value], bool] = lambda value: False) -> Steps:
    """Cut a graph into loops and calls.

    Numbers that are computed from others belong to no step: whoever reads one computes it.

    Arguments:
        alone: which operations are calls although a loop could hold them.
    """
    return _Cutter(graph, alone).cut()


class _Cutter:
    def __init__(self, graph: Graph, alone: Callable[[Value], bool]):
        self._graph = graph
        self._alone = alone
        self._values = graph.values
        self._steps: list[Loop | Call] = []
        # Of what a step computes, and of views of that; leaves have none.
        self._step_of: dict[int, int] = {}
        self._users: dict[int, list[int]] = {}
        for v, value in enumerate(graph.values):
            for a in value.args:
                self._users.setdefault(a, []).append(v)

    def cut(self) -> Steps:
        home: dict[int, int] = {}
        late: list[tuple[int, int]] = []
        targets = dict(self._graph.stores)
        for v, value in enumerate(self._values):
            if value.op == "copy":
                if self._found_at_home(value.args[0], targets[v], home):
                    home[value.args[0]] = targets[v]
                elif self._users.get(targets[v]):
                    late.append((v, targets[v]))
                else:
                    self._join(v)
                    home[v] = targets[v]
            elif value.op in VIEWS and not value.is_number:
                if value.args[0] in self._step_of:
                    self._step_of[v] = self._step_of[value.args[0]]
            elif value.is_number and value.op in {*_ELEMENTWISE, "broadcast"}:
                self._step_of[v] = max((self._step_of.get(a, -1) for a in value.args), default=-1)
            elif value.op in _ELEMENTWISE and not self._alone(value):
                self._join(v)
            elif value.op == "reduce" and value.attrs["kind"] in ALONG_AN_AXIS and not self._alone(value):
                self._join_reduction(v)
            elif value.op not in ("leaf", "number", "places", "size"):
                self._step_of[v] = len(self._steps)
                self._steps.append(Call(v))
        for v, target in late:
            self._store_late(v, target)
            home[v] = target
        kept = self._find_memory(home)
        return Steps(self._steps, kept, home)

    def _found_at_home(self, source: int, target: int, home: dict[int, int]) -> bool:
        """Whether a value needs no copy, since it can be computed in the place where it is stored in the end."""
        value, leaf = self._values[source], self._values[target]
        if source in home or source not in self._step_of or value.op in VIEWS or value.is_number:
            return False
        if target in self._users or value.shape != leaf.shape:
            return False
        same_type = value.dtype == leaf.attrs["stored"]
        dense = lies_contiguous(leaf.shape, leaf.attrs["strides"], leaf.attrs["stored"].itemsize)
        if not dense and any(self._values[u].op in VIEWS for u in self._users[source]):
            return False  # what has gaps cannot be seen in another shape
        if isinstance(self._steps[self._step_of[source]], Call):
            # Only products write anywhere, and what a loop could hold; and BLAS wants its results without gaps.
            anywhere = value.op in PRODUCTS or self._alone(value)
            return anywhere and same_type and dense
        return same_type or len(self._users[source]) == 1

    # --- loops ---

    def _join(self, v: int) -> None:
        """Put an elementwise operation into the first loop that has all it needs, or into a new one."""
        value = self._values[v]
        for number, loop in self._open_loops(value.args):
            if value.shape == loop.shape and self._may_grow(loop, v):
                self._add(number, loop, v)
                return
            if loop.axis is not None and value.shape == row_shape(loop) and value.op != "copy":
                inside = [a for a in value.args if a in loop.phase]
                if inside and loop.rows.issuperset(inside) and self._may_grow(loop, v):
                    self._add(number, loop, v)
                    loop.rows.add(v)
                    return
        self._new_loop(value.shape, v)

    def _join_reduction(self, v: int) -> None:
        value = self._values[v]
        (operand,) = value.args
        shape, axis = self._values[operand].shape, value.attrs["axis"]
        for number, loop in self._open_loops(value.args):
            fits = loop.shape == shape and loop.axis in (None, axis) and operand not in loop.rows
            if fits and self._may_grow(loop, v):
                loop.axis = axis
                self._add(number, loop, v, after=1)
                loop.rows.add(v)
                return
        loop = self._new_loop(shape, v, after=1)
        loop.axis = axis
        loop.rows.add(v)

    def _open_loops(self, args: Iterable[int]) -> Iterator[tuple[int, Loop]]:
        """The loops from the one on that computes the last of the operands."""
        first = max((self._step_of.get(a, -1) for a in args), default=-1)
        latest = max(len(self._steps) - _LOOKED_AT, first + 1)
        for number in (*([first] if first >= 0 else []), *range(latest, len(self._steps))):
            step = self._steps[number]
            if isinstance(step, Loop) and (number > first or self._is_inside(step, args, number)):
                yield number, step

    def _is_inside(self, loop: Loop, args: Iterable[int], number: int) -> bool:
        """Whether what a loop computes of the operands is computed in it, and not a view of that."""
        return all(a in loop.phase for a in args if self._step_of.get(a) == number)

    def _may_grow(self, loop: Loop, v: int) -> bool:
        outside = {a for u in (*loop.values, v) for a in self._values[u].args} - set(loop.values)
        return len(outside) + len(loop.values) // 4 < _MOST_ARRAYS

    def _new_loop(self, shape: tuple[int, ...], v: int, after: int = 0) -> Loop:
        loop = Loop(shape)
        self._steps.append(loop)
        self._add(len(self._steps) - 1, loop, v, after)
        return loop

    def _add(self, number: int, loop: Loop, v: int, after: int = 0) -> None:
        loop.phase[v] = after + max((loop.phase.get(a, 0) for a in self._values[v].args), default=0)
        loop.values.append(v)
        self._step_of[v] = number

    def _store_late(self, copy: int, target: int) -> None:
        """Store to an array that is read too: where it is read, element by element, or when all has been read."""
        (source,) = self._values[copy].args
        number = self._step_of.get(source, -1)
        loop = self._steps[number] if number >= 0 else None
        if isinstance(loop, Loop) and loop.axis is None and source in loop.phase:
            readers = self._users[target]
            alone = number == len(self._steps) - 1 or all(
                not isinstance(s, Loop) or not set(readers) & set(s.values) for s in self._steps[number + 1 :]
            )
            if alone and loop.phase.keys() >= set(readers) and self._values[copy].shape == loop.shape:
                self._add(number, loop, copy)
                return
        self._new_loop(self._values[copy].shape, copy)

    # --- memory ---

    def _find_memory(self, home: dict[int, int]) -> list[int]:
        """Fill in what each loop reads and writes; the values that need memory of their own."""
        self._compute_again(home)
        needed = self._read_by_steps()
        for step in reversed(self._steps):
            if isinstance(step, Loop):
                step.writes = [v for v in step.values if self._is_own(step, v) and (v in home or v in needed)]
        kept: list[int] = []
        for step in self._steps:
            if isinstance(step, Loop):
                self._drop_unused(step)
                step.reads = self._reads(step)
                step.in_place = {v: home[v] for v in step.writes if home.get(v) in step.reads}
                kept += step.writes
            elif not self._values[step.value].is_number:
                kept.append(step.value)
        self._steps = [step for step in self._steps if isinstance(step, Call) or step.writes]
        return [v for v in kept if v not in home]

    def _is_own(self, loop: Loop, v: int) -> bool:
        """Whether a value of a loop is computed there first."""
        return self._steps[self._step_of[v]] is loop

    def _drop_unused(self, loop: Loop) -> None:
        """Leave out what a loop computes and nobody reads any more."""
        used: set[int] = set()
        waiting = list(loop.writes)
        while waiting:
            v = waiting.pop()
            if v in loop.phase and v not in used:
                used.add(v)
                waiting.extend(self._values[v].args)
        loop.values = [v for v in loop.values if v in used]

    def _reads(self, step: Loop | Call) -> list[int]:
        """The values in memory that a step reads."""
        values = [step.value] if isinstance(step, Call) else step.values
        inside = () if isinstance(step, Call) else step.phase.keys()
        operands = dict.fromkeys(a for v in values for a in self._values[v].args)
        return [a for a in operands if a not in inside and not self._values[a].is_number]

    def _read_by_steps(self) -> set[int]:
        """What must be in memory since a step reads it, or a view of it."""
        found: set[int] = set()
        for step in self._steps:
            for a in self._reads(step):
                while self._values[a].op in VIEWS:
                    (a,) = self._values[a].args
                found.add(a)
        return found

    def _compute_again(self, home: dict[int, int]) -> None:
        """Let loops compute for themselves what takes them no further reading, such as the sign of what they read."""
        in_memory = self._read_by_steps()
        readers: dict[int, list[Loop | Call]] = {}
        for step in self._steps:
            for a in self._reads(step):
                readers.setdefault(a, []).append(step)
        for step in self._steps:
            if isinstance(step, Call):
                continue
            for v in list(step.values):
                value = self._values[v]
                if value.op not in CHEAP or v in home or v in step.rows or not self._is_own(step, v):
                    continue
                arrays = [a for a in value.args if not self._values[a].is_number]
                loops = [s for s in readers.get(v, ()) if isinstance(s, Loop) and s.shape == step.shape]
                if (
                    len(loops) == len(readers.get(v, ()))
                    and arrays
                    and in_memory.issuperset(arrays)
                    and not any(self._values[u].op in VIEWS for u in self._users.get(v, ()))
                ):
                    for loop in loops:
                        bisect.insort(loop.values, v)  # operands have lower numbers
                        loop.phase[v] = 0


def row_shape(loop: Loop) -> tuple[int, ...]:
    """The shape of what there is one of for each row of a loop with reductions."""
    return tuple([1 if k == loop.axis else n for k, n in enumerate(loop.shape)])
