"""Passes of a model over minibatches of one shape, captured by the backend and done again for each minibatch.

Capturing takes the forward algebra of every layer, and the derivatives that follow from it, as one graph. What the
algebra is made of must not change from one minibatch to the next: settings, parameters and the backend. They are
looked at before each pass.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import Node
from neon_optim.model.container import Container
from neon_optim.model.layer import Layer
from neon_optim.model.settings_watch import SettingsWatch
from neon_optim.stepping.parameters import NamedParameters

__all__ = ["CapturedPasses", "capture_inference", "capture_training"]

_log = logging.getLogger(__name__)


class CapturedPasses:
    """Captured assignments, and what they were made from.

    Arguments:
        run: the assignments.
        layers: the layers, containers among them.
        parameters: those of the layers.
        cost: the cost; None where there is only the forward pass.
        outputs: what the forward pass alone fills; None where there are both.

    Attributes:
        preparing: the layers that set something before each minibatch.
    """

    def __init__(
        self,
        run: Any,
        layers: Container,
        parameters: NamedParameters,
        cost: Any = None,
        outputs: Any = None,
    ):
        self.run = run
        self._parameters = parameters
        self._cost = cost
        self.outputs = outputs
        stages = layers.stages()
        self.preparing = [stage for stage in stages if type(stage).prepare is not Layer.prepare]
        self._settings = SettingsWatch([layers, *stages, cost])

    def still_hold(self, parameters: NamedParameters, cost: Any = None) -> bool:
        """Whether the cost, settings and parameters are what they were; the list of parameters is that of before."""
        return cost is self._cost and parameters is self._parameters and self._settings.unchanged()


def capture_training(
    be: Any, layers: Container, parameters: NamedParameters, cost: Any, folded: bool, x: Any, t: Any
) -> CapturedPasses | None:
    """Both passes: called with inputs, targets and a tensor of (1, 1) that receives the sum of the costs.

    Arguments:
        folded: whether the cost has the derivative of the last layer folded in.

    Returns None where a layer is not stated as algebra alone.
    """
    stages = layers.stages()
    if not _are_algebra(stages):
        return None
    value = before = _as_operation(x)
    assignments = []
    for stage in stages:
        before = value
        value, becoming = stage.passed(value)
        assignments += becoming
    output, seed = (before, cost.folded_bprop(value, t)) if folded else (value, cost.bprop(value, t))
    pairs = [parameter.value[0] for parameter in parameters]
    trees = gradients(output, [param for param, _ in pairs], seed)
    total = be.empty((1, 1), dtype=np.float64)
    assignments += [(grad, tree) for (_, grad), tree in zip(pairs, trees, strict=True)]
    run = be.capture([*assignments, (total, be.sum(cost(value, t)))], inputs=[x, t, total])
    return CapturedPasses(run, layers, parameters, cost)


def capture_inference(
    be: Any, layers: Container, parameters: NamedParameters, x: Any
) -> CapturedPasses | None:
    """The forward pass outside of training: called with inputs, it fills the outputs that it has."""
    stages = layers.stages()
    if not _are_algebra(stages):
        return None
    value = _as_operation(x)
    for stage in stages:
        value, _ = stage.passed(value, inference=True)
    outputs = be.empty(value.shape, compute_type([be.default_dtype]))
    return CapturedPasses(be.capture([(outputs, value)], inputs=[x]), layers, parameters, outputs=outputs)


def _as_operation(x: Any) -> Any:
    """A tensor as an operation, so that a part of it is an operation too, and no tensor of its own."""
    return Node("reshape", x, shape=x.shape)


def _are_algebra(stages: Sequence[Layer]) -> bool:
    others = [str(stage.name) for stage in stages if not stage.is_algebra]
    if others:
        _log.info("passes run layer by layer: %s not stated as forward algebra alone", ", ".join(others))
    return not others
