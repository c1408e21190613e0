"""Schedules that rise and fall: cosine with restarts, one cycle, many cycles."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Annotated, Literal

from neon_optim.described.arguments import NonNegative, Positive, Real
from neon_optim.described.checks import Number
from neon_optim.schedules.schedule import BaseSchedule, Unit, power_of

__all__ = ["CosineRestarts", "Cyclic", "OneCycle"]

AtLeastOne = Annotated[float, Number(ge=1)]


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a period of a cosine."""
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


class CosineRestarts(BaseSchedule):
    """A cosine that starts anew after each cycle: base * (end + (start - end) * (1 + cos(pi * t' / T')) / 2).

    t' is the time since the last restart, T' the length of the cycle: ``length``, then ``growth`` times as long each.

    Arguments:
        length: time of the first cycle, > 0.
        growth: how much longer each cycle is than the one before, >= 1.
        start, end: factors at both ends of a cycle; by themselves the values.
        unit: what time is counted in.

    References:
        Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.

    >>> warm = CosineRestarts(length=10, growth=2)
    >>> [round(warm.get_learning_rate(0.1, epoch), 4) for epoch in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """

    length: Positive
    _: KW_ONLY
    growth: AtLeastOne = 1.0
    start: Real = 1.0
    end: Real = 0.0
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        since, length = self._cycle(epoch)
        return learning_rate * _cosine(self.start, self.end, since / length)

    def _cycle(self, time: float) -> tuple[float, float]:
        """Time since the last restart, and the length of the cycle."""
        if self.growth == 1.0:
            return math.fmod(time, self.length), self.length
        past = math.floor(math.log(time / self.length * (self.growth - 1.0) + 1.0, self.growth))
        begin = [
            self.length * (power_of(self.growth, k) - 1.0) / (self.growth - 1.0) for k in (past, past + 1)
        ]
        if time >= begin[1]:  # the logarithm fell short of a whole number
            past, begin[0] = past + 1, begin[1]
        return time - begin[0], self.length * power_of(self.growth, past)


class OneCycle(BaseSchedule):
    """Up to a peak and down to almost nothing, once; then it stays there.

    From peak / ``div_factor`` up to peak within ``pct_start`` of the time, then down to
    peak / (``div_factor`` * ``final_div_factor``).

    Arguments:
        length: time of the cycle, > 0.
        peak: factor at the peak; by itself the value.
        pct_start: share of the time that it rises, in (0, 1).
        div_factor: peak over start, > 0.
        final_div_factor: start over end, > 0.
        shape: of both sides: 'cosine' or 'linear'.
        unit: what time is counted in.

    References:
        Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018.

    >>> one = OneCycle(length=100)
    >>> [round(one.get_learning_rate(0.1, epoch), 4) for epoch in (0, 15, 30, 65, 100)]
    [0.004, 0.052, 0.1, 0.05, 0.0]
    """

    length: Positive
    _: KW_ONLY
    peak: Real = 1.0
    pct_start: Annotated[float, Number(gt=0, lt=1)] = 0.3
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    shape: Literal["cosine", "linear"] = "cosine"
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        passed = min(epoch / self.length, 1.0)
        start = self.peak / self.div_factor
        if passed < self.pct_start:
            ends, share = (start, self.peak), passed / self.pct_start
        else:
            ends, share = (
                (self.peak, start / self.final_div_factor),
                (passed - self.pct_start) / (1 - self.pct_start),
            )
        if self.shape == "linear":
            return learning_rate * (ends[0] + (ends[1] - ends[0]) * share)
        return learning_rate * _cosine(*ends, share)


class Cyclic(BaseSchedule):
    """Up and down along straight lines, again and again: between base * low and base * high.

    Arguments:
        rise: time from low to high, > 0.
        fall: time from high to low, > 0; None: as long as ``rise``.
        low, high: factors; by themselves the values.
        decay: what the height of a cycle is multiplied by for each cycle done, > 0; 0.5 is 'triangular2'.
        unit: what time is counted in.

    References:
        Smith, Cyclical learning rates for training neural networks, WACV 2017.

    >>> triangle = Cyclic(rise=4, low=0.1, high=1.0)
    >>> [round(triangle.get_learning_rate(0.1, epoch), 4) for epoch in (0, 2, 4, 6, 8, 12)]
    [0.01, 0.055, 0.1, 0.055, 0.01, 0.1]
    """

    rise: Positive
    _: KW_ONLY
    fall: Positive | None = None
    low: NonNegative = 0.1
    high: NonNegative = 1.0
    decay: Positive = 1.0
    unit: Unit = "epoch"

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at a time."""
        fall = self.rise if self.fall is None else self.fall
        cycle, since = divmod(epoch, self.rise + fall)
        share = since / self.rise if since <= self.rise else (self.rise + fall - since) / fall
        return learning_rate * (self.low + (self.high - self.low) * share * power_of(self.decay, cycle))
