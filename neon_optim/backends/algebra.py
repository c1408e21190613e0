"""neon's algebra by neon's names: every method builds an op-tree, or runs it when ``out`` is given.

Nothing here depends on where tensors live, so every backend has all of it (neon/backends/backend.py). Operations
beyond the primitive ones of :mod:`~neon_optim.backends.optree` are written in them, once, here.
"""

from __future__ import annotations

import math
from typing import Any

from neon_optim.backends.optree import Node

__all__ = ["Algebra"]


def _build(op: str, *args: Any, out: Any = None, **attrs: Any) -> Any:
    return _finish(Node(op, *args, **attrs), out)


def _finish(node: Any, out: Any) -> Any:
    if out is None:
        return node
    out[:] = node
    return out


class Algebra:
    """Functions of tensors, op-trees and numbers; the result is an op-tree, or ``out`` after running it there.

    Comparisons give 1 where they hold and 0 elsewhere. Reductions keep their dimensions, like neon's.
    """

    # --- two operands ---

    def add(self, a: Any, b: Any, out: Any = None) -> Any:
        """a + b."""
        return _build("add", a, b, out=out)

    def subtract(self, a: Any, b: Any, out: Any = None) -> Any:
        """a - b."""
        return _build("subtract", a, b, out=out)

    def multiply(self, a: Any, b: Any, out: Any = None) -> Any:
        """a * b, element by element."""
        return _build("multiply", a, b, out=out)

    def divide(self, a: Any, b: Any, out: Any = None) -> Any:
        """a / b."""
        return _build("divide", a, b, out=out)

    true_divide = divide

    def power(self, a: Any, b: Any, out: Any = None) -> Any:
        """a to the power b."""
        return _build("power", a, b, out=out)

    def maximum(self, a: Any, b: Any, out: Any = None) -> Any:
        """The larger of a and b; NaN if either is, and -0 is less than +0 (IEEE 754-2019 maximum)."""
        return _build("maximum", a, b, out=out)

    def minimum(self, a: Any, b: Any, out: Any = None) -> Any:
        """The smaller of a and b; NaN if either is, and -0 is less than +0 (IEEE 754-2019 minimum)."""
        return _build("minimum", a, b, out=out)

    def shift(self, a: Any, b: Any, out: Any = None) -> Any:
        """a times the power of two nearest to b (in log2), with b's sign: ``a * sgn(b) * 2**rint(log2|b|)``.

        The exponent is exact, from b's own exponent and mantissa; a mantissa of exactly sqrt(2) does not occur.
        """
        return _build("shift", a, b, out=out)

    def equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a == b, else 0."""
        return _build("equal", a, b, out=out)

    def not_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a != b, else 0."""
        return _build("not_equal", a, b, out=out)

    def less(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a < b, else 0."""
        return _build("less", a, b, out=out)

    def less_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a <= b, else 0."""
        return _build("less_equal", a, b, out=out)

    def greater(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a > b, else 0."""
        return _build("greater", a, b, out=out)

    def greater_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a >= b, else 0."""
        return _build("greater_equal", a, b, out=out)

    # --- one operand ---

    def negative(self, a: Any, out: Any = None) -> Any:
        """-a."""
        return _build("negative", a, out=out)

    def absolute(self, a: Any, out: Any = None) -> Any:
        """The absolute value."""
        return _build("absolute", a, out=out)

    def sgn(self, a: Any, out: Any = None) -> Any:
        """1, 0 or -1; NaN for NaN."""
        return _build("sgn", a, out=out)

    def sqrt(self, a: Any, out: Any = None) -> Any:
        """The square root, correctly rounded."""
        return _build("sqrt", a, out=out)

    def square(self, a: Any, out: Any = None) -> Any:
        """a * a."""
        return _build("multiply", a, a, out=out)

    def reciprocal(self, a: Any, out: Any = None) -> Any:
        """1 / a."""
        return _build("divide", 1.0, a, out=out)

    def exp(self, a: Any, out: Any = None) -> Any:
        """e to the power a."""
        return _build("exp", a, out=out)

    def exp2(self, a: Any, out: Any = None) -> Any:
        """2 to the power a."""
        return _build("exp2", a, out=out)

    def log(self, a: Any, out: Any = None) -> Any:
        """The natural logarithm."""
        return _build("log", a, out=out)

    def log2(self, a: Any, out: Any = None) -> Any:
        """The logarithm to base 2."""
        return _build("log2", a, out=out)

    def safelog(self, a: Any, out: Any = None) -> Any:
        """log(max(a, exp(-50))): never below -50."""
        return _build("log", Node("maximum", a, math.exp(-50.0)), out=out)

    def rint(self, a: Any, out: Any = None) -> Any:
        """The nearest integer, ties to even."""
        return _build("rint", a, out=out)

    def tanh(self, a: Any, out: Any = None) -> Any:
        """The hyperbolic tangent."""
        return _build("tanh", a, out=out)

    def tanh2(self, a: Any, out: Any = None) -> Any:
        """neon's hyperbolic tangent to base 2: (2**(2a) - 1) / (2**(2a) + 1)."""
        power = Node("exp2", Node("multiply", 2.0, a))
        return _build("divide", Node("subtract", power, 1.0), Node("add", power, 1.0), out=out)

    def sig(self, a: Any, out: Any = None) -> Any:
        """The logistic function 1 / (1 + exp(-a))."""
        return _build("divide", 1.0, Node("add", Node("exp", Node("negative", a)), 1.0), out=out)

    def sig2(self, a: Any, out: Any = None) -> Any:
        """neon's logistic function to base 2: 1 / (1 + 2**(-a))."""
        return _build("divide", 1.0, Node("add", Node("exp2", Node("negative", a)), 1.0), out=out)

    def clip(self, a: Any, a_min: Any, a_max: Any, out: Any = None) -> Any:
        """a limited to the range from a_min to a_max; NaN stays NaN."""
        return _build("minimum", Node("maximum", a, a_min), a_max, out=out)

    def where(self, condition: Any, a: Any, b: Any, out: Any = None) -> Any:
        """a where the condition is not 0, else b."""
        return _build("where", condition, a, b, out=out)

    # --- reductions: over the whole tensor (axis=None) or along one axis ---

    def sum(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The sum; over a whole tensor in float64 and in one fixed order, the same on every backend."""
        return self._reduce("sum", a, axis, out, keepdims)

    def sum_square(self, a: Any, out: Any = None) -> Any:
        """The sum of the squares of a whole tensor, squared and added in float64, in the order of :meth:`sum`."""
        return _build("sum_square", a, out=out)

    def mean(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The mean."""
        if axis is None:
            return _build("divide", Node("sum", a), Node("size", a), out=out)
        return self._reduce("mean", a, axis, out, keepdims)

    def max(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The largest element."""
        return self._reduce("amax", a, axis, out, keepdims)

    def min(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The smallest element."""
        return self._reduce("amin", a, axis, out, keepdims)

    def argmax(self, a: Any, axis: int = 0, out: Any = None, keepdims: bool = True) -> Any:
        """The index of the largest element along an axis (the first of equal ones)."""
        return self._reduce("argmax", a, axis, out, keepdims)

    def argmin(self, a: Any, axis: int = 0, out: Any = None, keepdims: bool = True) -> Any:
        """The index of the smallest element along an axis (the first of equal ones)."""
        return self._reduce("argmin", a, axis, out, keepdims)

    def var(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The variance: the mean of the squared distances from the mean."""
        distance = Node("subtract", a, self.mean(a, axis=axis))
        return self.mean(self.square(distance), axis=axis, out=out, keepdims=keepdims)

    def std(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The standard deviation: the root of the variance."""
        return _build("sqrt", self.var(a, axis=axis, keepdims=keepdims), out=out)

    def _reduce(self, op: str, a: Any, axis: int | None, out: Any, keepdims: bool) -> Any:
        if axis is None:
            return _build(op, a, out=out)
        return _build("reduce", a, out=out, kind=op, axis=axis, keepdims=keepdims)

    # --- shapes ---

    def dot(self, a: Any, b: Any, out: Any = None) -> Any:
        """The matrix product of a (m, k) and b (k, n)."""
        return _build("dot", a, b, out=out)

    def compound_dot(
        self, A: Any, B: Any, C: Any, alpha: float = 1.0, beta: float = 0.0, relu: bool = False
    ) -> Any:
        """C = alpha * A·B + beta * C, with negative elements set to 0 where ``relu``; neon's eager product."""
        product = Node("dot", A, B)
        if alpha != 1.0:
            product = alpha * product
        if beta != 0.0:
            product = product + (C if beta == 1.0 else beta * C)
        if relu:
            product = Node("maximum", product, 0.0)
        C[:] = product
        return C

    def transpose(self, a: Any, out: Any = None) -> Any:
        """Axes 0 and 1 exchanged."""
        return _build("transpose", a, out=out)

    def take(self, a: Any, indices: Any, axis: int, out: Any = None) -> Any:
        """The slices of a at the given indices along an axis."""
        return _build("take", a, indices, out=out, axis=axis)

    def onehot(self, indices: Any, axis: int, out: Any = None) -> Any:
        """1 at the index of each column (axis=0) or row (axis=1), 0 elsewhere; the shape is that of ``out``."""
        return _build("onehot", indices, out=out, axis=axis)
