"""neon's algebra by neon's names: every method builds an op-tree, or runs it when ``out`` is given.

Nothing here depends on where tensors live, so every backend has all of it (neon/backends/backend.py). Operations
beyond the primitive ones of :mod:`~neon_optim.backends.optree` are written in them, once, here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from neon_optim.backends.optree import Node, shape_of, stated
from neon_optim.backends.optree_shapes import resolved

__all__ = ["Algebra"]

_LOG_2 = math.log(2.0)


def _finish(node: Any, out: Any) -> Any:
    if out is None:
        return node
    out[:] = node
    return out


def _compound(product: Any, out: Any, alpha: float, beta: float, relu: bool) -> Any:
    if alpha != 1.0:
        product = alpha * product
    if beta != 0.0:
        product = product + (out if beta == 1.0 else beta * out)
    return _finish(Node("maximum", product, 0.0) if relu else product, out)


def _windows(window: Sequence[int], **settings: Sequence[int] | int) -> dict[str, tuple[int, ...]]:
    """The settings of windows: a number for each axis, or one for all."""
    return {
        name: (value,) * len(window) if isinstance(value, int) else tuple(map(int, value))
        for name, value in {"window": window, **settings}.items()
    }


class Algebra:
    """Functions of tensors, op-trees and numbers; the result is an op-tree, or ``out`` after running it there.

    Comparisons give 1 where they hold and 0 elsewhere. Reductions keep their dimensions, like neon's.
    """

    _node: type[Node] = Node  #: the class of the op-trees that methods give

    def _build(self, op: str, *args: Any, out: Any = None, **attrs: Any) -> Any:
        return _finish(self._node(op, *args, **attrs), out)

    def _stated(self, name: str, value: Any, a: Any, backward: Callable[..., Any], out: Any = None) -> Any:
        return _finish(stated(value, [a], backward, name=name, node=self._node), out)

    # --- two operands ---

    def add(self, a: Any, b: Any, out: Any = None) -> Any:
        """a + b."""
        return self._build("add", a, b, out=out)

    def subtract(self, a: Any, b: Any, out: Any = None) -> Any:
        """a - b."""
        return self._build("subtract", a, b, out=out)

    def multiply(self, a: Any, b: Any, out: Any = None) -> Any:
        """a * b, element by element."""
        return self._build("multiply", a, b, out=out)

    def divide(self, a: Any, b: Any, out: Any = None) -> Any:
        """a / b."""
        return self._build("divide", a, b, out=out)

    true_divide = divide

    def power(self, a: Any, b: Any, out: Any = None) -> Any:
        """a to the power b."""
        return self._build("power", a, b, out=out)

    def maximum(self, a: Any, b: Any, out: Any = None) -> Any:
        """The larger of a and b; NaN if either is, and -0 is less than +0 (IEEE 754-2019 maximum)."""
        return self._build("maximum", a, b, out=out)

    def minimum(self, a: Any, b: Any, out: Any = None) -> Any:
        """The smaller of a and b; NaN if either is, and -0 is less than +0 (IEEE 754-2019 minimum)."""
        return self._build("minimum", a, b, out=out)

    def shift(self, a: Any, b: Any, out: Any = None) -> Any:
        """a times the power of two nearest to b (in log2), with b's sign: ``a * sgn(b) * 2**rint(log2|b|)``.

        The exponent is exact, from b's own exponent and mantissa; a mantissa of exactly sqrt(2) does not occur.
        """
        return self._build("shift", a, b, out=out)

    def equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a == b, else 0."""
        return self._build("equal", a, b, out=out)

    def not_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a != b, else 0."""
        return self._build("not_equal", a, b, out=out)

    def less(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a < b, else 0."""
        return self._build("less", a, b, out=out)

    def less_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a <= b, else 0."""
        return self._build("less_equal", a, b, out=out)

    def greater(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a > b, else 0."""
        return self._build("greater", a, b, out=out)

    def greater_equal(self, a: Any, b: Any, out: Any = None) -> Any:
        """1 where a >= b, else 0."""
        return self._build("greater_equal", a, b, out=out)

    # --- one operand ---

    def negative(self, a: Any, out: Any = None) -> Any:
        """-a."""
        return self._build("negative", a, out=out)

    def absolute(self, a: Any, out: Any = None) -> Any:
        """The absolute value."""
        return self._build("absolute", a, out=out)

    def sgn(self, a: Any, out: Any = None) -> Any:
        """1, 0 or -1; NaN for NaN."""
        return self._build("sgn", a, out=out)

    def sqrt(self, a: Any, out: Any = None) -> Any:
        """The square root, correctly rounded."""
        return self._build("sqrt", a, out=out)

    def square(self, a: Any, out: Any = None) -> Any:
        """a * a."""
        return self._build("multiply", a, a, out=out)

    def reciprocal(self, a: Any, out: Any = None) -> Any:
        """1 / a."""
        return self._build("divide", 1.0, a, out=out)

    def exp(self, a: Any, out: Any = None) -> Any:
        """e to the power a."""
        return self._build("exp", a, out=out)

    def exp2(self, a: Any, out: Any = None) -> Any:
        """2 to the power a."""
        return self._build("exp2", a, out=out)

    def log(self, a: Any, out: Any = None) -> Any:
        """The natural logarithm."""
        return self._build("log", a, out=out)

    def log2(self, a: Any, out: Any = None) -> Any:
        """The logarithm to base 2."""
        return self._build("log2", a, out=out)

    def safelog(self, a: Any, out: Any = None) -> Any:
        """log(max(a, exp(-50))): never below -50."""
        return self._build("log", Node("maximum", a, math.exp(-50.0)), out=out)

    def rint(self, a: Any, out: Any = None) -> Any:
        """The nearest integer, ties to even."""
        return self._build("rint", a, out=out)

    def tanh(self, a: Any, out: Any = None) -> Any:
        """The hyperbolic tangent."""
        return self._build("tanh", a, out=out)

    def tanh2(self, a: Any, out: Any = None) -> Any:
        """neon's hyperbolic tangent to base 2: (2**(2a) - 1) / (2**(2a) + 1)."""
        power = Node("exp2", Node("multiply", 2.0, a))
        value = Node("divide", Node("subtract", power, 1.0), Node("add", power, 1.0))
        return self._stated("tanh2", value, a, lambda error, y, a: [error * (1.0 - y * y) * _LOG_2], out)

    def sig(self, a: Any, out: Any = None) -> Any:
        """The logistic function 1 / (1 + exp(-a))."""
        value = Node("divide", 1.0, Node("add", Node("exp", Node("negative", a)), 1.0))
        return self._stated("sig", value, a, lambda error, y, a: [error * y * (1.0 - y)], out)

    def sig2(self, a: Any, out: Any = None) -> Any:
        """neon's logistic function to base 2: 1 / (1 + 2**(-a))."""
        value = Node("divide", 1.0, Node("add", Node("exp2", Node("negative", a)), 1.0))
        return self._stated("sig2", value, a, lambda error, y, a: [error * y * (1.0 - y) * _LOG_2], out)

    def clip(self, a: Any, a_min: Any, a_max: Any, out: Any = None) -> Any:
        """a limited to the range from a_min to a_max; NaN stays NaN."""
        return self._build("minimum", Node("maximum", a, a_min), a_max, out=out)

    def where(self, condition: Any, a: Any, b: Any, out: Any = None) -> Any:
        """a where the condition is not 0, else b."""
        return self._build("where", condition, a, b, out=out)

    # --- reductions: over the whole tensor (axis=None) or along one axis ---

    def sum(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The sum; over a whole tensor in float64 and in one fixed order, the same on every backend."""
        return self._reduce("sum", a, axis, out, keepdims)

    def sum_square(self, a: Any, out: Any = None) -> Any:
        """The sum of the squares of a whole tensor, squared and added in float64, in the order of :meth:`sum`."""
        return self._build("sum_square", a, out=out)

    def mean(self, a: Any, axis: int | None = None, out: Any = None, keepdims: bool = True) -> Any:
        """The mean."""
        if axis is None:
            return self._build("divide", Node("sum", a), Node("size", a), out=out)
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
        return self._build("sqrt", self.var(a, axis=axis, keepdims=keepdims), out=out)

    def _reduce(self, op: str, a: Any, axis: int | None, out: Any, keepdims: bool) -> Any:
        if axis is None:
            return self._build(op, a, out=out)
        return self._build("reduce", a, out=out, kind=op, axis=axis, keepdims=keepdims)

    # --- shapes ---

    def dot(self, a: Any, b: Any, out: Any = None) -> Any:
        """The matrix product of a (m, k) and b (k, n)."""
        return self._build("dot", a, b, out=out)

    def compound_dot(
        self, A: Any, B: Any, C: Any, alpha: float = 1.0, beta: float = 0.0, relu: bool = False
    ) -> Any:
        """C = alpha * A·B + beta * C, with negative elements set to 0 where ``relu``; neon's eager product."""
        return _compound(Node("dot", A, B), C, alpha, beta, relu)

    def batched_dot(
        self, A: Any, B: Any, C: Any = None, alpha: float = 1.0, beta: float = 0.0, relu: bool = False
    ) -> Any:
        """A product for each index of a first axis: A (g, m, k) · B (g, k, n) -> (g, m, n). A may be (m, k) for all.

        Without C an op-tree. With it neon's eager form: C = alpha * A·B + beta * C, negative elements set to 0 where
        ``relu``; the products are added up where C is (m, n).
        """
        ndim = len(shape_of(A))
        if ndim == 2:
            A = Node("broadcast", A, shape=(shape_of(B)[0], *shape_of(A)))
        product = Node("batched_dot", A, B)
        if C is None:
            return product
        if ndim == 3 and len(C.shape) == 2:
            total = Node("reduce", product, kind="sum", axis=0, keepdims=True)
            product = Node("reshape", total, shape=product.shape[1:])
        return _compound(product, C, alpha, beta, relu)

    def transpose(self, a: Any, out: Any = None, *, axes: Sequence[int] | None = None) -> Any:
        """The axes in another order; without one, 0 and 1 exchanged."""
        return self._build("transpose", a, out=out, axes=None if axes is None else tuple(axes))

    def reshape(self, a: Any, shape: Any, out: Any = None) -> Any:
        """The same elements in another shape, in C order; one extent may be -1."""
        return self._build("reshape", a, out=out, shape=resolved(shape, math.prod(shape_of(a))))

    def broadcast_to(self, a: Any, shape: Any, out: Any = None) -> Any:
        """a in a larger shape, as elementwise operations take it."""
        return self._build("broadcast", a, out=out, shape=tuple(shape))

    def concatenate(self, arrays: Sequence[Any], axis: int = 0, out: Any = None) -> Any:
        """Tensors one behind the other along an axis."""
        axis = axis if axis >= 0 else axis + len(shape_of(arrays[0]))
        return self._build("concatenate", *arrays, out=out, axis=axis)

    def take(self, a: Any, indices: Any, axis: int, out: Any = None) -> Any:
        """The slices of a at the given indices along an axis."""
        return self._build("take", a, indices, out=out, axis=axis)

    def onehot(self, indices: Any, axis: int, out: Any = None, *, extent: int | None = None) -> Any:
        """1 at the index of each column (axis=0) or row (axis=1), 0 elsewhere.

        ``extent`` is the length of the axis; without it the shape is that of the tensor that the tree is assigned to.
        """
        if extent is None:
            return self._build("onehot", indices, out=out, axis=axis)
        return self._build("onehot", indices, out=out, axis=axis, extent=extent)

    def unfold(
        self,
        a: Any,
        channels: int,
        size: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        out: Any = None,
    ) -> Any:
        """The windows of images as columns: (C·H·W, n) -> (C·R·S, P·Q·n), with zeros beyond the border.

        A convolution by filters W of (C·R·S, K) is ``dot(W.T, unfold(x))``. Images have as many axes as ``size``.

        Arguments:
            a: images, features × samples in neon's order (C, H, W, n).
            channels, size: C and (H, W).
            window: (R, S).
            strides, padding, dilation: for each axis, or one for all.
        """
        settings = _windows(window, size=size, strides=strides, padding=padding, dilation=dilation)
        return self._build("unfold", a, out=out, channels=channels, **settings)

    def fold(
        self,
        a: Any,
        channels: int,
        size: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        out: Any = None,
    ) -> Any:
        """The adjoint of :meth:`unfold`: each pixel is the sum of its places in windows, in the order of these."""
        settings = _windows(window, size=size, strides=strides, padding=padding, dilation=dilation)
        return self._build("fold", a, out=out, channels=channels, **settings)

    def convolve(
        self,
        a: Any,
        filters: Any,
        channels: int,
        size: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        out: Any = None,
    ) -> Any:
        """Filters times each window of images: (C·H·W, n) and (C·R·S, K) -> (K·P·Q, n).

        ``dot(filters.T, unfold(a))`` in one operation, and so are its derivatives. On the CPU all three go window by
        window, each a product of what of it lies within the image: in the gradient of the filters these are added in
        order, and each pixel's is one product over the windows that see it. With ``deterministic=True``, and on other
        backends, they are products of whole unfolded images.

        Arguments:
            a: images, features × samples in neon's order (C, H, W, n).
            filters: C·R·S numbers for each of K.
            channels, size, window, strides, padding, dilation: see :meth:`unfold`.
        """
        settings = _windows(window, size=size, strides=strides, padding=padding, dilation=dilation)
        return self._build("convolve", a, filters, out=out, channels=channels, **settings)

    def deconvolve(
        self,
        a: Any,
        filters: Any,
        channels: int,
        size: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        out: Any = None,
    ) -> Any:
        """The adjoint of :meth:`convolve` by the images, for the same arguments: (K·P·Q, n) -> (C·H·W, n)."""
        settings = _windows(window, size=size, strides=strides, padding=padding, dilation=dilation)
        return self._build("deconvolve", a, filters, out=out, channels=channels, **settings)

    def correlate(
        self,
        a: Any,
        b: Any,
        channels: int,
        size: Sequence[int],
        window: Sequence[int],
        strides: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        out: Any = None,
    ) -> Any:
        """The adjoint of :meth:`convolve` by the filters: images (C·H·W, n), errors (K·P·Q, n) -> (C·R·S, K)."""
        settings = _windows(window, size=size, strides=strides, padding=padding, dilation=dilation)
        return self._build("correlate", a, b, out=out, channels=channels, **settings)

    def fprop_softmax(self, x: Any, axis: int) -> Any:
        """neon's softmax along an axis: (1 / the sum of e) · e, with e = exp(x - the largest x)."""
        power = Node("exp", Node("subtract", x, self.max(x, axis=axis)))
        value = Node("multiply", self.reciprocal(self.sum(power, axis=axis)), power)
        return self._stated(
            "softmax", value, x, lambda error, y, x: [y * (error - self.sum(y * error, axis=axis))]
        )
