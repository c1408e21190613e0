"""Batch normalization."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import Fraction, Positive
from neon_optim.model.layer import Layer, not_made
from neon_optim.model.shapes import in_channels, reshaped

__all__ = ["BatchNorm"]


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) · gamma + beta, for each feature, or each channel of an image.

    Arguments:
        rho: how much of the running statistics stays with each minibatch.
        eps: is added to the variance.

    In training mean and variance are those of the minibatch; otherwise running ones, ``gmean`` and ``gvar``, which
    start at 0. A checkpoint keeps them with ``gamma`` and ``beta``. Variances are divided by the number of elements,
    those that run too, and both passes do neon's operations in neon's order.

    References:
        Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate shift,
        ICML 2015. neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=2)
    >>> layer = BatchNorm(eps=1e-6)
    >>> layer.configure(1); layer.init_params()
    >>> print(layer.fprop(be.array([[1.0, 3.0]])).get(), layer.gmean.get())
    [[-0.9999995  0.9999995]] [[0.2]]
    """

    positional: ClassVar[tuple[str, ...]] = ("rho", "eps", "name")
    learns = True

    rho: Fraction = 0.9
    eps: Positive = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.beta: Any = None

    def init_params(self) -> None:
        """beta and running statistics of 0, gamma of 1."""
        self.make((self.in_shape[0], 1))

    def make(self, shape: Any) -> None:
        """Make parameters and statistics of a shape, (features, 1) or (C, 1)."""
        be = self.backend
        self.beta, self.gamma = be.zeros(shape, name="beta"), be.ones(shape, name="gamma")
        self.grad_beta, self.grad_gamma = be.zeros(shape), be.zeros(shape)
        self.gmean, self.gvar = be.zeros(shape, name="gmean"), be.zeros(shape, name="gvar")
        self._before = [be.zeros(shape), be.zeros(shape)]
        self.states: list[list[Any]] = [[], []]

    def get_params(self) -> list[Any]:
        """``[((beta, grad_beta), states), ((gamma, grad_gamma), states)]``."""
        if self.beta is None:
            raise not_made(self)
        pairs = ((self.beta, self.grad_beta), (self.gamma, self.grad_gamma))
        return list(zip(pairs, self.states, strict=True))

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """The running statistics."""
        return {} if self.beta is None else {"gmean": self.gmean, "gvar": self.gvar}

    def prepare(self, columns: int) -> None:
        """Keep the running statistics for the next ones to be made of."""
        self._before[0][:], self._before[1][:] = self.gmean, self.gvar

    def forward(self, x: Any, inference: bool = False) -> Any:
        """xhat · gamma + beta."""
        be, wide = self.be, in_channels(x, self.in_shape[0])
        if inference:
            xhat = (wide - self.gmean) / be.sqrt(self.gvar + self.eps)
            return reshaped(xhat * self.gamma + self.beta, x.shape)
        mean = be.sum(wide, axis=1) / float(wide.shape[1])
        var = self.variance(wide)
        for array, before, value in zip((self.gmean, self.gvar), self._before, (mean, var), strict=True):
            self.let(array, before * self.rho + (1.0 - self.rho) * value)
        value = reshaped(self.scaled(wide - mean, var) + self.beta, x.shape)
        return stated(
            value,
            [x, self.gamma, self.beta],
            lambda error, y, x, gamma, beta: self._backward(error, x, wide, mean, var),
        )

    def variance(self, wide: Any) -> Any:
        """The variance of each row."""
        return self.be.var(wide, axis=1)

    def scaled(self, distance: Any, var: Any) -> Any:
        """Distances from the mean over the deviation, times gamma."""
        return distance / self.be.sqrt(var + self.eps) * self.gamma

    def times(self, a: Any, factor: Any) -> Any:
        """a × factor, in the backward pass."""
        return a * factor

    def _backward(self, error: Any, x: Any, wide: Any, mean: Any, var: Any) -> list[Any]:
        be, delta, times = self.be, in_channels(error, self.in_shape[0]), self.times
        inverse = 1.0 / be.sqrt(var + self.eps)
        xhat = times(wide - mean, inverse)
        by_gamma, by_beta = be.sum(xhat * delta, axis=1), be.sum(delta, axis=1)
        shared = (times(xhat, by_gamma) + by_beta) / float(wide.shape[1])
        return [reshaped(times(times(delta - shared, self.gamma), inverse), x.shape), by_gamma, by_beta]
