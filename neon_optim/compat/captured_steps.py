"""The passes of a model of neon's as captured lists of kernels, where all of it is algebra of this package.

Layers of neon's that do no more than a layer of ours in them have that as their ``algebra``. The cost and the functions
of activations must be this package's too, since those of programs may do anything when they are called. What a layer
shows, its ``outputs``, is filled as its ``fprop`` does, but for layers within pathways; its ``deltas`` are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.derivatives import gradients
from neon_optim.backends.identity import same_objects
from neon_optim.backends.optree import Node
from neon_optim.compat.neon.layers.container import Sequential
from neon_optim.compat.neon.layers.layer import GeneralizedCost
from neon_optim.model.layer import Layer
from neon_optim.model.settings_watch import SettingsWatch
from neon_optim.model.shapes import columns
from neon_optim.model.transient import Transient

__all__ = ["CapturedSteps"]

_log = logging.getLogger(__name__)
_MOST = 16
"""Kinds of passes that are kept."""


class CapturedSteps:
    """The captured passes of a model, one for each shape of minibatches.

    Arguments:
        model: the model.
    """

    def __init__(self, model: Any):
        self._model = model
        self._kept = Transient()

    def train(self, x: Any, t: Any) -> bool:
        """Fill all gradients, and the cost's ``cost``; False, and nothing done, where that is no captured list."""
        if not (isinstance(x, Tensor) and isinstance(t, Tensor)):
            return False
        key = "training", x.shape, x.dtype, t.shape, t.dtype
        passes = self._passes(key, lambda: _capture_training(self._model, x, t))
        if passes is None:
            return False
        for core in passes.preparing:
            core.prepare(columns(core.in_shape, self._model.be.bsz))
        passes.run(x, t, passes.total)
        count = passes.outputs.shape[1]
        self._model.cost.cost = np.array(passes.total.get() / count, dtype=np.float32)
        return True

    def infer(self, x: Any) -> Any:
        """The outputs outside of training; None where they are filled by no captured list."""
        if not isinstance(x, Tensor):
            return None
        key = "inference", x.shape, x.dtype
        passes = self._passes(key, lambda: _capture_inference(self._model, x))
        if passes is None:
            return None
        passes.run(x)
        return passes.outputs

    def _passes(self, key: Any, capture: Callable[[], _Passes | None]) -> _Passes | None:
        known: _Passes | _Refused | None = self._kept.get(key)
        if known is None or not known.still_hold():
            if len(self._kept) >= _MOST:
                self._kept.clear()
            known = self._kept[key] = capture() or _Refused(self._model)
        return known if isinstance(known, _Passes) else None


class _Refused:
    """A model whose passes run layer by layer.

    Arguments:
        model: the model.
    """

    def __init__(self, model: Any):
        self._model = model
        self._kinds = self._now()

    def _now(self) -> list[Any]:
        layers = getattr(self._model.layers, "layers", ())
        return [type(self._model.layers), self._model.cost, *layers]

    def still_hold(self) -> bool:
        """Whether the layers and the cost are the same."""
        return same_objects(self._now(), self._kinds)


class _Passes:
    """A captured list, and what it was made from.

    Arguments:
        model: the model.
        run: the list.
        outputs: the outputs of the last layer.
        total: the sum of the costs, (1, 1); None in inference.

    Attributes:
        preparing: the layers of ours that set something before each minibatch.
    """

    def __init__(self, model: Any, run: Any, outputs: Any, total: Any = None):
        self.run, self.outputs, self.total = run, outputs, total
        self._model = model
        self._layers = list(model.layers.layers)
        self._states = self._now()
        self._tensors = self._held()
        leaves = _leaves(self._layers)
        self.preparing = [leaf for leaf in leaves if type(leaf).prepare is not Layer.prepare]
        things = [*self._layers, *leaves, *([] if total is None else [model.cost])]
        self._settings = SettingsWatch(things)

    def _now(self) -> list[Any]:
        return [
            self._model.be,
            self._model.cost if self.total is not None else None,
            *[(layer.core, layer.acc_on, layer.actual_bsz, layer.actual_seq_len) for layer in self._layers],
        ]

    def _held(self) -> list[Any]:
        """Every tensor of the layers that the list reads or fills."""
        pairs = [tensor for layer in self._layers for pair in layer.core.pairs() for tensor in pair]
        return [*pairs, *[layer.outputs for layer in self._layers]]

    def still_hold(self) -> bool:
        """Whether layers, settings and tensors are what they were."""
        return (
            same_objects(self._model.layers.layers, self._layers)
            and self._now() == self._states
            and self._settings.unchanged()
            and same_objects(self._held(), self._tensors)
        )


def _capture_training(model: Any, x: Any, t: Any) -> _Passes | None:
    cost = model.cost
    if type(cost) is not GeneralizedCost or not _is_ours(cost.costfunc) or not _is_algebra(model):
        return None
    value, assignments = _forward(model.layers.layers, x, inference=False)
    pairs = [pair for layer in model.layers.layers for pair in layer.algebra.pairs()]
    trees = gradients(value, [param for param, _ in pairs], cost.costfunc.bprop(value, t))
    assignments += [(grad, tree) for (_, grad), tree in zip(pairs, trees, strict=True)]
    total = model.be.empty((1, 1), dtype=np.float64)
    assignments.append((total, model.be.sum(cost.costfunc(value, t))))
    run = model.be.capture(assignments, inputs=[x, t, total])
    return _Passes(model, run, model.layers.layers[-1].outputs, total)


def _capture_inference(model: Any, x: Any) -> _Passes | None:
    if not _is_algebra(model):
        return None
    _, assignments = _forward(model.layers.layers, x, inference=True)
    run = model.be.capture(assignments, inputs=[x])
    return _Passes(model, run, model.layers.layers[-1].outputs)


def _forward(layers: list[Any], x: Any, inference: bool) -> tuple[Any, list[tuple[Any, Any]]]:
    """The outputs of the last layer as an op-tree; and what arrays, ``outputs`` of layers among them, become."""
    value: Any = Node("reshape", x, shape=x.shape)
    assignments: list[tuple[Any, Any]] = []
    owner: Any = None
    for layer in layers:
        if layer.owns_output:
            if owner is not None:
                assignments.append((owner.outputs, value))
            owner = layer
        value, becoming = layer.algebra.passed(value, inference)
        assignments += becoming
        if not layer.owns_output:
            layer.outputs = owner.outputs
    return value, [*assignments, (owner.outputs, value)]


def _is_algebra(model: Any) -> bool:
    others = list(_no_algebra(model))
    if others:
        _log.info("passes run layer by layer: %s not algebra of this package alone", ", ".join(others))
    return not others


def _no_algebra(model: Any) -> Iterator[str]:
    """What keeps a model from being one captured list."""
    container = model.layers
    if type(container) is not Sequential:
        yield type(container).__name__
        return
    if not container.layers[0].owns_output:
        yield f"{container.layers[0].name} changes the data and is"
    for layer in container.layers:
        core = layer.algebra
        whole = layer.actual_bsz is None and layer.actual_seq_len is None
        if core is None or not whole or not all(map(_is_algebra_of_ours, core.leaves())):
            yield str(layer.name)


def _is_algebra_of_ours(leaf: Layer) -> bool:
    return leaf.is_algebra and _is_ours(getattr(leaf, "transform", None))


def _leaves(layers: list[Any]) -> list[Layer]:
    """The layers of ours that do the work, those within pathways included."""
    return [leaf for layer in layers for leaf in layer.core.leaves()]


def _is_ours(thing: Any) -> bool:
    return thing is None or type(thing).__module__.startswith("neon_optim.")
