"""What a model is made of and what memory it takes, found out before any of it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

from neon_optim.backends.cpu.outline import OutlineBackend
from neon_optim.backends.dtypes import compute_type, float_dtype
from neon_optim.described.object import NervanaObject
from neon_optim.model.captured import capture_training
from neon_optim.model.shapes import Shape, columns, features
from neon_optim.stepping.parameters import NamedParameter
from neon_optim.stepping.rule import Rule

__all__ = ["DataOutline", "LayerOutline", "Memory", "Outline", "ParameterOutline"]


class LayerOutline(NamedTuple):
    """A layer: its name and class, the shape of a sample that comes out of it, and how many numbers it learns."""

    name: str
    classnm: str
    out_shape: Shape
    parameters: int


class ParameterOutline(NamedTuple):
    """A parameter: ``layer/name``, its shape, and the rule that updates it."""

    path: str
    shape: Shape
    rule: Rule


class Memory(NamedTuple):
    """Bytes of a run on the device.

    Attributes:
        parameters: the numbers that are learned.
        gradients: theirs.
        others: what layers keep beside them, such as running statistics.
        states: of the optimizer.
        minibatch: inputs, targets, and everything between them, forward and backward.
    """

    parameters: int
    gradients: int
    others: int
    states: int
    minibatch: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class DataOutline:
    """What of a dataset a model meets: shapes and numbers, without the samples.

    Arguments:
        dataset: minibatches.
    """

    def __init__(self, dataset: Any) -> None:
        self.name, self.ndata = dataset.name, int(dataset.ndata)
        self.nin, self.nout = int(dataset.nin), int(dataset.nout)
        self.lshape: Shape | None = getattr(dataset, "lshape", None)
        self.target_steps = int(getattr(dataset, "target_steps", 1))


class Outline:
    """A model with an optimizer, in shapes and without numbers.

    Arguments:
        model: a model that goes together with the data and the cost.
        dataset: minibatches to train on, or a :class:`DataOutline` of them.
        cost: what is made small.
        optimizer: what does it.
        batch_size: samples of a minibatch.
        datatype: of parameters and data.

    Attributes:
        batch_size: samples of a minibatch, no more than there are.
        in_shape: shape of a sample of the data.
        layers: the layers that do work, in order.
        parameters: every parameter.

    Raises:
        ArgumentError: the optimizer does not know what to do with a parameter.
        StateError: it cannot have a state for one.
        MemoryError: it is more than a program can address.

    The model is as it was before, but for its parameters: it has to be initialized anew.
    """

    def __init__(
        self, model: Any, dataset: Any, cost: Any, optimizer: Any, batch_size: int, datatype: str = "float32"
    ) -> None:
        self._model, self._dataset, self._cost = model, dataset, cost
        self.batch_size = min(batch_size, dataset.ndata)
        self._be = be = OutlineBackend(default_dtype=float_dtype(datatype), batch_size=self.batch_size)
        with self._current():
            model.initialize(dataset, cost)
            made = be.nbytes
            named: list[tuple[NamedParameter, Rule]] = optimizer.named_parameters(model.layers_to_optimize)
            self.in_shape: Shape = tuple(model.layers.in_shape)
            self.layers = [_layer(leaf) for leaf in model.layers.leaves()]
            self.parameters = [
                ParameterOutline(one.path, tuple(one.value[0][0].shape), rule) for one, rule in named
            ]
            pairs = [one.value[0] for one, _ in named]
            parameters, gradients = (sum(_bytes(pair[k]) for pair in pairs) for k in range(2))
            before = be.nbytes
            for (param, grad), (_, rule) in zip(pairs, named, strict=True):
                for slot in rule.slots:
                    rule.new_state(slot, param, grad)
            states = be.nbytes - before
        self._known = parameters, gradients, made - parameters - gradients, states

    @property
    def kept(self) -> int:
        """Bytes of what stays from step to step: all but the minibatch."""
        return sum(self._known)

    @cached_property
    def memory(self) -> Memory:
        """What all of it takes."""
        before = self._be.nbytes
        with self._current():
            self._pass_minibatch()
        return Memory(*self._known, self._be.nbytes - before)

    def _pass_minibatch(self) -> None:
        """Plan both passes of a minibatch."""
        be, model = self._be, self._model
        shape = model.layers.in_shape
        x = be.empty((features(shape), columns(shape, self.batch_size)))
        t = be.empty((self._dataset.nout, self.batch_size * getattr(self._dataset, "target_steps", 1)))
        folded = model._folded(self._cost)
        if capture_training(be, model.layers, model.parameters(), self._cost, folded, x, t) is None:
            dtype = compute_type([be.default_dtype])
            for leaf in model.layers.leaves():  # the outputs, and the error of the inputs
                for shape in (leaf.out_shape, leaf.in_shape):
                    be.empty((features(shape), columns(shape, self.batch_size)), dtype)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Within the block the backend of the outline is the current one."""
        before, NervanaObject.be = NervanaObject.be, self._be
        try:
            yield
        finally:
            NervanaObject.be = before


def _layer(leaf: Any) -> LayerOutline:
    count = sum(param.size for param, _ in leaf.pairs()) if leaf.learns else 0
    return LayerOutline(str(leaf.name), leaf.classnm, tuple(leaf.out_shape), count)


def _bytes(tensor: Any) -> int:
    return int(tensor.size) * int(tensor.dtype.itemsize)
