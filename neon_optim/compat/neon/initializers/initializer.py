"""neon's initializers. Random ones draw from ``be.rng`` what neon's draw, in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from neon_optim.backends.optree import Expression
from neon_optim.described.arguments import Flag, Name, Real
from neon_optim.errors import ArgumentError
from neon_optim.model import initializers
from neon_optim.model.initializers import Initializer

__all__ = [
    "Array",
    "Constant",
    "Gaussian",
    "GlorotUniform",
    "IdentityInit",
    "Initializer",
    "Kaiming",
    "Orthonormal",
    "Uniform",
    "Xavier",
]


class Constant(Initializer):
    """The same number everywhere, or given values.

    Arguments:
        val: a number, or a tensor or an array of the parameter's shape.
    """

    val: Any = 0.0
    name: Name = "constantInit"

    def fill(self, param: Any) -> None:
        """Set the elements."""
        shape = getattr(self.val, "shape", ())
        if isinstance(self.val, Expression) and shape != param.shape:
            raise ArgumentError(
                f"{self.classnm}: val has the shape {shape}, and what is to be filled {param.shape}"
            )
        param[:] = self.val


class Array(Constant):
    """Given values.

    Arguments:
        val: a tensor or an array of the parameter's shape.
    """

    def get_description(self, skip: Iterable[str] = (), **options: Any) -> dict[str, Any]:
        """The description, with the values as a NumPy array."""
        described = super().get_description(skip=[*skip, "val"])
        values = np.array(self.val.get() if hasattr(self.val, "get") else self.val)
        return {**described, "config": {"val": values, **described["config"]}}


class Uniform(initializers.Uniform):
    """Evenly distributed numbers.

    Arguments:
        low, high: bounds; ``low`` is not above ``high``.
    """


class Gaussian(initializers.Gaussian):
    """Normally distributed numbers.

    Arguments:
        loc: mean.
        scale: standard deviation, at least 0.
    """


class GlorotUniform(initializers.GlorotUniform):
    """Evenly distributed in ± sqrt(6 / (rows + columns)).

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    """


class _ByFanIn(Initializer, abstract=True):
    """An initializer that looks at how many elements a unit sums over."""

    local: Flag = True
    name: Name = None

    positional: ClassVar[tuple[str, ...]] = ("local", "name")

    def fan_in(self, param: Any) -> int:
        """Over how many elements a unit sums."""
        return int(param.shape[0 if self.local else 1])


class Xavier(_ByFanIn):
    """Evenly distributed in ± sqrt(3 / fan-in).

    Arguments:
        local: whether the rows of a parameter are what a unit sums over, as in convolutions; else its columns are.
    """

    name: Name = "xavier"

    def fill(self, param: Any) -> None:
        """Draw from the uniform distribution."""
        bound = math.sqrt(3.0 / self.fan_in(param))
        param[:] = self.be.rng.uniform(-bound, bound, param.shape)


class Kaiming(_ByFanIn):
    """Normally distributed with standard deviation sqrt(2 / fan-in).

    Arguments:
        local: whether the rows of a parameter are what a unit sums over, as in convolutions; else its columns are.

    References:
        He et al., Delving deep into rectifiers, ICCV 2015.
    """

    name: Name = "Kaiming"

    def fill(self, param: Any) -> None:
        """Draw from the normal distribution."""
        param[:] = self.be.rng.normal(0, math.sqrt(2.0 / self.fan_in(param)), param.shape)


class IdentityInit(_ByFanIn):
    """1 on the diagonal, else 0.

    Arguments:
        local: neon's; not used, there neither.
    """

    name: Name = "Identity"

    def fill(self, param: Any) -> None:
        """Set the elements."""
        param[:] = np.eye(*param.shape, dtype=np.float32)


class Orthonormal(Initializer):
    """Singular vectors of a random normal matrix: rows or columns are orthogonal, whichever are fewer.

    Arguments:
        scale: factor of the values.

    The matrix is drawn from NumPy's global generator, as in neon: ``numpy.random.seed`` decides it, not the backend's.

    References:
        Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear neural networks, ICLR 2014.
    """

    scale: Real = 1.1
    name: Name = "orthonormal"

    def fill(self, param: Any) -> None:
        """Draw the matrix and decompose it."""
        left, _, right = np.linalg.svd(np.random.normal(0.0, 1.0, param.shape), full_matrices=False)
        param[:] = self.scale * (left if left.shape == param.shape else right)
