"""The base of schedules, and neon's Schedule."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, shown

__all__ = ["BaseSchedule", "Unit", "polynomial_between", "power_of", "value_at"]

Unit = Literal["epoch", "step"]


class BaseSchedule(NervanaObject, kind="schedule", abstract=True):
    """A function of a base rate and of time, which counts from 0.

    A subclass defines :meth:`get_learning_rate`. All but Plateau are pure: asking twice, or in any order, gives the
    same numbers, and nothing has to be restored after a restart.

    Given as ``schedule`` of an optimizer, a schedule turns its learning rate into the rate of a step. Given in place of
    a number (``beta_1=Linear(...)``, ``learning_rate=Cosine(...)``), the base is 1: its values are the numbers.
    """

    closed: ClassVar[bool] = True
    unit = "epoch"
    """What time is counted in: epochs done or steps done."""

    @abstractmethod
    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time (from 0, in the schedule's unit), given the base rate."""

    def rate_at(self, base: float, epoch: float, step: float) -> float:
        """The rate when so many epochs and so many steps are done."""
        return _value(self, base, step if self.unit == "step" else epoch)

    def observe(self, metric: float) -> None:
        """Take note of the validation metric; most schedules do not care."""

    def get_counters(self) -> dict[str, Any]:
        """What it remembers, for checkpoints: JSON-able; empty for a pure function of time."""
        return {}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""


def polynomial_between(start: float, end: float, share: float, power: float) -> float:
    """From start to end as a share of the time passes, from 0 to 1 and then no further."""
    return (start - end) * (1.0 - min(share, 1.0)) ** power + end


def power_of(base: float, exponent: float) -> float:
    """``base ** exponent`` in floats: infinite where that is beyond their range, so that whoever asked for the value
    can say which optimizer and which step it was for; and at once, however large an integer the exponent is.

    >>> power_of(2, 10), power_of(2, 10**9), power_of(0.5, 10**400)
    (1024.0, inf, 0.0)
    """
    try:
        return float(base) ** exponent
    except OverflowError:
        return math.inf if base > 1.0 else 1.0 if base == 1.0 else 0.0


def value_at(schedule: Any, base: float, epoch: float, step: float) -> float:
    """What a schedule gives at this time.

    Arguments:
        schedule: anything with ``get_learning_rate(learning_rate, epoch)``; if its ``unit`` is 'step', it is asked
            with the step instead of the epoch.
        base: the rate to start from.
        epoch: epochs that are done.
        step: steps that are done.

    Raises:
        ArgumentError: it gives no number.
    """
    if isinstance(schedule, BaseSchedule):
        return schedule.rate_at(base, epoch, step)
    time = step if getattr(schedule, "unit", "epoch") == "step" else epoch
    return _value(schedule, base, time)


def _value(schedule: Any, base: float, time: float) -> float:
    name = type(schedule).__name__
    try:
        value = schedule.get_learning_rate(base, time)
    except OverflowError as error:
        raise ArgumentError(f"{name}: its value at {time} is beyond the range of floats") from error
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ArgumentError(f"{name}.get_learning_rate must return a number, received {shown(value)} at {time}")
