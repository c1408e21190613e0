"""neon's transformers around a loader of aeon: each changes one of the tensors of a minibatch, or their order."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import DataError

__all__ = [
    "BGRMeanSubtract",
    "DataLoaderTransformer",
    "DumpImage",
    "OneHot",
    "PixelWiseOneHot",
    "Retuple",
    "TypeCast",
    "ValueNormalize",
]


class DataLoaderTransformer(NervanaObject):
    """Gives the minibatches of another loader, with ``transform`` done to one of their tensors or to all of them.

    What this object does not have is asked of the loader.

    Arguments:
        dataloader: the loader, or another transformer.
        index: which tensor of a minibatch; None: ``transform`` gets them all.
    """

    def __init__(self, dataloader: Any, index: int | None, name: Any = None) -> None:
        super().__init__(name)
        self.dataloader = dataloader
        self.index = index
        if index is not None:
            self._shape = (int(np.prod(dataloader.shapes()[index])), self.be.bsz)

    def __getattr__(self, key: str) -> Any:
        if key == "dataloader" or key.startswith("__"):
            raise AttributeError(key)
        return getattr(self.dataloader, key)

    def __iter__(self) -> Iterator[Any]:
        """Minibatches as the loader gives them, changed."""
        for tensors in self.dataloader:
            if self.index is None:
                yield self.transform(tensors)
                continue
            changed = self.transform(tensors[self.index])
            if changed is None:
                raise DataError(f"transform() of {self.classnm} returned None where a tensor is due")
            yield [changed if place == self.index else tensor for place, tensor in enumerate(tensors)]

    def transform(self, t: Any) -> Any:
        """What takes the place of ``t``; a subclass says what."""
        raise NotImplementedError(f"{self.classnm} lacks transform()")


class OneHot(DataLoaderTransformer):
    """Class numbers → columns with a single 1.

    Arguments:
        nclasses: number of classes.
    """

    def __init__(self, dataloader: Any, index: int, nclasses: int, name: Any = None) -> None:
        super().__init__(dataloader, index, name=name)
        self.output = self.be.iobuf(nclasses, parallelism="Data")

    def transform(self, t: Any) -> Any:
        """``t``, (1, be.bsz), as (nclasses, be.bsz)."""
        self.output[:] = self.be.onehot(t, axis=0)
        return self.output


class PixelWiseOneHot(DataLoaderTransformer):
    """Class numbers of pixels → a plane of zeros and ones for each class.

    Arguments:
        nclasses: number of classes.
    """

    def __init__(self, dataloader: Any, index: int, nclasses: int, name: Any = None) -> None:
        super().__init__(dataloader, index, name=name)
        self.nclasses = nclasses
        self.output: Any = None

    def transform(self, t: Any) -> Any:
        """``t``, (pixels, be.bsz), as (nclasses * pixels, be.bsz)."""
        if self.output is None:
            self.output = self.be.iobuf(self.nclasses * t.shape[0], dtype=np.int32)
            self.outview = self.output.reshape((self.nclasses, -1))
        self.outview[:] = self.be.onehot(t.reshape((1, -1)), axis=0)
        return self.output


class TypeCast(DataLoaderTransformer):
    """Elements of another type.

    Arguments:
        dtype: the type.
    """

    def __init__(self, dataloader: Any, index: int, dtype: Any, name: Any = None) -> None:
        super().__init__(dataloader, index, name=name)
        self.output = self.be.iobuf(self._shape[0], dtype=dtype, parallelism="Data")

    def transform(self, t: Any) -> Any:
        """``t`` in the type."""
        self.output[:] = t
        return self.output


class Retuple(DataLoaderTransformer):
    """Minibatches as pairs (inputs, targets); either is a tuple where it has several tensors.

    Arguments:
        data: places of the inputs in the minibatch.
        target: places of the targets.
    """

    def __init__(
        self,
        dataloader: Any,
        data: Sequence[int] = (0,),
        target: Sequence[int] = (1,),
        name: Any = None,
    ) -> None:
        super().__init__(dataloader, None, name=name)
        self._data = data
        self._target = target

    def transform(self, t: Any) -> tuple[Any, Any]:
        """The pair."""
        data, target = (
            t[places[0]] if len(places) == 1 else tuple(t[place] for place in places)
            for places in (self._data, self._target)
        )
        return data, target


class BGRMeanSubtract(DataLoaderTransformer):
    """Images less a number for each of their three channels.

    Arguments:
        pixel_mean: the numbers, in the order of the channels.
    """

    def __init__(
        self, dataloader: Any, index: int, pixel_mean: Any = (127, 119, 104), name: Any = None
    ) -> None:
        super().__init__(dataloader, index, name=name)
        self.pixel_mean = self.be.array(np.asarray(pixel_mean).reshape(-1, 1))

    def transform(self, t: Any) -> Any:
        """``t``, (C * H * W, be.bsz), changed in place."""
        by_channel = t.reshape((3, -1))
        by_channel[:] = by_channel - self.pixel_mean
        return t


class ValueNormalize(DataLoaderTransformer):
    """Values of one range → the same in another.

    Arguments:
        source_range: (low, high) of what comes.
        target_range: (low, high) of what goes.
    """

    def __init__(
        self,
        dataloader: Any,
        index: int,
        source_range: Any = (0.0, 255.0),
        target_range: Any = (0.0, 1.0),
        name: Any = None,
    ) -> None:
        super().__init__(dataloader, index, name=name)
        self.xmin, self.xspan = float(source_range[0]), float(source_range[1] - source_range[0])
        self.ymin, self.yspan = float(target_range[0]), float(target_range[1] - target_range[0])

    def transform(self, t: Any) -> Any:
        """``t`` changed in place."""
        t[:] = (t - self.xmin) / self.xspan * self.yspan + self.ymin
        return t


class DumpImage(DataLoaderTransformer):
    """Writes one image of each minibatch to a file with a random name; the minibatch stays as it is.

    Arguments:
        image_index: which sample.
        outshape: (C, H, W) of an image, in the order blue, green, red.
        output_directory: the folder; default ``/tmp``.
    """

    def __init__(
        self,
        dataloader: Any,
        index: int,
        image_index: int,
        outshape: Any,
        output_directory: str | None = None,
        name: Any = None,
    ) -> None:
        super().__init__(dataloader, index, name=name)
        self.outshape = outshape
        self.image_index = image_index
        self.output_directory = output_directory or "/tmp"

    def transform(self, t: Any) -> Any:
        """``t`` itself."""
        try:
            from PIL import Image
        except ImportError as error:
            raise DataError(
                "writing images needs Pillow, which is not installed: pip install pillow"
            ) from error
        values = t if isinstance(t, np.ndarray) else t.get()
        image = values[:, self.image_index].reshape(self.outshape)
        image = np.broadcast_to(image, (3, *self.outshape[1:])).transpose(1, 2, 0)[:, :, ::-1]
        Image.fromarray(image.astype(np.uint8)).save(self.filename())
        return t

    def filename(self) -> str:
        """A random path in the folder."""
        return os.path.join(self.output_directory, f"{random.random()}.png")
