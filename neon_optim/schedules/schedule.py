"""The base of schedules, and neon's Schedule."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from neon_optim.base import NervanaObject

__all__ = ["BaseSchedule", "value_at"]


class BaseSchedule(NervanaObject, kind="schedule", abstract=True):
    """A pure function of a base rate and of time: asking twice, or in any order, gives the same numbers.

    A subclass defines :meth:`get_learning_rate`. Nothing is remembered between calls, so a schedule needs no state in
    a checkpoint and is right after a restart.
    """

    @abstractmethod
    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0), given the base rate."""


def value_at(schedule: Any, base: float, epoch: int, step: int) -> float:
    """What a schedule gives at this time.

    Arguments:
        schedule: anything with ``get_learning_rate(learning_rate, epoch)``; if its ``unit`` is 'step', it is asked
            with the step instead of the epoch.
        base: the rate to start from.
        epoch: epochs that are done.
        step: steps that are done.
    """
    time = step if getattr(schedule, "unit", "epoch") == "step" else epoch
    return float(schedule.get_learning_rate(base, time))
