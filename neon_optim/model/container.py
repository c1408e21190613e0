"""Layers made of layers."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.described.arguments import Flag, Name, PositiveInt, raise_problems
from neon_optim.described.checks import Items, OfKind
from neon_optim.errors import Problem
from neon_optim.model.batch_norm import BatchNorm
from neon_optim.model.convolution import Convolution, Dilation, FilterShape, Padding, Strides
from neon_optim.model.deconvolution import Deconvolution
from neon_optim.model.layer import AnyInitializer, Layer, OptionalInitializer
from neon_optim.model.layers import Activation, Bias, Linear, OptionalActivation
from neon_optim.model.shapes import Shape, features

__all__ = ["Affine", "Compound", "Container", "Conv", "Deconv", "LayerGroup", "Sequential"]


class LayerGroup(Layer, abstract=True):
    """Layers that belong together; a subclass sets ``layers``."""

    layers = list[Any]()

    def leaves(self) -> list[Layer]:
        """The layers that do work, those of inner groups included."""
        return [leaf for layer in self.layers for leaf in layer.leaves()]

    @property
    def layers_to_optimize(self) -> list[Layer]:
        """The layers that learn: what an optimizer is given."""
        return [leaf for leaf in self.leaves() if leaf.learns]

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """Those of all layers, as ``layer/array``."""
        return {
            f"{leaf.name}/{name}": array
            for leaf in self.leaves()
            for name, array in leaf.get_arrays(inference).items()
        }

    def init_params(self) -> None:
        """First values for every layer, in order."""
        for leaf in self.leaves():
            leaf.init_params()

    def get_params(self) -> list[Any]:
        """The tuples of all layers."""
        return [row for leaf in self.layers_to_optimize for row in leaf.rows()]


class Container(LayerGroup, abstract=True):
    """Layers that run one after the other."""

    def stages(self) -> list[Layer]:
        """Those of all layers."""
        return [stage for layer in self.layers for stage in layer.stages()]

    def configure(self, nin: int) -> None:
        """Hand the shape of a sample from layer to layer."""
        self.nin = nin
        shape = self.in_shape
        learning = False
        for stage in self.stages():
            stage.propagates = learning
            stage.in_shape = shape
            stage.configure(features(shape))
            shape = stage.out_shape
            learning = learning or stage.learns
        for number, leaf in enumerate(self.leaves()):
            leaf.number = number
        self.nout = features(shape)

    @property
    def out_shape(self) -> Shape:
        """That of the last layer."""
        return self.stages()[-1].out_shape

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of the last layer."""
        for stage in self.stages():
            inputs = stage.fprop(inputs, inference)
        return inputs

    def bprop(self, error: Any) -> Any:
        """Through all layers, from the last to the first that has something to learn at or before it."""
        return backward(self.stages(), error)


def backward(stages: list[Layer], error: Any) -> Any:
    """The backward pass through layers; stops where nothing before needs the error."""
    for stage in reversed(stages):
        if error is None:
            break
        error = stage.bprop(error)
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


class Compound(Container, abstract=True):
    """A layer with weights, then Bias or BatchNorm, then Activation, the latter where asked for.

    Arguments:
        bias: initializer of the bias; None: no bias.
        batch_norm: normalize what the weights give; there is no bias then, as BatchNorm has one.
        activation: activation function; None: none.
        name: name of the layer with the weights; the others are ``<name>_bias``, ``<name>_bnorm`` and
            ``<name>_<activation>``.
    """

    _: KW_ONLY
    bias: OptionalInitializer = None
    batch_norm: Flag = False
    activation: OptionalActivation = None

    def check_fields(self) -> None:
        """There is no bias before a BatchNorm, which would take it away again."""
        if self.batch_norm and self.bias is not None:
            allowed = "must be None with batch_norm, which takes any bias away and adds its own (beta)"
            raise_problems(self.classnm, [Problem("bias", self.bias, allowed)])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = [self.weights()]
        self._suffixes = [""]
        if self.bias is not None:
            self._append(Bias(init=self.bias), "_bias")
        if self.batch_norm:
            self._append(BatchNorm(), "_bnorm")
        if self.activation is not None:
            self._append(Activation(transform=self.activation), f"_{type(self.activation).__name__}")
        self.rename(str(self.name))

    def _append(self, layer: Layer, suffix: str) -> None:
        self.layers.append(layer)
        self._suffixes.append(suffix)

    @abstractmethod
    def weights(self) -> Layer:
        """The layer with the weights."""

    def rename(self, name: str) -> None:
        """Set the name, and those of the layers from it."""
        self.name = name
        for layer, suffix in zip(self.layers, self._suffixes, strict=True):
            layer.rename(name + suffix)


class Affine(Compound):
    """Linear, then Bias or BatchNorm, then Activation, the latter where asked for.

    Arguments:
        nout: features that go out.
        init: initializer of the weights.
        bias: initializer of the bias; None: no bias.
        batch_norm: normalize what the weights give; there is no bias then, as BatchNorm has one.
        activation: activation function; None: none.
        name: name of the Linear layer; the others are ``<name>_bias``, ``<name>_bnorm`` and ``<name>_<activation>``.

    References:
        neon/layers/layer.py, whose layers of this name are taken apart in the same way.

    >>> from neon_optim.model import Constant, Rectlin
    >>> [layer.name for layer in Affine(3, Constant(), Constant(), activation=Rectlin(), name="fc").leaves()]
    ['fc', 'fc_bias', 'fc_Rectlin']
    """

    positional: ClassVar[tuple[str, ...]] = ("nout", "init", "bias", "batch_norm", "activation", "name")

    _: KW_ONLY
    nout: PositiveInt
    init: AnyInitializer

    def weights(self) -> Layer:
        """A Linear layer."""
        return Linear(nout=self.nout, init=self.init)


class Conv(Compound):
    """Convolution, then Bias or BatchNorm, then Activation, the latter where asked for.

    Arguments:
        fshape, strides, padding, dilation: those of :class:`Convolution`.
        init: initializer of the filters.
        bias: initializer of the bias, one number for each filter; None: no bias.
        batch_norm: normalize what each filter gives; there is no bias then, as BatchNorm has one.
        activation: activation function; None: none.
        name: name of the Convolution; the others are ``<name>_bias``, ``<name>_bnorm`` and ``<name>_<activation>``.

    References:
        neon/layers/layer.py, whose layers of this name are taken apart in the same way.

    >>> from neon_optim.model import Gaussian, Rectlin
    >>> conv = Conv([3, 3, 8], Gaussian(), padding=1, batch_norm=True, activation=Rectlin(), name="c")
    >>> [layer.name for layer in conv.leaves()]
    ['c', 'c_bnorm', 'c_Rectlin']
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("fshape", "init", "strides", "padding", "dilation"),
        *("bias", "batch_norm", "activation", "name"),
    )

    _: KW_ONLY
    fshape: FilterShape
    init: AnyInitializer
    strides: Strides = 1
    padding: Padding = 0
    dilation: Dilation = 1

    def weights(self) -> Layer:
        """A Convolution."""
        return Convolution(
            fshape=self.fshape,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            init=self.init,
        )


class Deconv(Conv):
    """Deconvolution, then Bias or BatchNorm, then Activation, the latter where asked for.

    Arguments:
        fshape, strides, padding, dilation: those of :class:`Deconvolution`.
        init: initializer of the filters.
        bias: initializer of the bias, one number for each channel that goes out; None: no bias.
        batch_norm: normalize what goes out in each channel; there is no bias then, as BatchNorm has one.
        activation: activation function; None: none.
        name: name of the Deconvolution; the others are ``<name>_bias``, ``<name>_bnorm`` and ``<name>_<activation>``.

    References:
        neon/layers/layer.py, whose layers of this name are taken apart in the same way.

    >>> from neon_optim.model import Gaussian, Tanh
    >>> [layer.name for layer in Deconv([3, 3, 1], Gaussian(), strides=2, activation=Tanh(), name="up").leaves()]
    ['up', 'up_Tanh']
    """

    def weights(self) -> Layer:
        """A Deconvolution."""
        return Deconvolution(
            fshape=self.fshape,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            init=self.init,
        )
