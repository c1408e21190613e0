"""Shapes of tensors: two axes or more, integers that keep their axis, views without copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.errors import BackendError

__all__ = ["as_slices", "at_least_2d", "resolve_shape", "view_as"]


def at_least_2d(shape: Any) -> tuple[int, ...]:
    """The shape of a tensor: neon's have two dimensions or more, a vector is a column.

    >>> at_least_2d(3), at_least_2d((3,)), at_least_2d(()), at_least_2d((2, 3))
    ((3, 1), (3, 1), (1, 1), (2, 3))
    """
    dims = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if any(not isinstance(d, (int, np.integer)) or isinstance(d, bool) or d < 0 for d in dims):
        raise BackendError(f"a shape holds integers >= 0, received {shape!r}")
    return tuple(int(d) for d in dims + (1,) * (2 - len(dims)))


def as_slices(key: Any) -> tuple[Any, ...]:
    """An index of a tensor as slices: integers become slices of length one, so that a part is a view with all axes.

    >>> as_slices((1, slice(2)))
    (slice(1, 2, None), slice(None, 2, None))
    """
    keys = key if isinstance(key, tuple) else (key,)
    out: list[Any] = []
    for k in keys:
        if isinstance(k, (int, np.integer)):
            out.append(slice(k, k + 1 if k != -1 else None))
        elif isinstance(k, slice) or k is Ellipsis:
            out.append(k)
        else:
            raise BackendError(f"a tensor is indexed by integers and slices, received {k!r}; see take()")
    return tuple(out)


def resolve_shape(shape: Any, size: int) -> tuple[int, ...]:
    """A shape with one -1 in it replaced by what is left of the size.

    >>> resolve_shape((2, -1), 6)
    (2, 3)
    """
    dims = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if dims.count(-1) == 1:
        known = 1
        for d in dims:
            known *= 1 if d == -1 else d
        dims = tuple(size // known if d == -1 and known else d for d in dims)
    return at_least_2d(dims)


def view_as(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of another shape on the same memory.

    Raises:
        ValueError, AttributeError: there is none, of that size or without a copy.
    """
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        return array.reshape(shape, copy=False)
    view = array.view()
    view.shape = shape
    return view
