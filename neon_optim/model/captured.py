"""Passes of a model over minibatches of one shape, captured by the backend and done again for each minibatch.

Capturing takes the forward algebra of every layer, and the derivatives that follow from it, as one graph. What the
algebra is made of must not change from one minibatch to the next: settings, parameters and the backend. They are
looked at before each pass.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.optree import Node
from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.object import NervanaObject
from neon_optim.model.layer import Layer

__all__ = ["CapturedPasses", "capture_inference", "capture_training"]

_log = logging.getLogger(__name__)


class CapturedPasses:
    """Captured assignments, and what they were made from.

    Arguments:
        run: the assignments.
        leaves: the layers.
        things: objects with settings, the layers among them.
    """

    def __init__(self, run: Any, leaves: Sequence[Layer], things: Sequence[Any]):
        self.run = run
        self._leaves = leaves
        settings = list(dict.fromkeys(found for thing in things for found in _with_settings(thing)))
        self._settings = [vars(thing) for thing in settings]
        self._changes = self._count()
        self._pairs = [pair for leaf in leaves for pair in leaf.pairs()]

    def _count(self) -> list[int]:
        return [values["_changes"] for values in self._settings]

    def still_hold(self, leaves: Sequence[Layer]) -> bool:
        """Whether layers, settings and parameters are what they were."""
        if self._count() != self._changes or len(leaves) != len(self._leaves):
            return False
        if any(a is not b for a, b in zip(leaves, self._leaves, strict=True)):
            return False
        pairs = [pair for leaf in leaves for pair in leaf.pairs()]
        return all(a[0] is b[0] and a[1] is b[1] for a, b in zip(pairs, self._pairs, strict=True))


def capture_training(
    be: Any, leaves: Sequence[Layer], cost: Any, folded: bool, x: Any, t: Any
) -> CapturedPasses | None:
    """Both passes: called with inputs, targets and a tensor of (1, 1) that receives the sum of the costs.

    Arguments:
        folded: whether the cost has the derivative of the last layer folded in.

    Returns None where a layer is not stated as algebra alone.
    """
    if not _are_algebra(leaves):
        return None
    value = before = _as_operation(x)
    assignments = []
    for leaf in leaves:
        before = value
        value, becoming = leaf.passed(value)
        assignments += becoming
    output, seed = (before, cost.folded_bprop(value, t)) if folded else (value, cost.bprop(value, t))
    pairs = [pair for leaf in leaves for pair in leaf.pairs()]
    trees = gradients(output, [param for param, _ in pairs], seed)
    total = be.empty((1, 1), dtype=np.float64)
    assignments += [(grad, tree) for (_, grad), tree in zip(pairs, trees, strict=True)]
    run = be.capture([*assignments, (total, be.sum(cost(value, t)))], inputs=[x, t, total])
    return CapturedPasses(run, leaves, [*leaves, cost])


def capture_inference(be: Any, leaves: Sequence[Layer], x: Any, outputs: Any) -> CapturedPasses | None:
    """The forward pass outside of training: called with inputs, it fills ``outputs``."""
    if not _are_algebra(leaves):
        return None
    value = _as_operation(x)
    for leaf in leaves:
        value, _ = leaf.passed(value, inference=True)
    return CapturedPasses(be.capture([(outputs, value)], inputs=[x]), leaves, leaves)


def _as_operation(x: Any) -> Any:
    """A tensor as an operation, so that a part of it is an operation too, and no tensor of its own."""
    return Node("reshape", x, shape=x.shape)


def _are_algebra(leaves: Sequence[Layer]) -> bool:
    others = [str(leaf.name) for leaf in leaves if not leaf.is_algebra]
    if others:
        _log.info("passes run layer by layer: %s not stated as forward algebra alone", ", ".join(others))
    return not others


def _with_settings(thing: Any) -> Iterator[NervanaObject]:
    """An object, and those that its settings hold."""
    if isinstance(thing, NervanaObject):
        yield thing
        for name in constructor_arguments(type(thing)):
            yield from _with_settings(getattr(thing, name, None))
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from _with_settings(item)
