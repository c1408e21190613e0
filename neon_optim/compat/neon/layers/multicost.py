"""neon's cost of several outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_optim.compat.descriptions import NeonObject

__all__ = ["Multicost"]


class Multicost(NeonObject):
    """A cost for each output of a Tree.

    Arguments:
        costs: the costs.
        weights: for each the factor of it and of its derivative; None: 1.

    Attributes:
        outputs, cost: those of the first cost.
        deltas: those of all.
    """

    def __init__(self, costs: Sequence[Any], weights: Sequence[float] | None = None, name: str | None = None):
        super().__init__(name=name)
        self.costs = costs
        self.weights = [1.0] * len(costs) if weights is None else weights
        self.deltas: Any = None
        self.inputs: Any = None
        self.costfunc = costs[0].costfunc

    @property
    def cost(self) -> Any:
        """The mean of the first cost."""
        return self.costs[0].cost

    @property
    def outputs(self) -> Any:
        """The first cost of each sample."""
        return self.costs[0].outputs

    def initialize(self, in_obj: Any) -> None:
        """Make the buffers for the outputs of a container, or of a list of layers."""
        layers = in_obj if isinstance(in_obj, list) else in_obj.get_terminal()
        if not isinstance(layers, list):
            raise TypeError(f"{self.classnm} needs a layer for each cost, received {in_obj}")
        for cost, layer in zip(self.costs, layers, strict=False):
            cost.initialize(layer)

    def get_cost(self, inputs: Any, targets: Any) -> Any:
        """The weighted sum of the means.

        Arguments:
            inputs: a list of outputs; of one output that is not in a list the first cost is taken.
            targets: a list of targets, where None has no cost; or targets that all costs have.
        """
        if not isinstance(inputs, list):
            return self.costs[0].get_cost(inputs, targets)
        costs = [
            weight * cost.get_cost(y, t)
            for cost, weight, y, t in self._each(inputs, targets)
            if t is not None
        ]
        return sum(costs[1:], costs[0])

    def get_errors(self, inputs: Any, targets: Any) -> Any:
        """The weighted derivatives, a list; where a target is None it is what it was."""
        for cost, weight, y, t in self._each(inputs, targets):
            if t is None:
                continue
            errors = cost.get_errors(y, t)
            for error in errors if isinstance(errors, list) else [errors]:
                error[:] = error * weight
        self.deltas = [cost.deltas for cost in self.costs]
        return self.deltas

    def _each(self, inputs: Any, targets: Any) -> Any:
        own = targets if isinstance(targets, (list, tuple)) else [targets] * len(self.costs)
        return zip(self.costs, self.weights, inputs, own, strict=False)
