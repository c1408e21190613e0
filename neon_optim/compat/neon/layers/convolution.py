"""neon's convolutions, there and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.dense import UNUSED
from neon_optim.compat.neon.layers.images import extents, in_words, of_images, settings
from neon_optim.compat.neon.layers.parameters import (
    ParameterLayer,
    Shared,
    set_listed_states,
    set_named,
)
from neon_optim.compat.neon.layers.windows import WindowedConvolution, WindowedDeconvolution
from neon_optim.model.layers import biased

__all__ = ["Convolution", "Convolution_bias", "Deconvolution"]


class _Convolving(ParameterLayer):
    """What both directions share: a filter, and steps between the windows that it sees.

    Attributes:
        params: all settings, by neon's names; those of the images come with them.
        nglayer: what the backend makes of the settings, which is made when it is asked for.
    """

    letters = "TRSK"
    in_letters = "CDHW"

    def __init__(
        self,
        fshape: Any,
        strides: Any,
        padding: Any,
        dilation: Any,
        init: Any,
        bsum: bool,
        name: str | None,
        parallelism: str,
    ):
        self.params = {f"str_{axis}": 1 for axis in "dhw"} | {f"pad_{axis}": 0 for axis in "dhw"}
        self.params |= {f"dil_{axis}": 1 for axis in "dhw"} | {"T": 1}
        self.params |= extents(fshape, self.letters)
        given = (("str", strides), ("pad", padding), ("dil", dilation))
        for prefix, value in given:
            self.params |= settings(prefix, value)
        across = {
            prefix: {f"{prefix}_{axis}": self.params[f"{prefix}_{axis}"] for axis in "hw"}
            for prefix, _ in given
        }
        self.core = self.core_of(
            fshape=[self.params[letter] for letter in self.letters[1:]],
            strides=across["str"],
            padding=across["pad"],
            dilation=across["dil"],
            init=UNUSED,
        )
        super().__init__(init, name, parallelism)
        self._nglayer: Any = None
        self.fshape = fshape
        self.strides = strides
        self.padding = padding
        self.dilation = dilation
        self.bsum = bsum

    def core_of(self, **arguments: Any) -> Any:
        """The layer of ours."""
        raise NotImplementedError

    def __str__(self) -> str:
        axes = "dhw"[-(len(self.in_shape) - 1) :]
        padding, strides, dilation = (
            ",".join(str(self.params[f"{prefix}_{axis}"]) for axis in axes)
            for prefix in ("pad", "str", "dil")
        )
        return (
            f"{type(self).__name__} Layer '{self.name}': {in_words(self.in_shape)} inputs, "
            f"{in_words(self.out_shape)} outputs, {padding} padding, {strides} stride, {dilation} dilation"
        )

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of the images, (C, H, W) or (C, D, H, W).

        Raises:
            ValueError: they are no images.
        """
        super().configure(in_obj)
        self.params |= of_images(self, self.in_letters) | {"N": self.be.bsz}
        self._nglayer = None
        self.core.given = None
        if self.params["T"] != 1 or len(self.in_shape) == 4:
            self.core.given = self.nglayer.windows
            if min(*self.dims_out()) < 1:
                raise ValueError(
                    f"{self.classnm} '{self.name}': filters of {self.fshape} are larger than images of {self.in_shape}"
                )
        self.configure_core()
        channels, *size = self.core.out_shape
        self.out_shape = (channels, *(size[1:] if len(size) == 3 and size[0] == 1 else size))
        if self.weight_shape is None:
            self.weight_shape = self.core.weight_shape
        if self.bsum:
            self.batch_sum_shape = (self.out_shape[0], 1)
        return self

    @property
    def nglayer(self) -> Any:
        """See above; None before the layer is configured."""
        if self._nglayer is None and "N" in self.params:
            self._nglayer = self.layer_of_backend()
        return self._nglayer

    @nglayer.setter
    def nglayer(self, value: Any) -> None:
        self._nglayer = value

    def layer_of_backend(self) -> Any:
        """What the backend makes of the settings."""
        raise NotImplementedError

    def dims_out(self) -> tuple[int, ...]:
        """Channels, depth, height and width of what goes out."""
        raise NotImplementedError


class Convolution(_Convolving):
    """Images convolved with K filters.

    Arguments:
        fshape: (R, S, K), or (T, R, S, K) for images with a depth; or a mapping by these letters.
        strides, padding, dilation: a number for height and width, or a mapping of ``str_h``, ``pad_w`` and so on.
        init: initializer of W, which is (C·T·R·S, K), or its first values.
        bsum: neon's; without effect, as BatchNorm takes the sums that it needs.
    """

    def __init__(
        self,
        fshape: Any,
        strides: Any = {},  # noqa: B006 (neon's default; nothing changes it)
        padding: Any = {},  # noqa: B006
        dilation: Any = {},  # noqa: B006
        init: Any = None,
        bsum: bool = False,
        name: str | None = None,
        parallelism: str = "Data",
    ):
        super().__init__(fshape, strides, padding, dilation, init, bsum, name, parallelism)
        self.convparams = self.params
        self.is_mklop = True

    def core_of(self, **arguments: Any) -> Any:
        """A Convolution."""
        return WindowedConvolution(**arguments)

    def layer_of_backend(self) -> Any:
        """That of ``be.conv_layer``."""
        return self.be.conv_layer(self.be.default_dtype, **self.params)

    def dims_out(self) -> tuple[int, ...]:
        """(K, M, P, Q)."""
        return tuple(self.nglayer.dimO[:-1])

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The images that the filters make, beside ``beta`` times what the outputs hold."""
        return self.forward_of_core(inputs, inference, beta)

    @Layer.accumulates
    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the images, and that by the filters."""
        return self.backward_of_core(error, alpha, beta)


class _Biased(WindowedConvolution):
    """A convolution, and a number added to what each filter gives."""

    def forward(self, x: Any, inference: bool = False) -> Any:
        """Wᵀ · the windows of x, + b."""
        return biased(self.be, super().forward(x, inference), vars(self)["weight_bias"])

    def get_params(self) -> Any:
        """Those of the filters and of the bias."""
        held = vars(self)
        pairs = (self.W, self.dW), (held["weight_bias"], held["grad_bias"])
        return list(zip(pairs, self.states, strict=True))


class Convolution_bias(Convolution):  # noqa: N801 (neon's name)
    """Images convolved with K filters, and a number added to what each gives.

    Arguments:
        bias: initializer of these numbers, which are called ``weight_bias`` and are (K, 1), or their first values.
    """

    weight_bias = Shared()
    grad_bias = Shared()

    def __init__(
        self,
        fshape: Any,
        strides: Any = {},  # noqa: B006
        padding: Any = {},  # noqa: B006
        dilation: Any = {},  # noqa: B006
        init: Any = None,
        bsum: bool = False,
        name: str | None = None,
        bias: Any = None,
        parallelism: str = "Data",
    ):
        super().__init__(fshape, strides, padding, dilation, init, bsum, name, parallelism)
        self.bias = self.init_bias = bias
        self.weight_bias = None
        self.grad_bias = None
        self.states = [[], []]

    def core_of(self, **arguments: Any) -> Any:
        """A Convolution with a bias."""
        return _Biased(**arguments)

    def init_params(self, shape: Any) -> None:
        """Make both parameters and gradients, and give the former their first values."""
        super().init_params(shape)
        self.states = [[], []]
        self.weight_bias = self.be.zeros((self.out_shape[0], 1), **self.get_param_attrs())
        self.grad_bias = self.be.zeros_like(self.weight_bias)
        self.first_values(self.weight_bias, self.init_bias)
        if self.accumulate_updates:
            self.acc_grad_bias = self.be.empty_like(self.grad_bias)
            self.acc_params.append((self.acc_grad_bias, self.grad_bias))

    def get_params(self) -> Any:
        """``[((W, dW), states), ((weight_bias, grad_bias), states)]``."""
        pairs = (self.W, self.dW), (self.weight_bias, self.grad_bias)
        return list(zip(pairs, self.states, strict=True))

    def get_description(
        self,
        skip: Iterable[str] = (),
        get_weights: bool = False,
        keep_states: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The description; with ``get_weights`` also ``params`` and, with ``keep_states``, ``states``."""
        found = super().get_description(skip)
        if get_weights:
            found["params"] = {"W": self.W.get(), "weight_bias": self.weight_bias.get()}
            if keep_states:
                found["states"] = [[state.get() for state in own] for own in self.states]
        return found

    def convert_format(self, pdict: Any) -> dict[str, Any]:
        """The description of a Convolution and a Bias behind it, which old files have, as one of both."""
        first, second = pdict
        found: dict[str, Any] = copy.deepcopy(first)
        found["type"] = "neon.layers.layer.Convolution_bias"
        found["config"]["bias"] = second["config"]["init"]
        found["params"]["weight_bias"] = second["params"]["W"]
        if "states" in first and "states" in second:
            found["states"] = [first["states"], second["states"]]
        return found

    def set_params(self, pdict: Any) -> None:
        """Take over ``pdict['params']``; of old files the list of two descriptions."""
        if isinstance(pdict, list):
            logger.warning("'%s' is read from an old file: save it again in the present format", self.name)
            pdict = self.convert_format(pdict)
        set_named(self, pdict["params"])
        if self.dW is None:
            self.dW = self.be.zeros_like(self.W)
        if self.grad_bias is None:
            self.grad_bias = self.be.zeros_like(self.weight_bias)

    def set_states(self, pdict: Any) -> None:
        """Take over ``pdict['states']``, a list for each parameter."""
        if isinstance(pdict, list):
            pdict = self.convert_format(pdict)
        set_listed_states(self, pdict.get("states", ()))


class Deconvolution(_Convolving):
    """The transpose of a Convolution: images that it would make those of that come in.

    Arguments:
        fshape: (R, S, C) with the number of channels that go out, or (T, R, S, C); or a mapping by these letters.
        strides, padding, dilation: a number for height and width, or a mapping of ``str_h``, ``pad_w`` and so on.
        init: initializer of W, which is (C·T·R·S, K), or its first values.
        bsum: neon's; without effect, as BatchNorm takes the sums that it needs.
    """

    letters = "TRSC"
    in_letters = "KMPQ"

    def __init__(
        self,
        fshape: Any,
        strides: Any = {},  # noqa: B006
        padding: Any = {},  # noqa: B006
        dilation: Any = {},  # noqa: B006
        init: Any = None,
        bsum: bool = False,
        name: str | None = None,
    ):
        super().__init__(fshape, strides, padding, dilation, init, bsum, name, "Unknown")
        self.deconvparams = self.params

    def core_of(self, **arguments: Any) -> Any:
        """A Deconvolution."""
        return WindowedDeconvolution(**arguments)

    def layer_of_backend(self) -> Any:
        """That of ``be.deconv_layer``."""
        return self.be.deconv_layer(self.be.default_dtype, **self.params)

    def dims_out(self) -> tuple[int, ...]:
        """(C, D, H, W)."""
        return tuple(self.nglayer.dimI[:-1])

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The images, beside ``beta`` times what the outputs hold."""
        return self.forward_of_core(inputs, inference, beta)

    @Layer.accumulates
    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the images, and that by the filters."""
        return self.backward_of_core(error, alpha, beta)
