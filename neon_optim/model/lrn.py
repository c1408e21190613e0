"""Local response normalization."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import PositiveInt, Real, raise_problems
from neon_optim.errors import Problem
from neon_optim.model.layer import Layer
from neon_optim.model.shapes import in_channels, reshaped

__all__ = ["LRN"]


class LRN(Layer):
    """x / (1 + ascale / depth · Σ x²) ** bpower, with the sum over neighbouring channels of each pixel.

    Arguments:
        depth: how many channels are summed over, half of them on each side; an odd number.
        alpha, beta: neon's; without effect.
        ascale, bpower: as above.

    Beyond the first and the last channel there are zeros. Both passes do neon's operations in neon's order.

    References:
        Krizhevsky et al., ImageNet classification with deep convolutional neural networks, NIPS 2012.
        neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = LRN(depth=3, ascale=3.0)
    >>> layer.in_shape = (3, 1, 1)
    >>> layer.configure(3)
    >>> print(layer.fprop(be.array([[1], [2], [3]])).get().T)
    [[0.16666667 0.13333334 0.21428573]]
    """

    positional: ClassVar[tuple[str, ...]] = ("depth", "alpha", "beta", "ascale", "bpower", "name")

    depth: PositiveInt
    alpha: Real = 1.0
    beta: Real = 0.0
    ascale: Real = 1.0
    bpower: Real = 1.0

    def check_fields(self) -> None:
        """As many channels on each side."""
        if self.depth % 2 == 0:
            raise_problems(self.classnm, [Problem("depth", self.depth, "must be an odd number")])

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x · (1 + ascale / depth · Σ x²) ** -bpower."""
        wide = in_channels(x, self.in_shape[0])
        divisor = 1.0 + self.ascale / self.depth * self._nearby(wide * wide)
        factor = divisor ** (-self.bpower)
        value = wide * factor

        def backward(error: Any, y: Any, x: Any) -> list[Any]:
            error = in_channels(error, self.in_shape[0])
            shared = self._nearby(value * error / divisor)
            scale = -2.0 * self.bpower * (self.ascale / self.depth)
            return [reshaped(scale * shared * wide + error * factor, x.shape)]

        return stated(reshaped(value, x.shape), [x], backward)

    def _nearby(self, wide: Any) -> Any:
        """The sum over neighbouring channels, of each channel."""
        channels, rest = wide.shape
        windows = {"window": (self.depth, 1), "strides": (1, 1), "padding": (self.depth // 2, 0)}
        columns = self.be.unfold(wide, channels=1, size=(channels, 1), **windows)
        return self.be.sum(columns, axis=0).reshape(channels, rest)
