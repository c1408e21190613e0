"""Executions that were refused on the device: the host learns of one late, and puts back what it has counted since.

A guard that is not finite halts the device: it stores nothing more of any Program, and leaves the sums of the refused
one where they are. Two words of host memory say which execution that was, and which is the last whose guard is known;
so what the host keeps for an execution goes as soon as the device is past it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from neon_optim.backends.gpu.device import Device

__all__ = ["Refusals"]

_WORD = 8


class Unasked(Protocol):
    """An outcome that may be waited for."""

    def settle(self) -> None:
        """Wait for it."""


@dataclass
class _Expected:
    """An execution that may not have been stored.

    Attributes:
        bad_rows: reads from the halted device which rows the guard was not finite for; None where there is no guard.
        undo: forgets that the execution was asked for.
        report: tells of the refusal, by raising an error.
    """

    number: int
    bad_rows: Callable[[], Sequence[int]] | None
    undo: Callable[[], object]
    report: Callable[[Sequence[int]], object]


class Refusals:
    """What is not known yet about the executions of one engine.

    Attributes:
        fields: what kernels are told, by the names in ``TABLE_FIELDS``.
        unasked: the outcome of the latest execution, where nobody has asked for it.
    """

    unasked: Unasked | None = None

    def __init__(self, device: Device):
        self._device = device
        self._halted = device.constant(np.zeros(1, np.uint64))
        self._words, address = device.mirror(2)  # refused, or 0; finished
        self.fields = {
            "halted": int(self._halted),
            "halted_on_host": address,
            "finished_on_host": address + _WORD,
        }
        self._expected: deque[_Expected] = deque()

    def expect(
        self,
        number: int,
        bad_rows: Callable[[], Sequence[int]] | None,
        undo: Callable[[], object],
        report: Callable[[Sequence[int]], object],
    ) -> None:
        """An execution that came after all that are expected: how to undo it, and, if it was refused, whom to tell."""
        self._expected.append(_Expected(number, bad_rows, undo, report))

    def undecided(self) -> bool:
        """Whether one of the executions so far may have been refused, as far as the host knows.

        One that nobody has asked about, as after an interrupt, is waited for: nobody could be told later.
        """
        if self.unasked is not None:
            self.unasked.settle()
        self.check()
        return bool(self._expected)

    def check(self) -> None:
        """Tell of a refused execution, if the host knows of one; without waiting for the device."""
        finished, refused = int(self._words[1]), int(self._words[0])  # in this order: see the kernels
        expected = self._expected
        while expected and expected[0].number < refused:
            expected.popleft()
        if refused:
            self._refuse()
        while expected and (expected[0].bad_rows is None or expected[0].number <= finished):
            expected.popleft()

    def settle(self, number: int) -> None:
        """The host has waited for an execution, and sees itself whether it was refused: nobody else is told."""
        if int(self._words[0]) == number and not any(e.number == number for e in self._expected):
            self._expected.clear()
            self._resume()
        self.check()

    def _refuse(self) -> None:
        refused, dropped = int(self._words[0]), list(self._expected)
        first = dropped[0] if dropped and dropped[0].number == refused else None
        bad = first.bad_rows() if first and first.bad_rows else []
        for execution in reversed(dropped):  # all may be done again, if this is interrupted
            execution.undo()
        self._resume()
        self._expected.clear()
        if first is not None:
            first.report(bad)

    def close(self) -> None:
        """Give back the words that the device has written; it has done everything."""
        self._words = np.zeros(2, np.uint64)

    def _resume(self) -> None:
        self._device.zero(int(self._halted), _WORD)
        self._words[0] = 0
