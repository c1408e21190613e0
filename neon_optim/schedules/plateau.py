"""A schedule that watches the validation metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from neon_optim.described.arguments import NonNegative, NonNegativeInt, require
from neon_optim.described.checks import Number
from neon_optim.described.counters import check_counters
from neon_optim.errors import StateError
from neon_optim.schedules.schedule import BaseSchedule

__all__ = ["Plateau"]


class Plateau(BaseSchedule):
    """Lowers the rate where the validation metric has stopped to improve.

    Call ``optimizer.observe(metric)`` once an epoch. After more than ``patience`` of them without a new best the rate
    is multiplied by ``factor``. What it has seen is part of the training state: checkpoints restore it.

    Arguments:
        factor: what the rate is multiplied by, in (0, 1).
        patience: epochs without improvement that are let pass.
        mode: 'min' where less is better, 'max' where more is.
        threshold: how much better a new best must be, >= 0.
        threshold_mode: 'rel': relative to the best; 'abs': in the metric's own units.
        cooldown: epochs after a change during which nothing is counted.
        end: the least factor of the base; by itself the least value.

    >>> plateau = Plateau(factor=0.5, patience=1)
    >>> for loss in (1.0, 0.8, 0.8, 0.8):
    ...     plateau.observe(loss)
    >>> plateau.get_learning_rate(0.1, epoch=4)
    0.05
    """

    _: KW_ONLY
    factor: Annotated[float, Number(gt=0, lt=1)] = 0.1
    patience: NonNegativeInt = 10
    mode: Literal["min", "max"] = "min"
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: NonNegativeInt = 0
    end: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._seen: dict[str, Any] = {"scale": 1.0, "best": None, "bad": 0, "cooling": 0}

    def get_learning_rate(self, learning_rate: float, epoch: float) -> float:
        """The rate after what has been observed so far."""
        return float(learning_rate * self._seen["scale"])

    def observe(self, metric: float) -> None:
        """Take note of the metric of one more epoch; NaN is no improvement."""
        require("Plateau.observe", "metric", metric, Number(finite=False))
        seen = self._seen
        if self._improves(float(metric)):
            seen["best"], seen["bad"] = float(metric), 0
        else:
            seen["bad"] += 1
        if seen["cooling"] > 0:
            seen["cooling"] -= 1
            seen["bad"] = 0
        if seen["bad"] > self.patience:
            seen["scale"] = max(seen["scale"] * self.factor, self.end)
            seen["cooling"], seen["bad"] = self.cooldown, 0

    def _improves(self, metric: float) -> bool:
        best, sign = self._seen["best"], 1.0 if self.mode == "min" else -1.0
        if best is None:
            return not math.isnan(metric)
        margin = self.threshold * (abs(best) if self.threshold_mode == "rel" else 1.0)
        return sign * metric < sign * best - margin

    def get_counters(self) -> dict[str, Any]:
        """What it has seen."""
        return dict(self._seen)

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        own: dict[str, Any] = {**self._seen, "best": 0.0}
        unseen = isinstance(counters, Mapping) and counters.get("best", 0.0) is None
        seen = check_counters(self.classnm, own, {**counters, "best": 0.0} if unseen else counters)
        if Number(ge=0).verdict(seen["scale"]) is not None:
            raise StateError(
                f"{self.classnm}: counter 'scale' must be a number >= 0, received {seen['scale']}"
            )
        self._seen = {**seen, "best": None} if unseen else seen
