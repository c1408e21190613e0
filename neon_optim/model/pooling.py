"""Pooling of images: one value for each window of each channel."""

from __future__ import annotations

import math
from functools import reduce
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from neon_optim.backends.optree import stated
from neon_optim.backends.optree_shapes import window_counts
from neon_optim.described.checks import Choice, Either, Items, Nothing, Number
from neon_optim.errors import ArgumentError, Problem
from neon_optim.model.convolution import Padding
from neon_optim.model.layer import Layer
from neon_optim.model.shapes import PairOf, Shape, features, window_settings

__all__ = ["Pooling"]

_SIDE = Number(ge=1, integer=True)
WindowShape = Annotated[Any, Either(_SIDE, Items(_SIDE, length=2), Choice("all"))]


class Pooling(Layer):
    """The largest element, or the mean, of each window of each channel: images (C, H, W) become (C, P, Q).

    Arguments:
        fshape: height and width of the windows: a number, [R, S], or 'all' for the whole image.
        op: 'max' or 'avg'.
        strides: steps between windows: a number, or ``{str_h: …, str_w: …}``; None: as large as the windows.
        padding: rows and columns on each side that windows may reach over: a number, or ``{pad_h: …, pad_w: …}``.

    What lies beyond the border counts for neither the maximum nor the mean, as in neon. The gradient of a maximum goes
    to the first of equal elements, row by row.

    References:
        neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = Pooling(2)
    >>> layer.in_shape = (1, 2, 4)
    >>> layer.configure(8)
    >>> layer.fprop(be.array([[1], [2], [3], [4], [5], [6], [7], [8]])).get().tolist()
    [[6.0], [8.0]]
    """

    positional: ClassVar[tuple[str, ...]] = ("fshape", "op", "strides", "padding", "name")

    fshape: WindowShape
    op: Literal["max", "avg"] = "max"
    strides: Annotated[Any, Either(PairOf("str", 1), Nothing())] = None
    padding: Padding = 0

    def configure(self, nin: int) -> None:
        """Learn the shape of the images."""
        super().configure(nin)
        self.windows = self.find_windows()
        if any(p >= side for p, side in zip(self.windows["padding"], self.windows["window"], strict=True)):
            message = (
                f"padding {self.windows['padding']} must be smaller than the windows {self.windows['window']}"
            )
            raise ArgumentError(message, [Problem.about("padding", message, self)])
        self.nout = features(self.out_shape)

    def find_windows(self) -> dict[str, Any]:
        """What ``be.unfold`` takes, for the images that come in."""
        side = self.fshape
        window = None if side == "all" else (side, side) if isinstance(side, int) else (side[0], side[1])
        return window_settings(self, window, self.strides, padding=self.padding)

    @property
    def out_shape(self) -> Shape:
        """(C, P, Q)."""
        return self.in_shape[0], *window_counts(self.windows)

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The largest element or the mean of each window."""
        return self._largest(x) if self.op == "max" else self._mean(x)

    def _largest(self, x: Any) -> Any:
        """The largest element of each window; its derivative goes to the first of equal ones."""
        be = self.be
        places = self._places(x)
        largest = reduce(be.maximum, places)
        first: Any = float(len(places) - 1)
        for number in reversed(range(len(places) - 1)):
            first = be.where(places[number] == largest, float(number), first)
        value = largest.reshape(self.nout, -1)
        return stated(value, [x], lambda error, y, x: [self._spread(error, first)])

    def _places(self, x: Any) -> list[Any]:
        """For each place in a window the pixels that windows have there, (C, P, Q, n)."""
        (channels, *counts), strides = self.out_shape, self.windows["strides"]
        numbered = list(np.ndindex(self.windows["window"]))
        if not any(self.windows["padding"]):
            images = x.reshape(channels, *self.windows["size"], -1)
            axes = list(zip(counts, strides, strict=True))
            keys = [
                (
                    slice(None),
                    *[
                        slice(r, r + (n - 1) * step + 1, step)
                        for r, (n, step) in zip(place, axes, strict=True)
                    ],
                )
                for place in numbered
            ]
            return [images[key] for key in keys]
        rows, *others = counts
        windows = self.be.unfold(x, **self.windows).reshape(channels * len(numbered), *counts, -1)
        windows = windows.reshape(channels, len(numbered) * rows, *others, -1)
        beyond = self.be.array(np.where(self._inside(), 0.0, -np.inf))
        return [
            windows[:, k * rows : (k + 1) * rows] + beyond[k : k + 1].reshape(1, *counts, 1)
            for k in range(len(numbered))
        ]

    def _spread(self, error: Any, first: Any) -> Any:
        """The error of each pixel: that of the windows in which it is the first of the largest elements."""
        be, (channels, *counts), window = self.be, self.out_shape, self.windows["window"]
        places = math.prod(window)
        numbers = be.array(np.arange(float(places)).reshape(1, places))
        if self._tile():  # each pixel is in one window
            by_window = (channels, *[extent for count in counts for extent in (count, 1)], -1)
            within = (1, *[extent for side in window for extent in (1, side)], 1)
            chosen = first.reshape(by_window) == numbers.reshape(within)
            return (error.reshape(by_window) * chosen).reshape(self.nin, -1)
        chosen = first.reshape(channels, 1, -1) == numbers.reshape(1, places, 1)
        by_place = error.reshape(channels, 1, -1) * chosen
        return be.fold(by_place.reshape(channels * places, -1), **self.windows)

    def _tile(self) -> bool:
        """Whether the windows lie side by side and cover all of an image."""
        of = self.windows
        whole = tuple(n * side for n, side in zip(self.out_shape[1:], of["window"], strict=True))
        return of["strides"] == of["window"] and not any(of["padding"]) and whole == of["size"]

    def _mean(self, x: Any) -> Any:
        """The mean of each window; its derivative is the error times 1 / the number of pixels."""
        be, (channels, *counts) = self.be, self.out_shape
        windows = be.unfold(x, **self.windows).reshape(channels, -1, math.prod(counts) * x.shape[1])
        total = be.sum(windows, axis=1).reshape(channels, *counts, -1)
        pixels = self._inside().sum(axis=0, dtype=np.float64).reshape(1, *counts, 1)
        value = (total / be.array(pixels)).reshape(self.nout, -1)

        def backward(error: Any, *_: Any) -> list[Any]:
            each = error.reshape(channels, *counts, -1) * be.array(1.0 / pixels)
            wide = be.broadcast_to(each.reshape(channels, 1, -1), windows.shape)
            return [be.fold(wide.reshape(channels * windows.shape[1], -1), **self.windows)]

        return stated(value, [x], backward)

    def _inside(self) -> np.ndarray:
        """Whether each place of each window is a pixel of the image: (R·S, P, Q)."""
        counts, inside = self.out_shape[1:], np.ones((1, 1), dtype=bool)
        names = ("window", "strides", "padding", "size")
        of_axes = zip(counts, *(self.windows[name] for name in names), strict=True)
        for count, side, stride, padding, size in of_axes:
            pixels = np.arange(side)[:, None] + np.arange(count) * stride - padding
            along = (pixels >= 0) & (pixels < size)
            inside = (inside[:, None, :, None] & along[None, :, None, :]).reshape(inside.shape[0] * side, -1)
        return inside.reshape(-1, *counts)
