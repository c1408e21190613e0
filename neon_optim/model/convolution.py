"""Convolutions of images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.backends.optree_shapes import window_counts
from neon_optim.described.arguments import Flag, PositiveInt
from neon_optim.model.layer import OptionalInitializer, ParameterLayer, require
from neon_optim.model.shapes import PairOf, Shape, features, pair, window_settings

__all__ = ["Convolution", "Dilation", "FilterShape", "Filtering", "Padding", "Strides", "are_pixels"]

FilterShape = tuple[PositiveInt, PositiveInt, PositiveInt]
Strides = Annotated[Any, PairOf("str", 1)]
Padding = Annotated[Any, PairOf("pad", 0)]
Dilation = Annotated[Any, PairOf("dil", 1)]


def are_pixels(windows: Mapping[str, Any]) -> bool:
    """Whether windows are the pixels of an image."""
    return {*windows["window"], *windows["strides"]} == {1} and not any(windows["padding"])


class Filtering(ParameterLayer, abstract=True):
    """Filters that go over images: what a Convolution and its transpose are given."""

    positional: ClassVar[tuple[str, ...]] = (
        "fshape",
        "strides",
        "padding",
        "dilation",
        "init",
        "bsum",
        "name",
    )

    _: KW_ONLY
    fshape: FilterShape
    strides: Strides = 1
    padding: Padding = 0
    dilation: Dilation = 1
    init: OptionalInitializer = None
    bsum: Flag = False

    def check_fields(self) -> None:
        """An initializer is given: neon's order of arguments puts it behind those that have defaults."""
        require(self, init="an initializer")

    def configure(self, nin: int) -> None:
        """Learn the shape of the images."""
        super().configure(nin)
        self.windows = self.find_windows()
        self.nout = features(self.out_shape)

    @abstractmethod
    def find_windows(self) -> dict[str, Any]:
        """What ``be.convolve`` takes, for the images that come in."""

    @property
    @abstractmethod
    def count(self) -> int:
        """K, the number of filters."""

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(C·R·S, K)."""
        return self.windows["channels"] * math.prod(self.windows["window"]), self.count


class Convolution(Filtering):
    """Images (C, H, W) convolved with K filters, without a bias: images (K, P, Q).

    Arguments:
        fshape: [R, S, K]: height and width of the filters, and their number.
        strides: steps between windows: a number, or ``{str_h: …, str_w: …}``.
        padding: rows and columns of zeros on each side: a number, or ``{pad_h: …, pad_w: …}``.
        dilation: distances of the pixels that a filter sees: a number, or ``{dil_h: …, dil_w: …}``.
        init: initializer of W, which is (C·R·S, K).
        bsum: neon's; without effect, as BatchNorm takes the sums that it needs.

    P is (H + 2 pad_h - dil_h (R - 1) - 1) / str_h + 1, rounded down, and Q likewise.

    References:
        neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = Convolution([2, 2, 1], init=Constant(1.0))
    >>> layer.in_shape = (1, 2, 3)
    >>> layer.configure(6); layer.init_params()
    >>> print(layer.out_shape, layer.fprop(be.array([[1], [2], [3], [4], [5], [6]])).get().tolist())
    (1, 1, 2) [[12.0], [16.0]]
    """

    def find_windows(self) -> dict[str, Any]:
        """Those of the images, which are large enough."""
        pairs = {"padding": self.padding, "dilation": self.dilation}
        return window_settings(self, self.fshape[:2], pair(self.strides, (1, 1)), **pairs)

    @property
    def count(self) -> int:
        """K, the channels that go out."""
        return self.fshape[2]

    @property
    def out_shape(self) -> Shape:
        """(K, P, Q)."""
        return self.count, *window_counts(self.windows)

    def fill(self) -> None:
        """First values of W, whose inputs are its rows."""
        self.init.fill_along(self.W, axis=0)

    def forward(self, x: Any, inference: bool = False) -> Any:
        """Wᵀ · the windows of x."""
        if are_pixels(self.windows):
            return self.be.dot(self.W.T, x.reshape(self.in_shape[0], -1)).reshape(self.nout, -1)
        return self.be.convolve(x, self.W, **self.windows)
