"""neon's costs of models: a cost of samples, its mean over the minibatch, and the buffers of both passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.compat.descriptions import NeonObject
from neon_optim.compat.neon.layers.base import interpret_in_shape

__all__ = ["GeneralizedCost", "GeneralizedCostMask", "GeneralizedGANCost"]


class GeneralizedCost(NeonObject):
    """A cost, with buffers.

    Arguments:
        costfunc: the cost of samples.

    Attributes:
        outputs: the cost of each sample of the last minibatch, (1, samples), of sequences of each step.
        deltas: its derivative by the outputs of the model.
        cost: the mean, an array of (1, 1).
    """

    def __init__(self, costfunc: Any, name: str | None = None):
        super().__init__(name=name)
        self.costfunc = costfunc
        self.outputs: Any = None
        self.deltas: Any = None
        self.cost_buffer = self.be.empty((1, 1))

    def initialize(self, in_obj: Any) -> None:
        """Make the buffers for the outputs of a layer."""
        self.prev_layer = in_obj
        self.parallelism = self.costfunc.parallelism = in_obj.parallelism
        _, self.nstep = interpret_in_shape(in_obj.out_shape)
        kept = {"parallelism": self.parallelism, "persist_values": False}
        self.outputs = self.be.iobuf((1, self.nstep), **kept)
        self.deltas = self.be.iobuf(in_obj.out_shape, **kept)
        self.cost = np.empty((1, 1), dtype=np.float32)

    def get_cost(self, inputs: Any, targets: Any) -> Any:
        """The mean over the minibatch."""
        self.outputs[:] = self.costfunc(inputs, targets)
        return self.mean_of_outputs()

    def mean_of_outputs(self, weight: float = 1.0) -> Any:
        """The mean of what the outputs hold, times a weight."""
        mean = self.be.mean(self.outputs, axis=1)
        self.cost_buffer[:] = mean if weight == 1.0 else mean * weight
        self.cost = self.cost_buffer.get()
        return self.cost

    def get_errors(self, inputs: Any, targets: Any) -> Any:
        """The derivative by the outputs of the model."""
        self.deltas[:] = self.costfunc.bprop(inputs, targets)
        return self.deltas


class GeneralizedGANCost(GeneralizedCost):
    """A cost of two networks that play against each other.

    Arguments:
        costfunc: a GANCost.
    """

    def get_cost(self, inputs: Any, targets: Any, cost_type: str | None = None) -> Any:
        """The mean over the minibatch, of the cost of a kind ('dis' or 'gen'); None: that of the cost itself."""
        self.outputs[:] = self.costfunc(inputs, targets, cost_type)
        return self.mean_of_outputs()


class GeneralizedCostMask(GeneralizedCost):
    """A cost of those elements alone that a mask lets through.

    Arguments:
        costfunc: the cost of samples.
        weights: factor of cost and derivative.

    Targets are pairs of the targets themselves and a mask of their shape.
    """

    def __init__(self, costfunc: Any, weights: float = 1.0, name: str | None = None):
        super().__init__(costfunc, name)
        self.weights = weights

    def get_cost(self, inputs: Any, targets_mask: Any) -> Any:
        """The mean over the minibatch."""
        targets, mask = targets_mask
        self.outputs[:] = self.costfunc(inputs * mask, targets * mask)
        return self.mean_of_outputs(self.weights)

    def get_errors(self, inputs: Any, targets_mask: Any) -> Any:
        """The derivative by the outputs of the model."""
        targets, mask = targets_mask
        self.deltas[:] = self.costfunc.bprop(inputs, targets) * mask * self.weights
        return self.deltas
