"""The elementwise operations of op-trees in NumPy, where it does not have them or leaves a case open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "largest", "largest_along", "smallest", "smallest_along", "store"]


def _extremum(ufunc: Any, sign_of_zero: Any) -> Callable[..., Any]:
    """IEEE 754-2019 maximum or minimum. NumPy's differ only where zeros of both signs meet: it may give either."""

    def extremum(a: Any, b: Any, out: np.ndarray) -> None:
        if _is_nonzero_number(a) or _is_nonzero_number(b):
            ufunc(a, b, out=out)
            return
        a = a.copy() if a is out else a
        b = b.copy() if b is out else b
        ufunc(a, b, out=out)
        zero = out == 0
        if zero.any():
            zero &= a == b
            negative = sign_of_zero(np.signbit(a), np.signbit(b))
            np.copyto(out, np.where(negative, out.dtype.type(-0.0), out.dtype.type(0.0)), where=zero)

    return extremum


def _is_nonzero_number(value: Any) -> bool:
    return np.ndim(value) == 0 and value != 0


def _shift(a: Any, b: Any, out: np.ndarray) -> None:
    """a * sgn(b) * 2**rint(log2|b|), exactly, from the exponent and mantissa of b."""
    size = np.abs(b)
    sign = np.sign(b)
    mantissa, exponent = np.frexp(size)
    one = out.dtype.type(1.0)
    nearest = np.ldexp(one, exponent - 1 + (mantissa > out.dtype.type(np.sqrt(0.5))))
    nearest = np.where(np.isfinite(size) & (size != 0), nearest, size)
    np.multiply(a, sign, out=out)
    np.multiply(out, nearest, out=out)


def _where(condition: Any, a: Any, b: Any, out: np.ndarray) -> None:
    np.copyto(out, np.where(np.not_equal(condition, 0), a, b))


#: Each is called as function(*operands, out); operands may be the output itself.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": _extremum(np.maximum, np.logical_and),
    "minimum": _extremum(np.minimum, np.logical_or),
    "shift": _shift,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "negative": np.negative,
    "absolute": np.absolute,
    "sgn": np.sign,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "log2": np.log2,
    "tanh": np.tanh,
    "rint": np.rint,
    "where": _where,
}


def largest(values: np.ndarray) -> Any:
    """The largest element: NaN if there is one, and +0 above -0."""
    found = np.max(values)
    return found if found != 0 else found.dtype.type(-0.0 if np.signbit(values[values == 0]).all() else 0.0)


def smallest(values: np.ndarray) -> Any:
    """The smallest element: NaN if there is one, and -0 below +0."""
    found = np.min(values)
    return found if found != 0 else found.dtype.type(-0.0 if np.signbit(values[values == 0]).any() else 0.0)


def largest_along(values: np.ndarray, axis: int) -> np.ndarray:
    """The largest elements along an axis, which stays: NaN where there is one, and +0 above -0."""
    found = np.max(values, axis=axis, keepdims=True)
    if (found == 0).any():
        positive = ((values == 0) & ~np.signbit(values)).any(axis=axis, keepdims=True)
        found[(found == 0) & ~positive] = -0.0
        found[(found == 0) & positive] = 0.0
    return found


def smallest_along(values: np.ndarray, axis: int) -> np.ndarray:
    """The smallest elements along an axis, which stays: NaN where there is one, and -0 below +0."""
    return np.negative(largest_along(np.negative(values), axis))


def store(target: np.ndarray, values: Any) -> None:
    """Copy values or a number into an array of another type, each rounded once to the nearest, ties to even."""
    values = np.asarray(values)
    if (
        values.dtype == np.float64 and target.dtype.name == "bfloat16"
    ):  # whose cast would round to float32 first
        values = _to_odd_float32(values)
    np.copyto(target, values, casting="unsafe")


def _to_odd_float32(values: np.ndarray) -> np.ndarray:
    """float64 as float32, rounded to odd: rounding that to 16 bits then gives what one rounding would."""
    near = values.astype(np.float32)
    bits = near.view(np.uint32)
    wide = near.astype(np.float64)
    inexact = wide != values
    bits -= np.abs(wide) > np.abs(values)
    bits |= inexact
    return near
