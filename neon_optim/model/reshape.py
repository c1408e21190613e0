"""Samples in another shape."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from neon_optim.described.checks import Either, Items, Number
from neon_optim.model.layer import Layer
from neon_optim.model.shapes import Shape, features, reshaped, steps, wanted

__all__ = ["Reshape", "new_shape"]

_EXTENT = Number(ge=-1, integer=True)


class Reshape(Layer):
    """The elements of each sample in another shape, in C order; the values stay.

    Arguments:
        reshape: the new shape: (features,), (F, T) or (C, H, W), or a number of features. 0 keeps the extent that
            comes in at that place, and one -1 stands for what is left.

    References:
        neon/layers/layer.py.

    >>> layer = Reshape((0, -1))
    >>> layer.in_shape = (4, 5, 6)
    >>> layer.configure(120)
    >>> layer.out_shape
    (4, 30)
    """

    positional: ClassVar[tuple[str, ...]] = ("reshape", "name")

    reshape: Annotated[Any, Either(_EXTENT, Items(_EXTENT))]

    def configure(self, nin: int) -> None:
        """Learn the shape of what comes in, and find the one that goes out."""
        super().configure(nin)
        found = new_shape(self.in_shape, self.reshape)
        if found is None:
            size = math.prod(self.in_shape)
            raise wanted(self, f"samples that {self.reshape} can hold", f"they have {size} elements")
        self._new = found
        self.nout = features(found)

    @property
    def out_shape(self) -> Shape:
        """The new shape."""
        return self._new

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x in the new shape; a sequence has its steps in the columns."""
        samples = x.shape[1] // steps(self.in_shape)
        return reshaped(x, (self.nout, steps(self._new) * samples))


def new_shape(shape: Shape, asked: Any) -> Shape | None:
    """What a shape becomes; None where the elements do not go into what is asked for.

    >>> new_shape((10, 2, 50), (10, 25, -1)), new_shape((10, 2), (3, -1))
    ((10, 25, 4), None)
    """
    extents = [asked] if isinstance(asked, int) else list(asked)
    if any(extent == 0 and k >= len(shape) for k, extent in enumerate(extents)) or extents.count(-1) > 1:
        return None
    extents = [int(shape[k]) if extent == 0 else int(extent) for k, extent in enumerate(extents)]
    size = math.prod(shape)
    if -1 in extents:
        known = -math.prod(extents)
        if known == 0 or size % known:
            return None
        extents[extents.index(-1)] = size // known
    return tuple(extents) if math.prod(extents) == size else None
