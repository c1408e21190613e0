"""neon.backends.layer_cpu: the sizes of convolutions and poolings, as backends give and take them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["ConvLayer", "DeconvLayer", "PoolLayer"]


class ConvLayer:
    """The sizes of a convolution of images (C, D, H, W), N of them, by K filters (C, T, R, S).

    Arguments:
        lib: the backend, which says how many windows there are.
        dtype: neon's; without effect.
        N, C, K: samples, channels, filters.
        D, H, W: depth, height and width of the images.
        T, R, S: those of the filters.
        pad_d, pad_h, pad_w: zeros on each side.
        str_d, str_h, str_w: steps between windows.
        dil_d, dil_h, dil_w: distances of the pixels that a filter sees.

    Attributes:
        dimI, dimF, dimO: shapes of images (C, D, H, W, N), filters (C, T, R, S, K) and results (K, M, P, Q, N).
        dimI2, dimF2, dimO2: the same as matrices.
        sizeI, sizeF, sizeO: their numbers of elements.
        nOut: features of a result.
        dot: whether it is one product of matrices.

    References:
        neon/backends/layer_cpu.py.
    """

    def __init__(
        self,
        lib: Any,
        dtype: Any,
        N: int,
        C: int,
        K: int,
        D: int = 1,
        H: int = 1,
        W: int = 1,
        T: int = 1,
        R: int = 1,
        S: int = 1,
        pad_d: int = 0,
        pad_h: int = 0,
        pad_w: int = 0,
        str_d: int = 1,
        str_h: int = 1,
        str_w: int = 1,
        dil_d: int = 1,
        dil_h: int = 1,
        dil_w: int = 1,
    ):
        self.lib, self.DHW = lib, (D, H, W)
        by_axis = self._set_windows(
            (T, R, S), (pad_d, pad_h, pad_w), (str_d, str_h, str_w), (dil_d, dil_h, dil_w)
        )
        counts = tuple(
            lib.output_dim(x, s, pad, step, dilation=dil)
            for x, (s, pad, step, dil) in zip(self.DHW, by_axis, strict=True)
        )
        self._set_sizes(N, C, K, counts)
        self.nOut = math.prod(counts) * K

    def _set_windows(self, *settings: tuple[int, int, int]) -> Iterator[tuple[int, ...]]:
        """Keep extents, padding, strides and dilation; gives these four for each axis."""
        self.TRS, self.padding, self.strides, self.dilation = settings
        return zip(*settings, strict=True)

    def _set_sizes(self, N: int, C: int, K: int, counts: tuple[int, ...]) -> None:
        self.C, self.K, self.NCK = C, K, (N, C, K)
        self.MPQ = self.M, self.P, self.Q = counts
        self.dimI, self.dimF, self.dimO = (C, *self.DHW, N), (C, *self.TRS, K), (K, *counts, N)
        self.dimS = (K, 1)
        self.dimI2, self.dimF2, self.dimO2 = (
            (math.prod(dims[:-1]), dims[-1]) for dims in (self.dimI, self.dimF, self.dimO)
        )
        self.sizeI, self.sizeF, self.sizeO = math.prod(self.dimI), math.prod(self.dimF), math.prod(self.dimO)
        self.dot = (self.TRS, self.padding, self.strides) == ((1, 1, 1), (0, 0, 0), (1, 1, 1))

    @cached_property
    def windows(self) -> dict[str, Any]:
        """What ``be.unfold`` takes; flat images have two axes."""
        flat = (self.DHW[0], self.TRS[0], self.padding[0]) == (1, 1, 0)
        settings = {
            "size": self.DHW,
            "window": self.TRS,
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
        }
        return {"channels": self.C, **{name: of[1:] if flat else of for name, of in settings.items()}}

    def get_is_mklop(self) -> bool:
        """False."""
        return False


class DeconvLayer(ConvLayer):
    """The sizes of a transposed convolution: from the results (K, M, P, Q) of a convolution to its images.

    Arguments and attributes are those of the convolution (:class:`ConvLayer`); M, P and Q take the place of D, H and W,
    and ``nOut`` is the number of features of an image.
    """

    def __init__(
        self,
        lib: Any,
        dtype: Any,
        N: int,
        C: int,
        K: int,
        M: int,
        P: int,
        Q: int,
        T: int = 1,
        R: int = 1,
        S: int = 1,
        pad_d: int = 0,
        pad_h: int = 0,
        pad_w: int = 0,
        str_d: int = 1,
        str_h: int = 1,
        str_w: int = 1,
        dil_d: int = 1,
        dil_h: int = 1,
        dil_w: int = 1,
    ):
        self.lib = lib
        by_axis = self._set_windows(
            (T, R, S), (pad_d, pad_h, pad_w), (str_d, str_h, str_w), (dil_d, dil_h, dil_w)
        )
        depth, height, width = (
            (count - 1) * step - 2 * pad + dil * (s - 1) + 1
            for count, (s, pad, step, dil) in zip((M, P, Q), by_axis, strict=True)
        )
        self.DHW, self.H, self.W = (depth, height, width), height, width
        self._set_sizes(N, C, K, (M, P, Q))
        self.nOut = math.prod(self.DHW) * C


class PoolLayer:
    """The sizes of a pooling of images (C, D, H, W), N of them, by windows (J, T, R, S).

    Arguments:
        lib: the backend, which says how many windows there are.
        dtype: neon's; without effect.
        op: 'max', 'avg' or 'l2'; 'lrn' for local response normalization.
        N, C: samples, channels.
        D, H, W: depth, height and width of the images.
        J, T, R, S: extents of the windows; J is along the channels.
        pad_c, pad_d, pad_h, pad_w: what windows may reach over the border on each side.
        str_c, str_d, str_h, str_w: steps between windows; None: as large as they are.

    Attributes:
        dimI, dimO: shapes of images (C, D, H, W, N) and results (K, M, P, Q, N).
        dimI2, dimO2: the same as matrices.
        sizeI, sizeO: their numbers of elements.
        nOut: features of a result.

    References:
        neon/backends/layer_cpu.py.
    """

    def __init__(
        self,
        lib: Any,
        dtype: Any,
        op: str,
        N: int,
        C: int,
        D: int = 1,
        H: int = 1,
        W: int = 1,
        J: int = 1,
        T: int = 1,
        R: int = 1,
        S: int = 1,
        pad_c: int = 0,
        pad_d: int = 0,
        pad_h: int = 0,
        pad_w: int = 0,
        str_c: int | None = None,
        str_d: int | None = None,
        str_h: int | None = None,
        str_w: int | None = None,
    ):
        self.lib, self.op, self.N, self.C = lib, op, N, C
        self.JTRS, self.DHW = (J, T, R, S), (D, H, W)
        self.padding = (pad_c, pad_d, pad_h, pad_w)
        steps = (str_c, str_d, str_h, str_w)
        self.strides = tuple(
            side if step is None else step for step, side in zip(steps, self.JTRS, strict=True)
        )
        settings = zip((C, D, H, W), self.JTRS, self.padding, self.strides, strict=True)
        counts = tuple(lib.output_dim(x, s, pad, step, pooling=True) for x, s, pad, step in settings)
        self.K, self.M, self.P, self.Q = counts
        self.MPQ = counts[1:]
        ratios = [-(-side // step) for side, step in zip(self.JTRS, self.strides, strict=True)]
        self.overlap = float(math.prod(ratios)) if max(ratios) > 1 else 0.0
        self.dimI, self.dimO = (C, D, H, W, N), (*counts, N)
        self.dimI2, self.dimO2 = (math.prod(self.dimI[:-1]), N), (math.prod(counts), N)
        self.dimF2 = None
        self.sizeI, self.sizeO = math.prod(self.dimI), math.prod(self.dimO)
        self.nOut = math.prod(counts)

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """Extents of the images, and of what the last windows reach over on the other side."""
        settings = zip(self.dimI[:-1], self.dimO[:-1], self.JTRS, self.padding, self.strides, strict=True)
        return tuple(
            max(extent, (count - 1) * step + side - 2 * pad) for extent, count, side, pad, step in settings
        )

    @cached_property
    def windows(self) -> dict[str, Any]:
        """What ``be.unfold`` takes for images of such extents, channels being an axis like others."""
        settings = {"window": self.JTRS, "strides": self.strides, "padding": self.padding}
        return {"channels": 1, "size": self.extents, **settings}

    @cached_property
    def inside(self) -> np.ndarray:
        """Whether each place of each window is a pixel: (places, windows)."""
        inside = np.ones((1, 1), bool)
        settings = zip(self.dimI[:-1], self.dimO[:-1], self.JTRS, self.padding, self.strides, strict=True)
        for extent, count, side, pad, step in settings:
            pixels = np.arange(side)[:, None] + np.arange(count) * step - pad
            along = (pixels >= 0) & (pixels < extent)
            inside = inside[:, None, :, None] & along[None, :, None, :]
            inside = inside.reshape(inside.shape[0] * side, -1)
        return inside

    @cached_property
    def whole(self) -> bool:
        """Whether no window reaches over the border."""
        return bool(self.inside.all())

    @cached_property
    def counts(self) -> Any:
        """How many pixels each window has: a tensor (windows, 1)."""
        return self.lib.array(self.inside.sum(axis=0)[:, None], np.float32)

    @cached_property
    def beyond(self) -> Any:
        """0 where a place of a window is a pixel, minus infinity elsewhere: a tensor (places, windows, 1)."""
        return self.lib.array(np.where(self.inside, 0.0, -np.inf)[:, :, None], np.float32)

    @cached_property
    def numbers(self) -> Any:
        """The number of each place among those of its window that are pixels, -1 elsewhere: (places, windows, 1)."""
        numbers = np.where(self.inside, self.inside.cumsum(axis=0) - 1.0, -1.0)
        return self.lib.array(numbers[:, :1, None] if self.whole else numbers[:, :, None], np.float32)
