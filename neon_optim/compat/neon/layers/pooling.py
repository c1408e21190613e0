"""neon's layers of images without parameters: pooling, of windows and of regions, and normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim import model
from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.images import extents, in_words, of_images, settings
from neon_optim.compat.neon.layers.windows import WindowedPooling

__all__ = ["LRN", "Pooling", "RoiPooling"]


class Pooling(Layer):
    """The largest element, or the mean, of each window of each channel.

    Arguments:
        fshape: height and width of the windows: a number, (R, S), (T, R, S) for images with a depth, 'all' for the
            whole image, or a mapping by these letters, where J is a number of channels.
        op: 'max', 'avg' or 'l2' (the root of the sum of squares, which has no backward pass).
        strides: a number, or a mapping of ``str_h`` and so on; without one as large as the windows.
        padding: a number, or a mapping of ``pad_h`` and so on.

    Windows of height and width are done by the layer of ours, others and those of Caffe by the backend.
    """

    def __init__(
        self,
        fshape: Any,
        op: str = "max",
        strides: Any = {},  # noqa: B006 (neon's default; nothing changes it)
        padding: Any = {},  # noqa: B006
        name: str | None = None,
    ):
        super().__init__(name)
        self.op = op
        self.fshape = fshape
        self.strides = strides
        self.padding = padding
        self.owns_delta = True
        self.is_mklop = True
        self.argmax: Any = None
        self._nglayer: Any = None
        self.poolparams: dict[str, Any] = {f"str_{axis}": None for axis in "hwdc"}
        self.poolparams |= {f"pad_{axis}": 0 for axis in "hwdc"} | {"J": 1, "T": 1, "D": 1, "op": op}
        self.poolparams |= self._window() | settings("str", strides) | settings("pad", padding)

    def _window(self) -> dict[str, Any]:
        if isinstance(self.fshape, (int, np.integer)):
            return {"R": int(self.fshape), "S": int(self.fshape)}
        return {"R": None, "S": None} if self.fshape == "all" else extents(self.fshape, "TRS")

    def __str__(self) -> str:
        return f"Pooling Layer '{self.name}': {in_words(self.in_shape)} inputs, {in_words(self.out_shape)} outputs"

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of the images.

        Raises:
            ValueError: they are no images.
        """
        super().configure(in_obj)
        of = self.poolparams | of_images(self, "CDHW") | {"N": self.be.bsz}
        if of["R"] is None:
            of |= {"R": of["H"], "S": of["W"]}
        self.poolparams = of
        self._nglayer = self.core = None
        deep = len(self.in_shape) == 4
        axes = "dhw" if deep else "hw"
        window = tuple(of[letter] for letter in "TRS"[-len(axes) :])
        size = tuple(of[letter.upper()] for letter in axes)
        padding = tuple(of[f"pad_{letter}"] for letter in axes)
        if (
            (deep or of["T"] == 1)
            and (of["J"], of["pad_c"]) == (1, 0)
            and of["str_c"] in (None, 1)
            and all(side <= x + 2 * pad for side, x, pad in zip(window, size, padding, strict=True))
            and self.op in ("max", "avg")
            and not self.be.check_caffe_compat()
        ):
            steps = [of[f"str_{letter}"] for letter in axes]
            self.core = WindowedPooling(list(window[-2:]), self.op)  # type: ignore[arg-type]
            self.core.given = {
                "channels": of["C"],
                "size": size,
                "window": window,
                "strides": tuple(
                    side if step is None else step for side, step in zip(window, steps, strict=True)
                ),
                "padding": padding,
                "dilation": (1,) * len(axes),
            }
            self.configure_core()
            self.out_shape = self.core.out_shape
        else:
            channels, depth, *size = self.nglayer.dimO[:-1]
            self.out_shape = (channels, depth, *size) if len(self.in_shape) == 4 else (channels, *size)
        return self

    @property
    def nglayer(self) -> Any:
        """What the backend makes of the settings, when it is asked for; None before the layer is configured."""
        if self._nglayer is None and "N" in self.poolparams:
            self._nglayer = self.be.pool_layer(self.be.default_dtype, **self.poolparams)
        return self._nglayer

    @nglayer.setter
    def nglayer(self, value: Any) -> None:
        self._nglayer = value

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the outputs; the backend also gets memory for the places of the maxima."""
        super().allocate(shared_outputs)
        if self.core is None and self.op == "max":
            self.argmax = self.be.empty(self.outputs.shape, dtype=np.uint8)

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The largest element or the mean of each window, beside ``beta`` times what the outputs hold."""
        if self.core is not None:
            return self.forward_of_core(inputs, inference, beta)
        self.inputs = inputs
        self.be.fprop_pool(self.nglayer, inputs, self.outputs, self.argmax, beta=beta)
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the images: of a maximum that of the first of equal elements."""
        if self.core is not None:
            return self.backward_of_core(error, alpha, beta)
        if self.deltas is not None:
            self.be.bprop_pool(self.nglayer, error, self.deltas, self.argmax, alpha, beta)
        return self.deltas


class LRN(Layer):
    """x / (1 + ascale / depth · Σ x²) ** bpower, with the sum over neighbouring channels of each pixel.

    Arguments:
        depth: how many channels are summed over; an odd number.
        alpha, beta: without effect.
        ascale, bpower: as above.
    """

    def __init__(
        self,
        depth: int,
        alpha: float = 1.0,
        beta: float = 0.0,
        ascale: float = 1.0,
        bpower: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(name)
        self.core = model.LRN(depth, ascale=ascale, bpower=bpower)
        self.J = self.depth = depth
        self.alpha = alpha
        self.beta = beta
        self.ascale = ascale
        self.bpower = bpower
        self.owns_delta = True
        self.nglayer: Any = None

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of the images."""
        super().configure(in_obj)
        self.configure_core()
        self.out_shape = self.in_shape
        return self

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The normalized images."""
        return self.forward_of_core(inputs, inference)

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the images."""
        return self.backward_of_core(error, alpha, beta)


class RoiPooling(Layer):
    """Regions of images in one size: the largest element of each of so many parts of each region.

    It is given a pair: images, and regions (5, count): the number of an image, then xmin, ymin, xmax, ymax.

    Arguments:
        HW: parts along the height and the width of a region.
        bprop_enabled: hand derivatives on; else they are 0.
        spatial_scale: pixels that come in for one of a region's own.

    References:
        Girshick, Fast R-CNN, ICCV 2015.
    """

    def __init__(
        self,
        HW: tuple[int, int] = (7, 7),
        bprop_enabled: bool = True,
        spatial_scale: float = 0.0625,
        name: str | None = None,
    ):
        super().__init__(name)
        self.HW = HW
        self.roi_H, self.roi_W = HW
        self.spatial_scale = spatial_scale
        self.owns_delta = True
        self.bprop_enabled = bprop_enabled

    def configure(self, in_obj: Any) -> Any:
        """Learn the shapes of images and regions from the layers, or datasets, that give them.

        Raises:
            ValueError: the regions are not of five numbers.
        """
        images, regions = self.prev_layer = in_obj
        if regions.out_shape[0] != 5:
            raise ValueError(
                f"RoiPooling '{self.name}': a region has five numbers, received {regions.out_shape}"
            )
        self.rois_per_img = regions.out_shape[1]
        self.in_shape = images.out_shape
        self.fm_channel, self.fm_height, self.fm_width = self.in_shape
        # The regions of an image are as the steps of a sequence are.
        self.out_shape = (self.fm_channel * self.roi_H * self.roi_W, self.rois_per_img)
        return self

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make outputs, deltas, and what remembers the places of the largest elements."""
        super().allocate(shared_outputs)
        self.error = self.be.iobuf(self.in_shape)
        self.max_idx = self.be.iobuf(self.out_shape, dtype=np.int32)

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The largest elements."""
        self.img, regions = inputs
        self.rois = regions.transpose()
        self.outputs.fill(0)
        self.max_idx.fill(0)
        self.be.roipooling_fprop(self.img, self.rois, self.outputs, self.max_idx, *self._sizes())
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the images."""
        self.error.fill(0)
        if self.bprop_enabled:
            self.be.roipooling_bprop(error, self.rois, self.error, self.max_idx, *self._sizes())
        return self.error

    def _sizes(self) -> tuple[Any, ...]:
        images = (self.fm_channel, self.fm_height, self.fm_width)
        return (self.rois_per_img, *images, self.roi_H, self.roi_W, self.spatial_scale)
