"""New state arrays: their types, and what cannot work with them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend
from neon_optim.backends.dtypes import float_dtype
from neon_optim.errors import PrecisionWarning
from neon_optim.stepping.lenders import lender_of

__all__ = ["copied", "is_narrow", "warn_of_standstill", "warn_of_vanishing", "zeros"]


def is_narrow(array: Any) -> bool:
    """Whether the elements of an array have 16 bits."""
    return getattr(getattr(array, "dtype", None), "itemsize", None) == 2


def zeros(be: Any, grad: Any, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> Any:
    """Zeros like a gradient, unless another dtype or shape is given; in float32 where the gradient has 16 bits.

    They are of the backend that the gradient is of: neon's in neon, so that its own programs can go on with them.
    """
    if dtype is None and is_narrow(grad):
        dtype = "float32"
    lender = lender_of([((grad, grad), [])]) if isinstance(be, Backend) else None
    if lender is not None and dtype != "bfloat16":
        shape = tuple(grad.shape if shape is None else shape)
        return lender.zeros(shape, dtype=float_dtype(dtype or grad.dtype))
    if dtype is None and shape in (None, grad.shape):
        return be.zeros_like(grad)
    return be.zeros(grad.shape if shape is None else shape, float_dtype(dtype or grad.dtype))


def copied(be: Any, param: Any, grad: Any, dtype: str | None = None) -> Any:
    """A copy of a parameter, in the dtype that zeros would have."""
    state = zeros(be, grad, dtype)
    if hasattr(be, "as_tensor"):
        be.as_tensor(state)[:] = be.as_tensor(param)
    else:
        state[:] = param
    return state


def warn_of_vanishing(optimizer: Any, param: Any, grad: Any, state: Any) -> None:
    """Warn where ε is 0 in the type of a state, or in that of the computation: once for an optimizer."""
    epsilon = optimizer.hyperparameters().constants.get("epsilon")
    wide = any(getattr(array.dtype, "itemsize", 0) == 8 for array in (param, grad, state))
    computed = np.dtype(np.float64 if wide else np.float32)
    for dtype, what in ((state.dtype, "its state is kept"), (computed, "it is computed")):
        if epsilon and isinstance(dtype, np.dtype) and float(dtype.type(epsilon)) == 0.0:
            _tell(
                optimizer,
                f"epsilon={epsilon} is 0 in {dtype}, in which {what}: what small gradients leave there is 0 too, and "
                "steps divide by next to nothing. Use a larger epsilon, or another state_dtype",
            )


def warn_of_standstill(optimizer: Any, state: Any) -> None:
    """Warn where an average, rounded to the nearest, stays what it is: once for an optimizer."""
    decay = optimizer.hyperparameters().constants.get("decay")
    if decay and is_narrow(state) and 1.0 - decay < _DISTANCE.get(str(state.dtype), 0.0) / 4:
        _tell(
            optimizer,
            f"an average of decay={decay} does not move in {state.dtype}: each step is less than half the way "
            "to the next number. Use another state_dtype, or stochastic_round=True",
        )


_DISTANCE = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Of 1 and the next number."""


def _tell(optimizer: Any, message: str) -> None:
    if not optimizer.told_of_vanishing:
        optimizer.told_of_vanishing = True
        warnings.warn(f"{optimizer.classnm}: {message}", PrecisionWarning, stacklevel=2)
