"""Convolutions of images the other way around: each pixel becomes a window."""

from __future__ import annotations

from typing import Any

from neon_optim.errors import ArgumentError, Problem
from neon_optim.model.convolution import Filtering, are_pixels
from neon_optim.model.shapes import Shape, pair, wanted

__all__ = ["Deconvolution"]


class Deconvolution(Filtering):
    """The transpose of a Convolution: images (K, P, Q) become images (C, H, W), which it would make (K, P, Q) of.

    Arguments:
        fshape: [R, S, C]: height and width of the filters, and the number of channels that go out.
        strides: steps between windows: a number, or ``{str_h: …, str_w: …}``.
        padding: rows and columns that are cut off on each side: a number, or ``{pad_h: …, pad_w: …}``.
        dilation: distances of the pixels of a filter: a number, or ``{dil_h: …, dil_w: …}``.
        init: initializer of W, which is (C·R·S, K).
        bsum: neon's; without effect, as BatchNorm takes the sums that it needs.

    H is (P - 1) str_h - 2 pad_h + dil_h (R - 1) + 1, and W likewise.

    References:
        Zeiler et al., Deconvolutional networks, CVPR 2010. neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = Deconvolution([2, 2, 1], init=Constant(1.0))
    >>> layer.in_shape = (1, 1, 2)
    >>> layer.configure(2); layer.init_params()
    >>> print(layer.out_shape, layer.fprop(be.array([[1], [2]])).get().T.tolist())
    (1, 2, 3) [[1.0, 3.0, 2.0, 1.0, 3.0, 2.0]]
    """

    def find_windows(self) -> dict[str, Any]:
        """Those of the images that go out."""
        if len(self.in_shape) != 3:
            raise wanted(self, "images (K, P, Q)", "Reshape makes images of features")
        window = self.fshape[:2]
        strides, padding, dilation = (
            pair(value, default)
            for value, default in ((self.strides, (1, 1)), (self.padding, (0, 0)), (self.dilation, (1, 1)))
        )
        size = tuple(
            (count - 1) * stride - 2 * cut + distance * (side - 1) + 1
            for count, stride, cut, distance, side in zip(
                self.in_shape[1:], strides, padding, dilation, window, strict=True
            )
        )
        if min(size) < 1:
            message = f"padding {padding} leaves nothing of images of {size[0] + 2 * padding[0]} by "
            message += f"{size[1] + 2 * padding[1]} pixels"
            raise ArgumentError(message, [Problem.about("padding", message, self)])
        return {
            "channels": self.fshape[2],
            "size": size,
            "window": window,
            "strides": strides,
            "padding": padding,
            "dilation": dilation,
        }

    @property
    def count(self) -> int:
        """K, the channels that come in."""
        return self.in_shape[0]

    @property
    def out_shape(self) -> Shape:
        """(C, H, W)."""
        return self.fshape[2], *self.windows["size"]

    def forward(self, x: Any, inference: bool = False) -> Any:
        """W · x, whose columns are windows that are added to images."""
        if are_pixels(self.windows):
            return self.be.dot(self.W, x.reshape(self.in_shape[0], -1)).reshape(self.nout, -1)
        return self.be.deconvolve(x, self.W, **self.windows)
