"""The L2 norm of gradients, as an expression and as a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend
from neon_optim.backends.optree import Node, Symbol, slots_of
from neon_optim.backends.program import linearize
from neon_optim.stepping.parameters import Parameter

__all__ = ["gradient_norm", "norm_of"]


def norm_of(grad: Any, batch_size: float) -> Node:
    """The L2 norm of a gradient over all rows that are run together, divided by the batch size, as an expression."""
    return Node("sqrt", Node("total_square", grad)) / batch_size


def gradient_norm(
    be: Any,
    parameters: Sequence[Parameter],
    batch_size: float,
    slots: Sequence[str] = ("param", "grad"),
    incoming: Callable[..., Any] = lambda grad, *states: grad,
) -> float:
    """The L2 norm of all gradients together, divided by the batch size.

    ``incoming`` says what the gradient is, given the array and the states named in ``slots``.
    """
    if not isinstance(be, Backend):
        values = [(grad, incoming(grad, *states)) for (_, grad), states in parameters]
        arrays = [value.get() if value is grad else _computed(be, grad, value) for grad, value in values]
        return float(np.sqrt(sum(np.square(np.asarray(a, np.float64)).sum() for a in arrays)) / batch_size)
    symbols = [Symbol(slot, index) for index, slot in enumerate(slots)]
    # States that are not read may have other shapes, and must not stand in the rows.
    used = sorted(slots_of(incoming(*symbols[1:])) - {0, 1})
    for place, index in enumerate(used, 2):
        symbols[index] = Symbol(slots[index], place)
    norm = norm_of(incoming(*symbols[1:]), batch_size)
    slots = [*slots[:2], *[slots[index] for index in used]]
    program, scalars = linearize("norm", slots, (), results=(norm,))
    rows = [(pair, [states[index - 2] for index in used]) for pair, states in parameters]
    return float(be.execute(program, be.plan(rows, slots), [scalars]).results[0][0])


def _computed(be: Any, like: Any, tree: Any) -> Any:
    out = be.empty_like(like)
    out[:] = tree
    return out.get()
