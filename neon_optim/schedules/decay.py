"""Schedules that go from one value to another: constant, linear, polynomial, exponential, cosine."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY

from neon_optim.described.arguments import Flag, NonNegative, Positive, Real
from neon_optim.schedules.schedule import BaseSchedule, Unit, polynomial_between, power_of

__all__ = ["Constant", "Cosine", "Exponential", "Linear", "Polynomial"]


class Constant(BaseSchedule):
    """One value: base * value.

    Arguments:
        value: the factor; by itself the value.

    >>> Constant(0.5).get_learning_rate(0.1, epoch=7)
    0.05
    """

    value: Real = 1.0

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate, whatever the time."""
        return float(learning_rate * self.value)


class Linear(BaseSchedule):
    """A straight line from one value to another, and that one from then on.

    base * (start + (end - start) * min(t / length, 1))

    Arguments:
        length: time that it takes, > 0.
        start, end: factors at both ends; by themselves the values.
        unit: what time is counted in.

    >>> fall = Linear(length=10, start=1.0, end=0.2)
    >>> [round(fall.get_learning_rate(0.1, epoch), 4) for epoch in (0, 5, 10, 99)]
    [0.1, 0.06, 0.02, 0.02]
    """

    length: Positive
    _: KW_ONLY
    start: Real = 1.0
    end: Real = 0.0
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        return learning_rate * polynomial_between(self.start, self.end, epoch / self.length, 1.0)


class Polynomial(BaseSchedule):
    """A power of the time that is left: base * ((start - end) * (1 - min(t / length, 1)) ** power + end).

    Arguments:
        length: time that it takes, > 0.
        power: exponent > 0; 1 is a straight line.
        start, end: factors at both ends; by themselves the values.
        unit: what time is counted in.

    >>> Polynomial(length=10, power=2).get_learning_rate(0.1, 5)
    0.025
    """

    length: Positive
    _: KW_ONLY
    power: Positive = 1.0
    start: Real = 1.0
    end: Real = 0.0
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        return learning_rate * polynomial_between(self.start, self.end, epoch / self.length, self.power)


class Exponential(BaseSchedule):
    """Truly exponential decay: base * rate ** (t / length), not below base * end.

    Not to be mixed up with neon's ExpSchedule, which is 1 / (1 + decay * t). A factor beyond the range of floats is
    infinite; an optimizer refuses it and says when.

    Arguments:
        rate: the factor over one ``length``, > 0.
        length: time after which the rate has that factor, > 0.
        staircase: change at whole multiples of ``length`` only.
        end: bound of the factor: the least where ``rate`` < 1, else the greatest; None: no bound.
        unit: what time is counted in.

    >>> halves = Exponential(0.5, length=10)
    >>> [round(halves.get_learning_rate(0.1, epoch), 4) for epoch in (0, 5, 10, 25)]
    [0.1, 0.0707, 0.05, 0.0177]
    """

    rate: Positive
    length: Positive = 1.0
    _: KW_ONLY
    staircase: Flag = False
    end: NonNegative | None = None
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        passed = epoch / self.length
        factor = power_of(self.rate, math.floor(passed) if self.staircase else passed)
        if self.end is not None:
            factor = max(factor, self.end) if self.rate < 1.0 else min(factor, self.end)
        return learning_rate * factor


class Cosine(BaseSchedule):
    """Half a period of a cosine: base * (end + (start - end) * (1 + cos(pi * min(t / length, 1))) / 2).

    Arguments:
        length: time until the end is reached, > 0.
        start, end: factors at both ends; by themselves the values.
        power: exponent > 0 of the cosine's share.
        unit: what time is counted in.

    References:
        Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.

    >>> fall = Cosine(length=80, end=0.1)
    >>> [round(fall.get_learning_rate(0.1, epoch), 4) for epoch in (0, 20, 40, 80, 100)]
    [0.1, 0.0868, 0.055, 0.01, 0.01]
    """

    length: Positive
    _: KW_ONLY
    start: Real = 1.0
    end: Real = 0.0
    power: Positive = 1.0
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        share = 0.5 * (1.0 + math.cos(math.pi * min(epoch / self.length, 1.0)))
        return learning_rate * (self.end + (self.start - self.end) * share**self.power)
