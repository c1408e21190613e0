"""Activation functions: pairs of a function and what it does to the error on the way back."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import Flag, Name, NonNegative, Positive
from neon_optim.described.object import NervanaObject

__all__ = [
    "ActivationFunction",
    "Explin",
    "Identity",
    "Logistic",
    "Normalizer",
    "Rectlin",
    "Rectlinclip",
    "Softmax",
    "Tanh",
]


class ActivationFunction(NervanaObject, kind="activation", abstract=True):
    """A function of a tensor (features × samples) as an op-tree.

    Attributes:
        shortcut: True where the cost has already folded the derivative in, so that :meth:`bprop` hands the error on.
    """

    shortcut = False

    @abstractmethod
    def __call__(self, x: Any) -> Any:
        """The function of x."""

    def bprop(self, y: Any, error: Any) -> Any:
        """The derivative of the cost by x, given the outputs y and the derivative of the cost by y.

        A class states it where it is simpler in terms of y; else it follows from the function.
        """
        raise NotImplementedError(f"{self.classnm} states its function only")

    def forward(self, x: Any) -> Any:
        """The function of x, with the backward pass that the class states."""
        value = self(x)
        if type(self).bprop is ActivationFunction.bprop:
            return value
        return stated(value, [x], lambda error, y, x: [self.bprop(y, error)])


class Identity(ActivationFunction):
    """x."""

    name: Name = "Identity"

    def __call__(self, x: Any) -> Any:
        return x


class Rectlin(ActivationFunction):
    """max(x, 0) + slope · min(x, 0).

    Arguments:
        slope: slope for negative x, at least 0; 0 is the plain rectifier.

    The derivative at 0 is ``slope``, as in neon.
    """

    slope: NonNegative = 0.0
    name: Name = "Rectlin"

    def __call__(self, x: Any) -> Any:
        positive = self.be.maximum(x, 0.0)
        return positive + self.slope * self.be.minimum(x, 0.0) if self.slope else positive

    def bprop(self, y: Any, error: Any) -> Any:
        """error × (1 where y > 0, else slope)."""
        positive = self.be.greater(y, 0.0)
        return error * (positive + self.slope * (1.0 - positive) if self.slope else positive)


class Rectlinclip(ActivationFunction):
    """The smaller one of xcut and max(x, 0) + slope · min(x, 0).

    Arguments:
        slope: slope for negative x.
        xcut: the largest value.
    """

    slope: NonNegative = 0.0
    xcut: Positive = 20.0
    name: Name = "Rectlinclip"

    def __call__(self, x: Any) -> Any:
        positive = self.be.maximum(x, 0.0)
        line = positive + self.slope * self.be.minimum(x, 0.0) if self.slope else positive
        return self.be.minimum(line, self.xcut)

    def bprop(self, y: Any, error: Any) -> Any:
        """error × (1 where y > 0, else slope), and 0 where y is cut."""
        positive = self.be.greater(y, 0.0)
        line = positive + self.slope * self.be.less(y, 0.0) if self.slope else positive
        return error * (line * self.be.less(y, self.xcut))


class Explin(ActivationFunction):
    """max(x, 0) + alpha · (exp(min(x, 0)) - 1).

    Arguments:
        alpha: weight of the exponential part.

    References:
        Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, ICLR
        2016.
    """

    alpha: Positive = 1.0
    name: Name = "Explin"

    def __call__(self, x: Any) -> Any:
        be = self.be
        return be.maximum(x, 0.0) + self.alpha * (be.exp(be.minimum(x, 0.0)) - 1.0)

    def bprop(self, y: Any, error: Any) -> Any:
        """error × (1 where y > 0, else y + alpha)."""
        be = self.be
        positive = be.greater(y, 0.0)
        return error * (positive + (1.0 - positive) * (y + self.alpha))


class Normalizer(ActivationFunction):
    """x / divisor.

    Arguments:
        divisor: what inputs are divided by.
    """

    divisor: Positive = 128.0
    name: Name = "Normalizer"

    def __call__(self, x: Any) -> Any:
        return x / self.divisor


class Logistic(ActivationFunction):
    """1 / (1 + exp(-x)).

    Arguments:
        shortcut: the cost that follows has the derivative folded in; it must be CrossEntropyBinary. That pair is
            folded without being asked too: the setting states what must hold.
    """

    name: Name = "Logistic"
    shortcut: Flag = False

    def __call__(self, x: Any) -> Any:
        return self.be.sig(x)

    def bprop(self, y: Any, error: Any) -> Any:
        """error × y (1 - y)."""
        return error if self.shortcut else error * y * (1.0 - y)


class Tanh(ActivationFunction):
    """The hyperbolic tangent."""

    name: Name = "Tanh"

    def __call__(self, x: Any) -> Any:
        return self.be.tanh(x)


class Softmax(ActivationFunction):
    """exp(x) over its sum, column by column: each sample's outputs add up to 1."""

    name: Name = "Softmax"

    def __call__(self, x: Any) -> Any:
        power = self.be.exp(x - self.be.max(x, axis=0))
        return power / self.be.sum(power, axis=0)

    def bprop(self, y: Any, error: Any) -> Any:
        """y × (error - the column's sum of y × error). neon's is right for a folded cross-entropy only."""
        return y * (error - self.be.sum(y * error, axis=0))
