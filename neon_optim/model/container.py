"""Layers made of layers."""

from __future__ import annotations

import itertools
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.described.arguments import Name, PositiveInt, raise_problems
from neon_optim.described.checks import Items, OfKind
from neon_optim.errors import Problem
from neon_optim.model.layer import AnyInitializer, Layer
from neon_optim.model.layers import Activation, AnyActivation, Bias, Linear

__all__ = ["Affine", "Container", "Sequential"]


class Container(Layer, abstract=True):
    """Layers that run one after the other; a subclass sets ``layers``."""

    layers = list[Layer]()

    def leaves(self) -> list[Layer]:
        """The layers that do work, those of inner containers included."""
        return [leaf for layer in self.layers for leaf in layer.leaves()]

    @property
    def layers_to_optimize(self) -> list[Layer]:
        """The layers that learn: what an optimizer is given."""
        return [leaf for leaf in self.leaves() if leaf.learns]

    def configure(self, nin: int) -> None:
        """Hand the number of features from layer to layer."""
        self.nin = nin
        learning = False
        for number, leaf in enumerate(self.leaves()):
            leaf.number = number
            leaf.propagates = learning
            leaf.configure(nin)
            nin = leaf.nout
            learning = learning or leaf.learns
        self.nout = nin

    def init_params(self) -> None:
        """First values for every layer, in order."""
        for leaf in self.leaves():
            leaf.init_params()

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of the last layer."""
        for leaf in self.leaves():
            inputs = leaf.fprop(inputs, inference)
        return inputs

    def bprop(self, error: Any) -> Any:
        """Through all layers, from the last to the first that has something to learn at or before it."""
        return backward(self.leaves(), error)

    def get_params(self) -> list[Any]:
        """The tuples of all layers."""
        return [leaf.get_params() for leaf in self.layers_to_optimize]


def backward(leaves: list[Layer], error: Any) -> Any:
    """The backward pass through layers; stops where nothing before needs the error."""
    for leaf in reversed(leaves):
        if error is None:
            break
        error = leaf.bprop(error)
    return error


class Sequential(Container):
    """Layers in a row.

    Arguments:
        layers: the layers, in order.

    Layers that were given no name are numbered within the container, class by class: ``Linear_0``, ``Linear_1``, …
    The names are the same in every process, and checkpoints rely on them.

    References:
        neon/layers/container.py.

    >>> from neon_optim.model import Constant, Linear
    >>> [layer.name for layer in Sequential([Linear(2, Constant()), Linear(3, Constant(), name="top")]).leaves()]
    ['Linear_0', 'top']
    """

    positional: ClassVar[tuple[str, ...]] = ("layers", "name")

    layers: Annotated[Any, Items(OfKind("layer"))]
    _: KW_ONLY
    name: Name = "Sequential"

    def check_fields(self) -> None:
        """At least one layer, none twice; those that were given no name are numbered."""
        if not self.layers:
            _reject_layers([], "must hold at least one layer")
        if len({id(leaf) for leaf in self.leaves()}) < len(self.leaves()):
            _reject_layers(self.layers, "must not hold the same layer twice")
        _number(self.units())

    def units(self) -> list[Layer]:
        """The units of the layers."""
        return [unit for layer in self.layers for unit in layer.units()]


def _reject_layers(received: Any, allowed: str) -> None:
    raise_problems("Sequential", [Problem("layers", received, allowed)])


def _number(units: list[Layer]) -> None:
    taken = {unit.name for unit in units if not unit.automatic_name}
    counts: dict[str, itertools.count] = {}
    for unit in units:
        if unit.automatic_name:
            numbers = counts.setdefault(unit.classnm, itertools.count())
            unit.rename(next(name for k in numbers if (name := f"{unit.classnm}_{k}") not in taken))


class Affine(Container):
    """Linear, then Bias, then Activation, the last two where asked for.

    Arguments:
        nout: features that go out.
        init: initializer of the weights.
        bias: initializer of the bias; None: no bias.
        activation: activation function; None: none.
        name: name of the Linear layer; the others are ``<name>_bias`` and ``<name>_<activation>``.

    References:
        neon/layers/layer.py, whose layers of this name are taken apart in the same way.

    >>> from neon_optim.model import Constant, Rectlin
    >>> [layer.name for layer in Affine(3, Constant(), Constant(), activation=Rectlin(), name="fc").leaves()]
    ['fc', 'fc_bias', 'fc_Rectlin']
    """

    positional: ClassVar[tuple[str, ...]] = ("nout", "init", "bias")

    nout: PositiveInt
    init: AnyInitializer
    bias: AnyInitializer | None = None
    activation: AnyActivation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = [Linear(nout=self.nout, init=self.init)]
        if self.bias is not None:
            self.layers.append(Bias(init=self.bias))
        if self.activation is not None:
            self.layers.append(Activation(transform=self.activation))
        self.rename(str(self.name))

    def rename(self, name: str) -> None:
        """Set the name, and those of the layers from it."""
        self.name = name
        suffixes = {"Linear": "", "Bias": "_bias"}
        for layer in self.layers:
            layer.rename(name + suffixes.get(layer.classnm, f"_{type(self.activation).__name__}"))
