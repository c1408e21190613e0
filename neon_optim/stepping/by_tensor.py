"""Rules that need each tensor's shape, and so run tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Rounding
from neon_optim.backends.optree import Symbol
from neon_optim.backends.program import linearize
from neon_optim.errors import StateError
from neon_optim.stepping.part import Part

__all__ = ["check_own_shapes", "keeps_own_shapes", "run_by_tensor"]


def keeps_own_shapes(part: Part) -> bool:
    """Whether some state has another shape than its parameter, so that no plan can hold the rows."""
    return any(
        part.now.state_shape(slot, tuple(param.shape)) != tuple(param.shape)
        for (param, _), _ in part.parameters
        for slot in part.now.slots
    )


def check_own_shapes(part: Part, be: Backend) -> None:
    """The checks of a plan, where states have shapes of their own.

    Raises:
        StateError: an array does not fit.
    """
    be.plan([(pair, []) for pair, _ in part.parameters], ("param", "grad"), None, None, part.describe)
    for index, ((param, _), states) in enumerate(part.parameters):
        for slot, state in zip(part.now.slots, states, strict=True):
            shape = part.now.state_shape(slot, tuple(param.shape))
            if tuple(state.shape) != shape:
                raise StateError(f"{part.describe(index)}: {slot} has shape {state.shape}, {shape} is needed")


def run_by_tensor(part: Part, be: Any, rounding: Rounding | None) -> None:
    """Apply the rule to one tensor after the other."""
    for index, ((param, grad), states) in enumerate(part.parameters):
        tensors = [be.as_tensor(value) for value in (param, grad, *states)]
        if not tensors[0].size:
            continue
        if rounding is None:
            part.now.apply(*tensors)
            continue
        wide = np.float64 if any(t.dtype == np.float64 for t in tensors) else np.float32
        copies = [be.empty_like(t, wide).copy_from(t) for t in tensors]
        part.now.apply(*copies)
        first_row = rounding.first_row + index * len(tensors)
        _store_rounded(be, tensors, copies, replace(rounding, first_row=first_row))


def _store_rounded(be: Backend, tensors: Sequence[Any], values: Sequence[Any], rounding: Rounding) -> None:
    """Copy values into tensors of narrower types, all but the gradient; each tensor counts as a row."""
    rows: list[Any] = [((t, v), []) for k, (t, v) in enumerate(zip(tensors, values, strict=True)) if k != 1]
    program, scalars = linearize("store", ("value", "grad"), [(0, Symbol("grad", 1).held)])
    be.execute(program, be.plan(rows, ("value", "grad")), [scalars], rounding)
