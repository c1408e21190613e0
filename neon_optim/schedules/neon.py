"""neon's six schedules, each a pure function of (rate, epoch).

Source: neon/optimizers/optimizer.py. Differences from it (StepSchedule, PolySchedule, lists given as tuples or arrays)
stand in docs/neon-differences.md.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from neon_optim.described.arguments import NonNegative, NonNegativeInt, PositiveInt, refuse
from neon_optim.described.checks import Either, Items, Nothing, Number
from neon_optim.schedules.schedule import BaseSchedule, power_of

__all__ = ["ExpSchedule", "PolySchedule", "PowerSchedule", "Schedule", "ShiftSchedule", "StepSchedule"]

_EPOCH = Number(ge=0, integer=True)
_EPOCHS = Items(_EPOCH, arrays=True)
_FACTOR = Number(ge=0)
_RATES = Items(_FACTOR, arrays=True)

Epochs = Annotated[Any, _EPOCHS]
Rates = Annotated[Any, _RATES]
EpochsOrInterval = Annotated[Any, Either(_EPOCHS, Number(ge=1, integer=True), Nothing())]
FactorOrRates = Annotated[Any, Either(_FACTOR, _RATES)]


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__")


class Schedule(BaseSchedule):
    """Multiplies the rate by a factor at given epochs.

    Arguments:
        step_config: epochs (from 0) at which the rate is multiplied; or an interval, every so many epochs; or None
            for a constant rate.
        change: the factor; or, with a list of epochs, the list of rates from those epochs on (as StepSchedule).

    >>> halve = Schedule([2, 6], 0.5)
    >>> [halve.get_learning_rate(1.0, epoch) for epoch in (0, 1, 2, 5, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    >>> Schedule(3, 0.1).get_learning_rate(1.0, 3)
    0.1
    """

    step_config: EpochsOrInterval = None
    change: FactorOrRates = 1.0

    def check_fields(self) -> None:
        """A list of rates goes with a list of as many epochs."""
        if _is_list(self.change):
            if not _is_list(self.step_config):
                allowed = "must be a list of epochs where change is a list"
                refuse(self.classnm, "step_config", self.step_config, allowed)
            _check_lengths(self.classnm, self.step_config, self.change)

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        if self.step_config is None:
            return float(learning_rate)
        if _is_list(self.change):
            return _rate_from(self.step_config, self.change, learning_rate, epoch)
        if _is_list(self.step_config):
            passed = sum(1 for boundary in self.step_config if epoch >= boundary)
        else:
            passed = _whole(epoch, self.step_config)
        return float(learning_rate * power_of(self.change, passed))


def _check_lengths(owner: str, epochs: list[int], rates: list[float]) -> None:
    if len(epochs) != len(rates):
        allowed = f"must hold one rate for each of the {len(epochs)} epochs of step_config"
        refuse(owner, "change", rates, allowed)


def _whole(epoch: float, interval: int) -> int:
    """How often an interval has passed; exact for integers of any size."""
    return epoch // interval if isinstance(epoch, int) else math.floor(epoch / interval)


def _rate_from(epochs: list[int], rates: list[float], learning_rate: float, epoch: float) -> float:
    """The rate of the latest boundary that is not after the epoch; the base rate before the first."""
    passed = [(boundary, k) for k, boundary in enumerate(epochs) if boundary <= epoch]
    return float(rates[max(passed)[1]] if passed else learning_rate)


class StepSchedule(BaseSchedule):
    """Replaces the rate at given epochs.

    Arguments:
        step_config: epochs (from 0).
        change: the rate from each of those epochs on, as many as there are epochs.

    >>> steps = StepSchedule([2, 6], [0.6, 0.4])
    >>> [steps.get_learning_rate(0.1, epoch) for epoch in (0, 2, 5, 6, 100)]
    [0.1, 0.6, 0.6, 0.4, 0.4]
    """

    step_config: Epochs
    change: Rates

    def check_fields(self) -> None:
        """There are as many rates as epochs."""
        _check_lengths(self.classnm, self.step_config, self.change)

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        return _rate_from(self.step_config, self.change, learning_rate, epoch)


class PowerSchedule(BaseSchedule):
    """Multiplies the rate by a factor every so many epochs: rate * change ** floor(epoch / step_config).

    Arguments:
        step_config: epochs between two changes, at least 1.
        change: the factor.

    A power beyond the range of floats is infinite; an optimizer refuses it and says when.

    >>> PowerSchedule(2, 0.5).get_learning_rate(0.1, 4)
    0.025
    """

    step_config: PositiveInt
    change: NonNegative

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        return float(learning_rate * power_of(self.change, _whole(epoch, self.step_config)))


class ExpSchedule(BaseSchedule):
    """Decays the rate with the inverse of time: rate / (1 + decay * epoch). The name is neon's.

    Arguments:
        decay: how fast, at least 0.

    >>> ExpSchedule(0.5).get_learning_rate(0.1, 2)
    0.05
    """

    decay: NonNegative

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        return float(learning_rate / (1.0 + self.decay * epoch))


class PolySchedule(BaseSchedule):
    """Lets the rate fall to 0 along a polynomial: rate * (1 - min(epoch / total_epochs, 1)) ** power.

    Arguments:
        total_epochs: the epoch at which the rate is 0.
        power: exponent; 1 is a straight line.

    >>> PolySchedule(10, 2).get_learning_rate(0.1, 5)
    0.025
    """

    total_epochs: Annotated[float, Number(gt=0)]
    power: Annotated[float, Number(gt=0)]

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        return float(learning_rate * (1.0 - min(epoch / self.total_epochs, 1.0)) ** self.power)


class ShiftSchedule(BaseSchedule):
    """Divides the rate by a power of two every so many epochs: rate / 2 ** (shift_size * floor(epoch / interval)).

    In the end it is 0.

    Arguments:
        interval: epochs between two changes, at least 1.
        shift_size: by how many powers of two.

    >>> ShiftSchedule(3, 2).get_learning_rate(0.1, 3)
    0.025
    """

    interval: PositiveInt
    shift_size: NonNegativeInt = 1

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate at an epoch (from 0)."""
        return math.ldexp(learning_rate, -self.shift_size * _whole(epoch, self.interval))
