"""neon's activation functions. Their derivatives take the outputs, and leave out what the cost has folded in."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.optree import stated
from neon_optim.compat.neon.transforms.transform import Transform
from neon_optim.described.arguments import Flag, Name, PositiveInt, Real

__all__ = [
    "Explin",
    "Identity",
    "Logistic",
    "Normalizer",
    "PixelwiseSoftmax",
    "Rectlin",
    "Rectlinclip",
    "Sign",
    "Softmax",
    "Tanh",
]


class Identity(Transform):
    """x."""

    def __call__(self, x: Any) -> Any:
        return x

    def bprop(self, x: Any) -> Any:
        """1."""
        return 1

    def forward(self, x: Any) -> Any:
        """x itself."""
        return x


class Rectlin(Transform):
    """max(x, 0) + slope · min(x, 0).

    Arguments:
        slope: slope for negative x; 0 is the plain rectifier. The derivative at 0 is 0.
    """

    slope: Real = 0
    name: Name = None

    is_mklop = True

    def __call__(self, x: Any, nglayer: Any = None) -> Any:
        """The function of x; ``nglayer`` is for neon's MKL backend."""
        positive = self.be.maximum(x, 0)
        return positive + self.slope * self.be.minimum(0, x) if self.slope else positive

    def bprop(self, x: Any, nglayer: Any = None, error: Any = None, deltas: Any = None) -> Any:
        """1 where x > 0, slope where x < 0; the arguments behind x are for neon's MKL backend."""
        positive = self.be.greater(x, 0)
        return positive + self.slope * self.be.less(x, 0) if self.slope else positive


class Rectlinclip(Transform):
    """min(max(x, 0) + slope · min(x, 0), xcut).

    Arguments:
        slope: slope for negative x.
        xcut: the largest value.
    """

    slope: Real = 0
    name: Name = None
    xcut: Real = 20.0

    def __call__(self, x: Any) -> Any:
        positive = self.be.maximum(x, 0)
        line = positive + self.slope * self.be.minimum(x, 0) if self.slope else positive
        return self.be.minimum(line, self.xcut)

    def bprop(self, x: Any) -> Any:
        """1 where x > 0, slope where x < 0; 0 where the outputs are cut."""
        positive = self.be.greater(x, 0)
        line = positive + self.slope * self.be.less(x, 0) if self.slope else positive
        return line * self.be.greater(self.xcut, x)


class Explin(Transform):
    """max(x, 0) + alpha · (exp(min(x, 0)) - 1).

    Arguments:
        alpha: weight of the exponential part.

    References:
        Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, ICLR
        2016.
    """

    alpha: Real = 1.0
    name: Name = None

    def __call__(self, x: Any) -> Any:
        be = self.be
        return be.maximum(x, 0) + self.alpha * (be.exp(be.minimum(x, 0)) - 1)

    def bprop(self, x: Any) -> Any:
        """1 where the outputs are positive, else the outputs + alpha."""
        be = self.be
        return be.greater(x, 0) + be.minimum(x, 0) + self.alpha * be.less(x, 0)


class Normalizer(Transform):
    """x / divisor.

    Arguments:
        divisor: what inputs are divided by.
    """

    name: Name = None
    divisor: Real = 128.0

    def __call__(self, x: Any) -> Any:
        return x / self.divisor

    def bprop(self, x: Any) -> Any:
        """1 / divisor."""
        return 1.0 / self.divisor


class Softmax(Transform):
    """(1 / the sum of e) · e along an axis, with e = exp(x - the largest x).

    Arguments:
        axis: the axis along which the outputs add up to 1.
        epsilon: neon's; not used, there neither.
    """

    axis: int = 0
    name: Name = None
    epsilon: Real = 2**-23

    def __call__(self, x: Any) -> Any:
        return self.be.fprop_softmax(x, self.axis)

    def bprop(self, x: Any) -> Any:
        """1: CrossEntropyMulti has the derivative folded in."""
        return 1


class PixelwiseSoftmax(Transform):
    """A softmax over the channels of each pixel.

    Arguments:
        c: number of channels; the rows of x are those of the first channel, then those of the second, and so on.
        epsilon: neon's; not used, there neither.
    """

    c: PositiveInt
    name: Name = None
    epsilon: Real = 2**-23

    def __call__(self, x: Any) -> Any:
        return self.be.fprop_softmax(x.reshape((self.c, -1)), 0).reshape(x.shape)

    def bprop(self, x: Any) -> Any:
        """1: the cost has the derivative folded in."""
        return 1


class Tanh(Transform):
    """The hyperbolic tangent."""

    def __call__(self, x: Any) -> Any:
        return self.be.tanh(x)

    def bprop(self, x: Any) -> Any:
        """1 - x²."""
        return 1.0 - self.be.square(x)


class Logistic(Transform):
    """1 / (1 + exp(-x)).

    Arguments:
        shortcut: the cost, CrossEntropyBinary, has the derivative folded in.
    """

    name: Name = None
    shortcut: Flag = False

    def __call__(self, x: Any) -> Any:
        return self.be.sig(x)

    def bprop(self, y: Any) -> Any:
        """y (1 - y); 1 with the shortcut."""
        return 1 if self.shortcut else y * (1.0 - y)

    def set_shortcut(self, shortcut: bool) -> None:
        """Set ``shortcut``."""
        self.shortcut = shortcut


class Sign(Transform):
    """1 where x ≥ 0, else -1; its derivative is 1 where \\|x\\| ≤ 1 (the straight-through estimator).

    Attributes:
        inputs: a copy of the last x, which the derivative is a function of.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inputs: Any = None

    def __call__(self, x: Any) -> Any:
        """The sign of a tensor, of which a copy is kept."""
        self.inputs = self.be.array(x.get(), dtype=x.dtype)
        return self._sign(x)

    def bprop(self, x: Any) -> Any:
        """1 where the last inputs were in [-1, 1], else 0."""
        return self.be.less_equal(self.be.absolute(self.inputs), 1)

    def forward(self, x: Any) -> Any:
        """The sign, with the derivative in terms of x itself."""
        be = self.be
        return stated(self._sign(x), [x], lambda error, y, x: [be.less_equal(be.absolute(x), 1) * error])

    def _sign(self, x: Any) -> Any:
        return 2.0 * self.be.greater_equal(x, 0) - 1.0
