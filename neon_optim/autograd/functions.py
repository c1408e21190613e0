"""Functions of variables; their derivatives follow from their op-trees, or are stated there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from neon_optim.autograd.variable import Variable, function
from neon_optim.backends.optree import Node, stated

__all__ = [
    "absolute",
    "bmm",
    "ceil",
    "clip",
    "concat",
    "cross_entropy",
    "elu",
    "exp",
    "floor",
    "gelu",
    "leaky_relu",
    "log",
    "mae_loss",
    "matmul",
    "maximum",
    "minimum",
    "mse_loss",
    "reciprocal",
    "relu",
    "round",
    "sigmoid",
    "sign",
    "softmax",
    "sqrt",
    "sse_loss",
    "tanh",
    "where",
]

# --- elementwise ---


@function
def absolute(be: Any, x: Any) -> Any:
    """The absolute value; its derivative at 0 is 0."""
    return be.absolute(x)


@function
def reciprocal(be: Any, x: Any) -> Any:
    """1 / x."""
    return be.reciprocal(x)


@function
def sqrt(be: Any, x: Any) -> Any:
    """The square root."""
    return be.sqrt(x)


@function
def exp(be: Any, x: Any) -> Any:
    """e to the power x."""
    return be.exp(x)


@function
def log(be: Any, x: Any, base: float | None = None) -> Any:
    """The logarithm; the natural one without a base."""
    return be.log(x) if base is None else be.log(x) / math.log(base)


@function
def floor(be: Any, x: Any) -> Any:
    """The largest integer that is not above x; its derivative is 0."""
    near = be.rint(x)
    return near - (near > x)


@function
def ceil(be: Any, x: Any) -> Any:
    """The smallest integer that is not below x; its derivative is 0."""
    near = be.rint(x)
    return near + (near < x)


@function
def round(be: Any, x: Any) -> Any:
    """The nearest integer, ties to even; its derivative is 0."""
    return be.rint(x)


@function
def sign(be: Any, x: Any) -> Any:
    """1, 0 or -1; its derivative is 0."""
    return be.sgn(x)


@function
def clip(be: Any, x: Any, low: float, high: float) -> Any:
    """x limited to the range from low to high."""
    return be.clip(x, low, high)


@function
def maximum(be: Any, a: Any, b: Any) -> Any:
    """The larger of a and b; where two variables are equal, each has half of the derivative."""
    return be.maximum(a, b)


@function
def minimum(be: Any, a: Any, b: Any) -> Any:
    """The smaller of a and b; where two variables are equal, each has half of the derivative."""
    return be.minimum(a, b)


@function
def where(be: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition is not 0, else b."""
    return be.where(condition, a, b)


# --- products and joining ---


@function
def matmul(be: Any, a: Any, b: Any) -> Any:
    """The matrix product of a (m, k) and b (k, n)."""
    return be.dot(a, b)


@function
def bmm(be: Any, a: Any, b: Any) -> Any:
    """A matrix product for each index of a first axis; where that is 1 it stands for all."""
    groups = max(a.shape[0], b.shape[0])
    wide = [x if x.shape[0] == groups else be.broadcast_to(x, (groups, *x.shape[1:])) for x in (a, b)]
    return be.batched_dot(*wide)


def concat(variables: Sequence[Any], axis: int = 0) -> Variable:
    """Variables one behind the other along an axis."""
    return _concat(*variables, axis=axis)


_concat = function(lambda be, *variables, axis: be.concatenate(variables, axis))


# --- activations ---


@function
def relu(be: Any, x: Any) -> Any:
    """max(x, 0); its derivative at 0 is 0."""
    return be.maximum(x, 0.0)


@function
def leaky_relu(be: Any, x: Any, alpha: float = 0.01) -> Any:
    """x where it is positive, else alpha · x; its derivative at 0 is alpha."""
    return be.maximum(x, 0.0) + alpha * be.minimum(x, 0.0)


@function
def elu(be: Any, x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else alpha (exp(x) - 1) (Clevert et al., 2015)."""
    return be.maximum(x, 0.0) + alpha * (be.exp(be.minimum(x, 0.0)) - 1.0)


@function
def tanh(be: Any, x: Any) -> Any:
    """The hyperbolic tangent."""
    return be.tanh(x)


@function
def sigmoid(be: Any, x: Any) -> Any:
    """The logistic function 1 / (1 + exp(-x))."""
    return be.sig(x)


@function
def gelu(be: Any, x: Any) -> Any:
    """x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel, 2016; their approximation)."""
    return 0.5 * x * (1.0 + be.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


@function
def softmax(be: Any, x: Any, axis: int = -1) -> Any:
    """exp(x) over its sum along an axis."""
    return be.fprop_softmax(x, axis)


# --- losses, each of shape (1, 1) ---


@function
def sse_loss(be: Any, predicted: Any, target: Any) -> Any:
    """The sum of the squared errors."""
    return be.sum(be.square(predicted - target))


@function
def mse_loss(be: Any, predicted: Any, target: Any) -> Any:
    """The mean of the squared errors."""
    return be.mean(be.square(predicted - target))


@function
def mae_loss(be: Any, predicted: Any, target: Any) -> Any:
    """The mean of the absolute errors."""
    return be.mean(be.absolute(predicted - target))


@function
def cross_entropy(be: Any, x: Any, target: Any, axis: int = -1) -> Any:
    """The mean cross-entropy of softmax(x) and targets that add up to 1 along the axis (one-hot rows, say).

    The derivative by x is stated: softmax(x) - target, over the number of samples.
    """
    largest = be.max(x, axis=axis)
    log_sum = largest + be.log(be.sum(be.exp(x - largest), axis=axis))
    samples = float(math.prod(x.shape) // x.shape[axis])
    value = Node("sum", target * (log_sum - x)) / samples

    def backward(error: Any, y: Any, x: Any, target: Any) -> list[Any]:
        return [error / samples * (be.fprop_softmax(x, axis) - target), error / samples * (log_sum - x)]

    return stated(value, [x, target], backward)
