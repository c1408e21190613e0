"""First values of parameters. Random ones come from ``be.rng``, as in neon: its seed decides them."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from neon_optim.described.arguments import Name, NonNegative, Real, raise_problems
from neon_optim.described.object import NervanaObject
from neon_optim.errors import Problem

__all__ = ["Constant", "Gaussian", "GlorotUniform", "Initializer", "Kaiming", "Uniform", "Xavier"]


class Initializer(NervanaObject, kind="initializer", abstract=True):
    """Fills a parameter of (nout, nin)."""

    @abstractmethod
    def fill(self, param: Any) -> None:
        """Set every element of a tensor."""

    def fill_along(self, param: Any, axis: int) -> None:
        """Set every element of a tensor whose inputs stand along an axis: (nout, nin), or (nin, nout) with 0."""
        self.fill(param)


class Constant(Initializer):
    """The same number everywhere.

    Arguments:
        val: the number.
    """

    val: Real = 0.0
    name: Name = "constantInit"

    def fill(self, param: Any) -> None:
        """Set every element to ``val``."""
        param.fill(self.val)


class Uniform(Initializer):
    """Evenly distributed numbers.

    Arguments:
        low, high: bounds; ``low`` is not above ``high``.
    """

    low: Real = 0.0
    high: Real = 1.0
    name: Name = "uniformInit"

    def check_fields(self) -> None:
        """The upper bound is not below the lower one."""
        if self.low > self.high:
            raise_problems("Uniform", [Problem("high", self.high, f"must be at least low ({self.low})")])

    def fill(self, param: Any) -> None:
        """Draw from [low, high)."""
        param.set(self.be.rng.uniform(self.low, self.high, param.shape))


class Gaussian(Initializer):
    """Normally distributed numbers.

    Arguments:
        loc: mean.
        scale: standard deviation, at least 0.
    """

    loc: Real = 0.0
    scale: NonNegative = 1.0
    name: Name = "gaussianInit"

    def fill(self, param: Any) -> None:
        """Draw from the normal distribution."""
        param.set(self.be.rng.normal(self.loc, self.scale, param.shape))


class GlorotUniform(Initializer):
    """Evenly distributed in ± sqrt(6 / (nin + nout)).

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    """

    name: Name = "autouniformInit"

    def fill(self, param: Any) -> None:
        """Draw from the uniform distribution."""
        bound = math.sqrt(6.0 / (param.shape[0] + param.shape[1]))
        param.set(self.be.rng.uniform(-bound, bound, param.shape))


class Xavier(Initializer):
    """Evenly distributed in ± sqrt(3 / nin): of variance 1 / nin.

    References:
        neon/initializers/initializer.py.
    """

    name: Name = "xavier"

    def fill(self, param: Any) -> None:
        """Draw from the uniform distribution."""
        self.fill_along(param, axis=1)

    def fill_along(self, param: Any, axis: int) -> None:
        """Draw from the uniform distribution."""
        bound = math.sqrt(3.0 / param.shape[axis])
        param.set(self.be.rng.uniform(-bound, bound, param.shape))


class Kaiming(Initializer):
    """Normally distributed with standard deviation sqrt(2 / nin), for layers before a rectifier.

    References:
        He et al., Delving deep into rectifiers, ICCV 2015.
    """

    name: Name = "Kaiming"

    def fill(self, param: Any) -> None:
        """Draw from the normal distribution."""
        self.fill_along(param, axis=1)

    def fill_along(self, param: Any, axis: int) -> None:
        """Draw from the normal distribution."""
        param.set(self.be.rng.normal(0.0, math.sqrt(2.0 / param.shape[axis]), param.shape))
