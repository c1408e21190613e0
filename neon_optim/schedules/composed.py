"""Schedules made of others: a warm-up before one, several one after the other, a product, pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any

from neon_optim.described.arguments import AnySchedule, NonNegative, Positive, Real, refuse
from neon_optim.described.checks import Number
from neon_optim.described.counters import set_all_counters
from neon_optim.errors import StateError, shown
from neon_optim.schedules.decay import Constant
from neon_optim.schedules.schedule import BaseSchedule, Unit, value_at

__all__ = ["Chain", "Piecewise", "Sequential", "Warmup"]

Boundary = Annotated[float, Number(gt=0)]


def _check_boundaries(owner: BaseSchedule, boundaries: Sequence[float], count: int, what: str) -> None:
    if list(boundaries) != sorted(set(boundaries)):
        refuse(owner.classnm, "boundaries", boundaries, "must rise")
    if len(boundaries) != count:
        refuse(
            owner.classnm,
            "boundaries",
            boundaries,
            f"must hold {count} times, one less than there are {what}",
        )


class Composed(BaseSchedule, abstract=True):
    """Base of schedules that hold others: passes on what must be remembered."""

    def inner(self) -> list[Any]:
        """The schedules it holds."""
        raise NotImplementedError

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time, which counts for the schedules inside too, whatever their unit."""
        return self.rate_at(learning_rate, epoch, epoch)

    def observe(self, metric: float) -> None:
        """Hand the metric to the schedules inside."""
        for schedule in self.inner():
            if isinstance(schedule, BaseSchedule):
                schedule.observe(metric)

    def get_counters(self) -> dict[str, Any]:
        """What the schedules inside remember, by their place."""
        states = {str(k): s.get_counters() for k, s in enumerate(self.inner()) if isinstance(s, BaseSchedule)}
        return {place: state for place, state in states.items() if state}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        if not isinstance(counters, Mapping) or set(counters) != set(self.get_counters()):
            raise StateError(f"{self.classnm}: the counters {shown(counters)} do not fit")
        inner = self.inner()
        set_all_counters([(inner[int(place)], state) for place, state in counters.items()])

    def _rate_since(self, schedule: Any, base: float, begin: float, epoch: float, step: float) -> float:
        """What a schedule inside gives where its time starts at ``begin``; one of the other unit has its own clock."""
        if getattr(schedule, "unit", "epoch") != self.unit:
            return value_at(schedule, base, epoch, step)
        time = max((step if self.unit == "step" else epoch) - begin, 0)
        return value_at(schedule, base, time, time)


class Warmup(Composed):
    """Rises along a straight line, then follows another schedule from its beginning.

    A schedule of the other unit (epochs inside, a warm-up of some steps) is not shifted: it runs by its own clock, and
    the warm-up is a factor of it.

    Arguments:
        schedule: what follows; None: constant.
        length: time that the rise takes, > 0.
        start: share of the schedule's first value at the beginning, >= 0.
        unit: what time is counted in.

    >>> from neon_optim.schedules import Cosine
    >>> warm = Warmup(Cosine(length=90), length=10)
    >>> [round(warm.get_learning_rate(0.1, epoch), 4) for epoch in (0, 5, 10, 55, 100)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    schedule: AnySchedule | None = None
    length: Positive = 1.0
    _: KW_ONLY
    start: NonNegative = 0.0
    unit: Unit = "epoch"

    def inner(self) -> list[Any]:
        """The schedule that follows."""
        return [] if self.schedule is None else [self.schedule]

    def rate_at(self, base: float, epoch: float, step: float) -> float:
        """The rate when so many epochs and so many steps are done."""
        time = step if self.unit == "step" else epoch
        share = self.start + (1.0 - self.start) * min(time / self.length, 1.0)
        for schedule in self.inner():
            base = self._rate_since(schedule, base, self.length, epoch, step)
        return base * share


class Sequential(Composed):
    """Several schedules one after the other, each from its beginning.

    Arguments:
        schedules: two or more, in order; all must count time in ``unit``.
        boundaries: when the second, third, ... takes over.
        unit: what time is counted in.

    >>> from neon_optim.schedules import Constant, Linear
    >>> both = Sequential([Constant(), Linear(length=10)], boundaries=[5])
    >>> [round(both.get_learning_rate(0.1, epoch), 4) for epoch in (0, 4, 5, 10, 15)]
    [0.1, 0.1, 0.1, 0.05, 0.0]
    """

    schedules: Sequence[AnySchedule]
    boundaries: Sequence[Boundary]
    _: KW_ONLY
    unit: Unit = "epoch"

    def check_fields(self) -> None:
        """The boundaries rise, one less than there are schedules, which all count time alike."""
        _check_boundaries(self, self.boundaries, len(self.schedules) - 1, "schedules")
        for schedule in self.schedules:
            unit = self.unit
            if getattr(schedule, "unit", unit) != unit and not isinstance(schedule, Constant):
                refuse(self.classnm, "schedules", schedule, f"must count time in {unit}s, as the whole does")

    def inner(self) -> list[Any]:
        """The schedules."""
        return list(self.schedules)

    def rate_at(self, base: float, epoch: float, step: float) -> float:
        """The rate when so many epochs and so many steps are done."""
        time = step if self.unit == "step" else epoch
        index = sum(1 for boundary in self.boundaries if time >= boundary)
        begin = self.boundaries[index - 1] if index else 0
        return value_at(self.schedules[index], base, time - begin, time - begin)


class Chain(Composed):
    """A product: each schedule starts from what the one before gives.

    Arguments:
        schedules: one or more; each counts time in its own unit.

    >>> from neon_optim.schedules import Exponential, Linear
    >>> product = Chain([Linear(length=10), Exponential(0.5, length=10)])
    >>> round(product.get_learning_rate(0.1, epoch=5), 6)
    0.035355
    """

    schedules: Sequence[AnySchedule]

    def inner(self) -> list[Any]:
        """The schedules."""
        return list(self.schedules)

    def rate_at(self, base: float, epoch: float, step: float) -> float:
        """The rate when so many epochs and so many steps are done."""
        for schedule in self.schedules:
            base = value_at(schedule, base, epoch, step)
        return base


class Piecewise(BaseSchedule):
    """A value for each stretch of time, with jumps or straight lines between: base * value.

    Arguments:
        boundaries: when the next value holds (with ``interpolate``: is reached).
        values: factors, one more than there are boundaries; by themselves the values.
        interpolate: draw straight lines from (0, values[0]) to each (boundary, value).
        unit: what time is counted in.

    >>> steps = Piecewise([5, 8], [1.0, 0.5, 0.1])
    >>> [round(steps.get_learning_rate(0.1, epoch), 4) for epoch in (0, 4, 5, 8)]
    [0.1, 0.1, 0.05, 0.01]
    """

    boundaries: Sequence[Boundary]
    values: Sequence[Real]
    _: KW_ONLY
    interpolate: bool = False
    unit: Unit = "epoch"

    def check_fields(self) -> None:
        """The boundaries rise, one less than there are values."""
        _check_boundaries(self, self.boundaries, len(self.values) - 1, "values")

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        index = sum(1 for boundary in self.boundaries if epoch >= boundary)
        value = self.values[index]
        if self.interpolate and index < len(self.boundaries):
            begin = self.boundaries[index - 1] if index else 0.0
            share = (epoch - begin) / (self.boundaries[index] - begin)
            value += (self.values[index + 1] - value) * share
        return learning_rate * value
