"""Layers of binarized networks: weights of ±1, powers of two in place of factors."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import Fraction, Positive
from neon_optim.model.batch_norm import BatchNorm
from neon_optim.model.layers import Linear

__all__ = ["BinaryLinear", "ShiftBatchNorm"]


class BinaryLinear(Linear):
    """sign(W) · x, where 0 has the sign 1.

    Arguments:
        nout: features that go out.
        init: initializer of W, which is (nout, nin).

    The derivative by W is that by its signs: the optimizer updates W itself, which remembers small steps.

    References:
        Courbariaux et al., Binarized neural networks, NIPS 2016. neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = BinaryLinear(nout=1, init=Constant(-0.25))
    >>> layer.configure(2); layer.init_params()
    >>> print(layer.fprop(be.array([[1], [2]])).get())
    [[-3.]]
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """sign(W) · x."""
        be = self.be
        signs = 2.0 * be.greater_equal(self.W, 0.0) - 1.0
        value = be.dot(signs, x)
        return stated(
            value,
            [x, self.W],
            lambda error, y, x, W: [be.dot(be.transpose(signs), error), be.dot(error, x.T)],
        )


class ShiftBatchNorm(BatchNorm):
    """Batch normalization that multiplies by the nearest powers of two.

    Arguments:
        rho: how much of the running statistics stays with each minibatch.
        eps: is added to the variance.

    Outside of training it is a BatchNorm, as in neon.

    References:
        Courbariaux et al., Binarized neural networks, NIPS 2016, algorithm 3. neon/layers/layer.py.
    """

    rho: Fraction = 0.99
    eps: Positive = 1e-6

    def variance(self, wide: Any) -> Any:
        """The mean of distances from the mean, each times the power of two that is nearest to it."""
        distance = wide - self.be.mean(wide, axis=1)
        return self.be.mean(self.be.shift(distance, distance), axis=1)

    def scaled(self, distance: Any, var: Any) -> Any:
        """Distances from the mean over the deviation, times gamma, by powers of two."""
        shift = self.be.shift
        return shift(shift(distance, 1.0 / self.be.sqrt(var + self.eps)), self.gamma)

    def times(self, a: Any, factor: Any) -> Any:
        """a times the power of two that is nearest to a factor."""
        return self.be.shift(a, factor)
