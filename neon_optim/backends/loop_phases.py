"""What is computed of a loop in each of its phases: how often its rows are gone through, and for what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from neon_optim.backends.fusion import CHEAP, Loop
from neon_optim.backends.graph import Value

__all__ = ["LoopPhases"]


class LoopPhases:
    """The phases of a loop.

    Arguments:
        values: what the numbers in the loop stand for.
        keeps: whether values of elements that a later phase reads, and that would be dear to compute again, are kept.

    Attributes:
        reductions: the reductions along the axis of the loop.
    """

    def __init__(self, values: Sequence[Value], loop: Loop, keeps: bool = True):
        self._values = values
        self._loop = loop
        self._keeps = keeps
        self.reductions = [v for v in loop.values if self._values[v].op == "reduce"]

    @cached_property
    def kept(self) -> list[int]:
        """Values of elements that are kept from one phase to later ones."""
        loop = self._loop
        kept, seen = set(), set()
        waiting = [
            (a, loop.phase[v]) for v in loop.values if v not in loop.rows for a in self._values[v].args
        ]
        while waiting and self._keeps:
            a, phase = waiting.pop()
            if (a, phase) in seen or a in loop.rows or loop.phase.get(a, phase) >= phase:
                continue
            seen.add((a, phase))
            if self._values[a].op in CHEAP:
                waiting.extend((b, phase) for b in self._values[a].args)
            else:
                kept.add(a)
        return sorted(kept)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """The phases in which there is something to do, and the reductions that each completes."""
        for phase in range(max(self._loop.phase.values()) + 1):
            done = [v for v in self.reductions if self._loop.phase[v] == phase + 1]
            if done or self.elements(phase):
                yield phase, done

    def elements(self, phase: int) -> list[int]:
        """What is computed first in a phase, for each element."""
        loop = self._loop
        return [v for v in loop.values if v not in loop.rows and loop.phase[v] == phase]

    def rows_after(self, phase: int) -> list[int]:
        """What there is one of for each row, and is known after a phase."""
        return [v for v in self._loop.values if v in self._loop.rows and self._loop.phase[v] == phase + 1]

    def is_kept(self, v: int, phase: int) -> bool:
        """Whether a value has been computed in an earlier phase, and kept."""
        return self._loop.phase[v] < phase and v in self.kept

    def needed(self, phase: int, done: Sequence[int] = ()) -> list[int]:
        """The values that those of a phase, and its reductions, are computed from, in order; they themselves, too."""
        found: set[int] = set()
        waiting = [*self.elements(phase), *(a for v in done for a in self._values[v].args)]
        while waiting:
            v = waiting.pop()
            if v in found or self._values[v].is_number:
                continue
            found.add(v)
            in_loop = v in self._loop.phase and v not in self._loop.rows
            if in_loop and not self.is_kept(v, phase):
                waiting.extend(self._values[v].args)
        return sorted(found)
