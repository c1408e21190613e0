"""A loop by itself: numbered so that equal loops are equal, whatever graphs they are parts of, and share their code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import TOTALS, Graph, Value

__all__ = ["LocalLoop"]


@dataclass(frozen=True)
class LocalLoop:
    """What the source of a loop is made from.

    Attributes:
        values: its numbers, what it reads, and what it computes; operands first.
        loop: the loop, in terms of these.
        given: the numbers that are given, and not computed from others.
        used: the numbers that its operations read.
        places: for each of the given numbers its place in the graph.
    """

    values: Sequence[Value]
    loop: Loop
    given: Sequence[int]
    used: Sequence[int]
    places: Sequence[int]

    @classmethod
    def of(cls, graph: Graph, loop: Loop) -> LocalLoop:
        """The loop of a graph, by itself."""
        values = graph.values
        used = {a for v in loop.values for a in values[v].args if values[a].is_number}
        numbers, waiting = set(used), list(used)
        while waiting:
            for a in values[waiting.pop()].args:
                if values[a].is_number and a not in numbers:
                    numbers.add(a)
                    waiting.append(a)
        order = [*sorted(numbers), *loop.reads, *loop.values]
        local = {v: k for k, v in enumerate(order)}
        given = [a for a in sorted(numbers) if values[a].op == "number" or values[a].op in TOTALS]
        return cls(
            [values[v]._replace(args=tuple([local[a] for a in values[v].args if a in local])) for v in order],
            Loop(
                loop.shape,
                loop.axis,
                [local[v] for v in loop.values],
                {local[v]: phase for v, phase in loop.phase.items() if v in local},
                {local[v] for v in loop.rows if v in local},
                [local[v] for v in loop.reads],
                [local[v] for v in loop.writes],
                {local[v]: local[a] for v, a in loop.in_place.items()},
            ),
            [local[a] for a in given],
            sorted(local[a] for a in used),
            given,
        )
