"""neon's layers that stand for several: lists of a layer with weights and of what comes behind it."""

from __future__ import annotations

from typing import Any

from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.dense import Activation, Bias, Linear
from neon_optim.compat.neon.layers.normalization import BatchNorm

__all__ = ["Affine", "CompoundLayer"]


class CompoundLayer(list[Layer]):
    """A list of layers: what a subclass appends, then Bias or BatchNorm, then Activation, the latter where asked for.

    Arguments:
        bias: initializer of the bias; None: no bias.
        batch_norm: normalize what the weights give.
        activation: activation function; None: none.
        name: of the layer with the weights; the others are called ``<name>_bias`` and so on.

    Raises:
        AttributeError: there is a bias before a BatchNorm, which would take it away again.
    """

    def __init__(
        self, bias: Any = None, batch_norm: bool = False, activation: Any = None, name: str | None = None
    ):
        super().__init__()
        if batch_norm and bias is not None:
            raise AttributeError("Batchnorm and bias cannot be combined")
        self.activation = activation
        self.batch_norm = batch_norm
        self.bias = bias
        self.base_name = name

    def init_base_name(self) -> None:
        """Take the name of the layer with the weights, where none was given."""
        if self.base_name is None:
            self.base_name = str(self[-1].name)

    def add_postfilter_layers(self) -> None:
        """Append what comes behind the weights."""
        self.init_base_name()
        if self.bias is not None:
            self.append(Bias(init=self.bias, name=f"{self.base_name}_bias"))
        self.add_normalization()
        if self.activation is not None:
            self.append(
                Activation(transform=self.activation, name=f"{self.base_name}_{self.activation.classnm}")
            )

    def add_normalization(self) -> None:
        """Append a BatchNorm, where asked for."""
        if self.batch_norm:
            self.append(BatchNorm(name=f"{self.base_name}_bnorm"))


class Affine(CompoundLayer):
    """Linear, then Bias or BatchNorm, then Activation.

    Arguments:
        nout: features that go out.
        init: initializer of the weights.
    """

    def __init__(
        self,
        nout: int,
        init: Any,
        bias: Any = None,
        batch_norm: bool = False,
        activation: Any = None,
        name: str | None = None,
        parallelism: str = "Disabled",
    ):
        super().__init__(bias, batch_norm, activation, name)
        self.append(Linear(nout, init, bsum=batch_norm, name=name, parallelism=parallelism))
        self.add_postfilter_layers()
