"""neon's layers that stand for several: lists of a layer with weights and of what comes behind it."""

from __future__ import annotations

from typing import Any

from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.convolution import Convolution, Convolution_bias, Deconvolution
from neon_optim.compat.neon.layers.dense import Activation, Bias, Linear
from neon_optim.compat.neon.layers.normalization import BatchNorm

__all__ = ["Affine", "CompoundLayer", "Conv", "Deconv"]


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
        self.add_bias()
        self.add_normalization()
        if self.activation is not None:
            self.append(
                Activation(transform=self.activation, name=f"{self.base_name}_{self.activation.classnm}")
            )

    def add_bias(self) -> None:
        """Append a Bias, where asked for."""
        if self.bias is not None:
            self.append(Bias(init=self.bias, name=f"{self.base_name}_bias"))

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


class Conv(CompoundLayer):
    """Convolution, or Convolution_bias where there is a bias; then BatchNorm, then Activation.

    Arguments:
        fshape, init, strides, padding, dilation: those of the convolution.
    """

    def __init__(
        self,
        fshape: Any,
        init: Any,
        strides: Any = {},  # noqa: B006 (neon's default; nothing changes it)
        padding: Any = {},  # noqa: B006
        dilation: Any = {},  # noqa: B006
        bias: Any = None,
        batch_norm: bool = False,
        activation: Any = None,
        name: str | None = None,
    ):
        super().__init__(bias, batch_norm, activation, name)
        arguments = (fshape, strides, padding, dilation, init, batch_norm, name)
        self.append(Convolution(*arguments) if bias is None else Convolution_bias(*arguments, bias=bias))
        self.add_postfilter_layers()

    def add_bias(self) -> None:
        """Nothing: the convolution has it."""


class Deconv(CompoundLayer):
    """Deconvolution, then Bias or BatchNorm, then Activation.

    Arguments:
        fshape, init, strides, padding, dilation: those of the Deconvolution.
    """

    def __init__(
        self,
        fshape: Any,
        init: Any,
        strides: Any = {},  # noqa: B006
        padding: Any = {},  # noqa: B006
        dilation: Any = {},  # noqa: B006
        bias: Any = None,
        batch_norm: bool = False,
        activation: Any = None,
        name: str | None = None,
    ):
        super().__init__(bias, batch_norm, activation, name)
        self.append(Deconvolution(fshape, strides, padding, dilation, init, bsum=batch_norm, name=name))
        self.add_postfilter_layers()
