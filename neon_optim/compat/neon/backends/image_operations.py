"""Convolutions, poolings and local response normalization, as neon's backends have them, as algebra of windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.optree import Node
from neon_optim.compat.neon.backends.layer_cpu import ConvLayer, DeconvLayer, PoolLayer
from neon_optim.compat.neon.backends.layer_operations import store
from neon_optim.compat.neon.backends.op_trees import NeonAlgebra
from neon_optim.errors import BackendError

__all__ = ["ImageOperations"]


class ImageOperations(NeonAlgebra):
    """Operations of images, run at once; mixed into a backend.

    Their first argument is what ``conv_layer``, ``deconv_layer``, ``pool_layer`` or ``lrn_layer`` gave. Tensors may
    have any shape of the right size.

    References:
        neon/backends/nervanacpu.py, neon/backends/layer_cpu.py.
    """

    array: Any
    assign_all: Any

    # --- convolution ---

    def conv_layer(self, dtype: Any, N: int, C: int, K: int, *sizes: int, **named_sizes: int) -> ConvLayer:
        """The sizes of a convolution; arguments are those of :class:`ConvLayer`."""
        return ConvLayer(self, dtype, N, C, K, *sizes, **named_sizes)

    def deconv_layer(
        self, dtype: Any, N: int, C: int, K: int, M: int, P: int, Q: int, *sizes: int, **named_sizes: int
    ) -> DeconvLayer:
        """The sizes of a transposed convolution; arguments are those of :class:`DeconvLayer`."""
        return DeconvLayer(self, dtype, N, C, K, M, P, Q, *sizes, **named_sizes)

    def fprop_conv(
        self,
        layer: ConvLayer,
        I: Any,  # noqa: E741 (neon's name)
        F: Any,
        O: Any,  # noqa: E741 (neon's name)
        X: Any = None,
        bias: Any = None,
        bsum: Any = None,
        alpha: float = 1.0,
        beta: float = 0.0,
        relu: bool = False,
        brelu: bool = False,
        slope: float = 0.0,
        layer_op: Any = None,
    ) -> None:
        """O = alpha · the images convolved with the filters + beta · X, and what further is asked for, in this order.

        Arguments:
            I, F: images and filters.
            O: a tensor for the results.
            X: what is added, or what ``brelu`` looks at; None: O.
            bias: added to each channel.
            relu: what is negative becomes ``slope`` times what it is.
            brelu: everything is multiplied by 1 where X is positive, by ``slope`` where it is negative, else by 0.
            bsum: a tensor for the sum of each channel of the results.

        Raises:
            BackendError: a tensor has another size than the layer says.
        """
        _check_sizes(layer, I=I, F=F, O=O)
        filters = F.reshape(layer.dimF2)
        images = I.reshape(layer.dimI2)
        if layer.dot:
            value = self.dot(filters.T, images.reshape((layer.C, -1))).reshape(layer.dimO2)
        else:
            value = self.convolve(images, filters, **layer.windows)
        self._compound(value, layer.K, O, X, bias, bsum, alpha, beta, relu, brelu, slope)

    def bprop_conv(
        self,
        layer: ConvLayer,
        F: Any,
        E: Any,
        grad_I: Any,
        X: Any = None,
        bias: Any = None,
        bsum: Any = None,
        alpha: float = 1.0,
        beta: float = 0.0,
        relu: bool = False,
        brelu: bool = False,
        slope: float = 0.0,
        layer_op: Any = None,
    ) -> None:
        """grad_I = alpha · the derivative by the images + beta · X, and what :meth:`fprop_conv` can be asked for.

        Arguments:
            F, E: filters, and the derivative by the results.
            grad_I: a tensor for the derivative by the images.
        """
        _check_sizes(layer, I=grad_I, F=F, O=E)
        filters, errors = F.reshape(layer.dimF2), E.reshape(layer.dimO2)
        if layer.dot:
            value = self.dot(filters, errors.reshape((layer.K, -1))).reshape(layer.dimI2)
        else:
            value = self.deconvolve(errors, filters, **layer.windows)
        self._compound(value, layer.C, grad_I, X, bias, bsum, alpha, beta, relu, brelu, slope)

    def update_conv(
        self,
        layer: ConvLayer,
        I: Any,  # noqa: E741 (neon's name)
        E: Any,
        U: Any,
        alpha: float = 1.0,
        beta: float = 0.0,
        grad_bias: Any = None,
        layer_op: Any = None,
    ) -> None:
        """U = alpha · the derivative by the filters + beta · U.

        Arguments:
            I, E: images, and the derivative by the results.
            U: a tensor for the derivative by the filters.
            grad_bias: a tensor for the derivative by the bias, or None.
        """
        _check_sizes(layer, I=I, F=U, O=E)
        errors = E.reshape((layer.K, -1))
        if grad_bias is not None:
            self.sum(errors, axis=1, out=grad_bias.reshape((layer.K, 1)))
        images = I.reshape(layer.dimI2)
        if layer.dot:
            value = self.dot(images.reshape((layer.C, -1)), errors.T)
        else:
            value = self.correlate(images, errors.reshape(layer.dimO2), **layer.windows)
        store(U.reshape(layer.dimF2), value, alpha, beta)

    def _compound(
        self,
        value: Any,
        channels: int,
        out: Any,
        X: Any,
        bias: Any,
        bsum: Any,
        alpha: float,
        beta: float,
        relu: bool,
        brelu: bool,
        slope: float,
    ) -> None:
        value = value.reshape((channels, -1))
        out = out.reshape(value.shape)
        beside = out if X is None else X.reshape(value.shape)
        if alpha != 1.0:
            value = alpha * value
        if beta:
            value = value + beta * beside
        if bias is not None:
            value = value + bias.reshape((channels, 1))
        if relu:
            value = (
                self.maximum(value, 0.0) + slope * self.minimum(value, 0.0)
                if slope
                else self.maximum(value, 0.0)
            )
        elif brelu:
            beside = value if X is None else beside
            passed = self.greater(beside, 0.0)
            value = value * (passed + slope * self.less(beside, 0.0) if slope else passed)
        out[:] = value
        if bsum is not None:
            self.sum(out, axis=1, out=bsum.reshape((channels, 1)))

    # --- pooling ---

    def pool_layer(self, dtype: Any, op: str, N: int, C: int, *sizes: Any, **named_sizes: Any) -> PoolLayer:
        """The sizes of a pooling; arguments are those of :class:`PoolLayer`."""
        return PoolLayer(self, dtype, op, N, C, *sizes, **named_sizes)

    def fprop_pool(
        self,
        layer: PoolLayer,
        I: Any,  # noqa: E741 (neon's name)
        O: Any,  # noqa: E741 (neon's name)
        argmax: Any = None,
        beta: float = 0.0,
    ) -> None:
        """O = the largest element, mean, or root of the sum of squares of each window, + beta · O.

        Arguments:
            I: images.
            O: a tensor for the results.
            argmax: for 'max' a tensor for the number of the largest element among those of its window that are pixels.
        """
        _check_sizes(layer, I=I, O=O)
        windows = self._pool_windows(layer, I)
        out = O.reshape(layer.dimO2)
        if layer.op == "max":
            if argmax is None or argmax.size != layer.sizeO:
                raise BackendError(f"fprop_pool: argmax needs a tensor of {layer.sizeO} elements, as O has")
            if not layer.whole:
                windows = windows + layer.beyond
            largest = self.max(windows, axis=0).reshape(layer.dimO2)
            place = self.argmax(windows, axis=0)
            if not layer.whole:
                places = self.array(np.arange(windows.shape[0])[:, None, None], np.float32)
                place = self.sum((place == places) * layer.numbers, axis=0)
            value = largest + beta * out if beta else largest
            self.assign_all([(out, value), (argmax.reshape(layer.dimO2), place.reshape(layer.dimO2))])
        elif layer.op == "avg":
            store(out, self.sum(windows, axis=0).reshape(layer.dimO2) / layer.counts, beta=beta)
        else:
            store(out, self.sqrt(self.sum(self.square(windows), axis=0)).reshape(layer.dimO2), beta=beta)

    def bprop_pool(
        self,
        layer: PoolLayer,
        I: Any,  # noqa: E741 (neon's name)
        O: Any,  # noqa: E741 (neon's name)
        argmax: Any = None,
        alpha: float = 1.0,
        beta: float = 0.0,
    ) -> None:
        """O = alpha · the derivative by the images + beta · O.

        Arguments:
            I: the derivative by the results.
            O: a tensor for the derivative by the images.
            argmax: for 'max', as the forward pass left it.

        Raises:
            NotImplementedError: the pooling is 'l2', whose derivative neon does not define.
        """
        _check_sizes(layer, I=O, O=I)
        errors = I.reshape((1, *layer.dimO2))
        if layer.op == "max":
            chosen = argmax.reshape((1, *layer.dimO2)) == layer.numbers
            by_place = errors * chosen
        elif layer.op == "avg":
            shape = (len(layer.inside), *layer.dimO2)
            by_place = Node("broadcast", errors * (1.0 / layer.counts), shape=shape)
        else:
            raise NotImplementedError(f"bprop_pool: 'max' and 'avg' have a derivative, '{layer.op}' has none")
        value = self.fold(by_place.reshape((len(layer.inside), -1)), **layer.windows)
        if layer.extents != layer.dimI[:-1]:
            value = self._node("slice", value.reshape((*layer.extents, layer.N)), key=_whole(layer))
        store(O.reshape(layer.dimI2), value.reshape(layer.dimI2), alpha, beta)

    def _pool_windows(self, layer: PoolLayer, images: Any) -> Any:
        """The windows of images: (places, windows, N), zero beyond the border."""
        images = images.reshape(layer.dimI2)
        if layer.extents != layer.dimI[:-1]:
            shape = (*layer.extents, layer.N)
            images = self._node("place", images.reshape(layer.dimI), key=_whole(layer), shape=shape)
            images = images.reshape((-1, layer.N))
        return self.unfold(images, **layer.windows).reshape((len(layer.inside), *layer.dimO2))

    # --- local response normalization ---

    def lrn_layer(
        self, dtype: Any, N: int, C: int, D: int = 1, H: int = 1, W: int = 1, J: int = 1
    ) -> PoolLayer:
        """The sizes of a normalization by J neighbouring channels.

        Raises:
            BackendError: J is even.
        """
        if J % 2 == 0:
            raise BackendError(f"lrn_layer: J must be odd, received {J}")
        steps = {"str_c": 1, "str_d": 1, "str_h": 1, "str_w": 1}
        return PoolLayer(self, dtype, "lrn", N, C, D, H, W, J, pad_c=J // 2, **steps)

    def fprop_lrn(
        self,
        layer: PoolLayer,
        I: Any,  # noqa: E741 (neon's name)
        O: Any,  # noqa: E741 (neon's name)
        denom: Any,
        alpha: float | None = None,
        beta: float | None = None,
        ascale: float = 1,
        bpower: float = 1,
    ) -> None:
        """denom = 1 + ascale / J · the sum of the squares of J neighbouring channels; O = I · denom ** -bpower."""
        _check_sizes(layer, I=I, O=O)
        total = self.sum(self._pool_windows(layer, self.square(I)), axis=0)
        divisor = denom.reshape(layer.dimI2)
        divisor[:] = 1.0 + ascale / layer.JTRS[0] * total.reshape(layer.dimI2)
        O.reshape(layer.dimI2)[:] = I.reshape(layer.dimI2) * divisor**-bpower

    def bprop_lrn(
        self,
        layer: PoolLayer,
        I: Any,  # noqa: E741 (neon's name)
        O: Any,  # noqa: E741 (neon's name)
        E: Any,
        delta: Any,
        denom: Any,
        alpha: float | None = None,
        beta: float | None = None,
        ascale: float = 1,
        bpower: float = 1,
    ) -> None:
        """delta = the derivative by the images, given that by the results, E, and O and denom of the forward pass."""
        _check_sizes(layer, I=delta, O=E)
        images, results, errors, divisor = (x.reshape(layer.dimI2) for x in (I, O, E, denom))
        shared = self.sum(self._pool_windows(layer, results * errors / divisor), axis=0).reshape(layer.dimI2)
        scale = -2.0 * bpower * (ascale / layer.JTRS[0])
        delta.reshape(layer.dimI2)[:] = scale * shared * images + errors * divisor**-bpower


def _check_sizes(layer: Any, **tensors: Any) -> None:
    for name, tensor in tensors.items():
        expected = getattr(layer, f"size{name}")
        if tensor.size != expected:
            shape = getattr(layer, f"dim{name}")
            raise BackendError(
                f"a tensor of {expected} elements, {shape}, is needed, received {tensor.shape}"
            )


def _whole(layer: PoolLayer) -> tuple[tuple[int, int, int], ...]:
    """The key of the images among what windows reach over."""
    return tuple((0, extent, 1) for extent in layer.dimI)
