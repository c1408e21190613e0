"""New state arrays."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.dtypes import float_dtype

__all__ = ["copied", "zeros"]


def zeros(be: Any, grad: Any, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> Any:
    """Zeros like a gradient, unless another dtype or shape is given."""
    if dtype is None and shape in (None, grad.shape):
        return be.zeros_like(grad)
    return be.zeros(grad.shape if shape is None else shape, float_dtype(dtype or grad.dtype))


def copied(be: Any, param: Any, grad: Any, dtype: str | None = None) -> Any:
    """A copy of a parameter, in the dtype that zeros would have."""
    state = zeros(be, grad, dtype)
    state[:] = be.as_tensor(param) if hasattr(be, "as_tensor") else param
    return state
