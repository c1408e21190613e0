"""A range test: the cost of a few minibatches with rates that grow, which tells the rates that a model learns with."""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

from neon_optim.errors import ArgumentError, NonFiniteError
from neon_optim.model.callbacks import Hooks
from neon_optim.model.training import Training

__all__ = ["RangeTest", "range_test"]

_MEMORY = 0.9
_DIVERGED = 4.0
"""How much an average keeps of itself; the multiple of the smallest cost at which a test ends."""


class RangeTest(NamedTuple):
    """What a range test has found.

    Attributes:
        rates: of each step.
        costs: of each step, averaged over those before it, the nearest counting most.
        steepest: the rate at which the cost falls fastest over the logarithm of the rate, where it is below its mean
            until it is smallest; None: it never falls.
        smallest: the rate at which it is smallest.
    """

    rates: list[float]
    costs: list[float]
    steepest: float | None
    smallest: float

    @property
    def suggested(self) -> float | None:
        """A rate to begin with: where the cost falls fastest, and a tenth of that where it is smallest at most."""
        return None if self.steepest is None else min(self.steepest, self.smallest / 10)


def range_test(
    model: Any, dataset: Any, cost: Any, optimizer: Any, lowest: float, highest: float, steps: int
) -> RangeTest:
    """Train a model for some minibatches with rates that grow by the same factor from each to the next.

    Model and optimizer are not what they were after it: make new ones to train.

    Arguments:
        lowest, highest: the first and the last rate, of the first algorithm; those of others keep their ratio to it.
        steps: minibatches, at least 2.

    References:
        Smith, Cyclical learning rates for training neural networks, WACV 2017.

    Raises:
        ArgumentError: an optimizer has no rate that can be set.
    """
    hooks = _Growing(optimizer, lowest, highest, steps)
    epochs = model.epoch_index + math.ceil(steps / dataset.nbatches) + 1
    training = Training(model, dataset, cost, optimizer, epochs, [hooks])
    hooks.bind(model)
    with contextlib.suppress(NonFiniteError):
        training.run()
    return hooks.found()


class _Growing(Hooks):
    """Sets the rate before each minibatch, and ends the test."""

    def __init__(self, optimizer: Any, lowest: float, highest: float, steps: int) -> None:
        self._optimizer, self._steps = optimizer, steps
        self._rates = [lowest * (highest / lowest) ** (k / (steps - 1)) for k in range(steps)]
        self._costs: list[float] = []
        self._sum = 0.0

    def bind(self, model: Any) -> None:
        """Find the algorithms, and give them the first rate."""
        rows = self._optimizer.named_parameters(model.layers_to_optimize)
        found = {id(rule.algorithm): rule.algorithm for _, rule in rows if rule is not None}
        self._algorithms = list(found.values())
        begin = [float(algorithm.rate_at(0, 0)) for algorithm in self._algorithms]
        if not begin or not all(begin):
            raise ArgumentError("a range test needs optimizers with a learning rate above 0")
        self._ratios = [rate / begin[0] for rate in begin]
        for algorithm in self._algorithms:
            if getattr(algorithm, "schedule", None) is not None:
                algorithm.schedule = None
        self._set(self._rates[0])

    def _set(self, rate: float) -> None:
        for algorithm, ratio in zip(self._algorithms, self._ratios, strict=True):
            algorithm.learning_rate = rate * ratio

    def on_minibatch_end(self, training: Training) -> None:
        """Note the cost, and go on with the next rate."""
        training.read_costs()
        self._sum = _MEMORY * self._sum + (1 - _MEMORY) * training.steps[-1][1]
        self._costs.append(self._sum / (1 - _MEMORY ** (len(self._costs) + 1)))
        count = len(self._costs)
        if count == self._steps or self._costs[-1] > _DIVERGED * min(self._costs):
            training.stop()
        else:
            self._set(self._rates[count])

    def found(self) -> RangeTest:
        """What the steps so far tell."""
        costs, rates = self._costs, self._rates[: len(self._costs)]
        if len(costs) < 3:
            raise ArgumentError(f"training diverges at once, with a rate of {self._rates[0]:g}: begin lower")
        smallest = min(range(len(costs)), key=lambda k: costs[k])
        level = sum(costs[: smallest + 1]) / (smallest + 1)
        falling = [k for k in range(1, smallest) if costs[k] < level and costs[k + 1] < costs[k - 1]]
        steepest = min(falling, key=lambda k: costs[k + 1] - costs[k - 1], default=None)
        return RangeTest(rates, costs, None if steepest is None else rates[steepest], rates[smallest])
