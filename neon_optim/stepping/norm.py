"""The L2 norm of gradients, as an expression and as a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Parameter, Plan
from neon_optim.backends.identity import FixedRows, same_lists
from neon_optim.backends.optree import NamedScalar, Node, Symbol, slots_of
from neon_optim.backends.program import linearize
from neon_optim.backends.sums import CHUNK

__all__ = ["GradientNorm", "SquaresOfChunks", "clip_factor", "norm_of"]


def norm_of(grad: Any, batch_size: Any = None) -> Node:
    """The L2 norm of a gradient over all rows that are run together, divided by the batch size, as an expression."""
    norm = Node("sqrt", Node("total_square", grad))
    return norm if batch_size is None else norm / batch_size


def clip_factor(norm: Any, limit: Any) -> Node:
    """What brings gradients of a norm down to a limit, as an expression; 1 where the limit is infinite."""
    return Node("where", Node("less", limit, float("inf")), limit / Node("maximum", norm, limit), 1.0)


class GradientNorm:
    """The L2 norm of all gradients of some rows together, as a number; its plan is kept.

    Arguments:
        slots: names of the arrays of a row.
        incoming: what the gradient is, as an expression on the gradient and the states; None: the gradient itself.
    """

    def __init__(
        self, be: Any, slots: Sequence[str] = ("param", "grad"), incoming: Callable[..., Any] | None = None
    ):
        self.be = be
        self._incoming = incoming or (lambda grad, *states: grad)
        self._plan: Plan | None = None
        if isinstance(be, Backend):
            self._trace(slots)

    def _trace(self, slots: Sequence[str]) -> None:
        symbols = [Symbol(slot, index) for index, slot in enumerate(slots)]
        # States that are not read may have other shapes, and must not stand in the rows.
        self._used = sorted(slots_of(self._incoming(*symbols[1:])) - {0, 1})
        for place, index in enumerate(self._used, 2):
            symbols[index] = Symbol(slots[index], place)
        self._slots = [*slots[:2], *[slots[index] for index in self._used]]
        value = self._value(self._incoming(*symbols[1:]))
        self._program, self._constants = linearize("norm", self._slots, (), results=(value,))

    def _value(self, incoming: Any) -> Any:
        """What is computed of the gradient, as an expression."""
        return norm_of(incoming, NamedScalar("batch_size"))

    def _used_of(self, rows: Sequence[Parameter]) -> list[Parameter]:
        """The rows, with those states alone that are read."""
        return [(pair, [states[index - 2] for index in self._used]) for pair, states in rows]

    def _scalars(self, numbers: Mapping[str, float]) -> list[float]:
        return [*[numbers[name] for name in self._program.scalars if name], *self._constants]

    def of(self, rows: Sequence[Parameter], numbers: Mapping[str, float], batch_size: float = 1.0) -> float:
        """The norm, divided by the batch size.

        Arguments:
            numbers: of the step, by name.
        """
        if not isinstance(self.be, Backend):
            return self._of_foreign(rows, batch_size)
        rows = self._used_of(rows)
        if self._plan is None or not (self._plan.fits(rows) or self._plan.renew(rows)):
            self._plan = self.be.plan(rows, self._slots)
        scalars = self._scalars({**numbers, "batch_size": batch_size})
        return float(self.be.execute(self._program, self._plan, [scalars]).results[0][0])

    def _of_foreign(self, rows: Sequence[Parameter], batch_size: float) -> float:
        values = [(grad, self._incoming(grad, *states)) for (_, grad), states in rows]
        arrays = [value.get() if value is grad else self._computed(grad, value) for grad, value in values]
        return float(np.sqrt(sum(np.square(np.asarray(a, np.float64)).sum() for a in arrays)) / batch_size)

    def _computed(self, like: Any, tree: Any) -> Any:
        out = self.be.empty_like(like)
        out[:] = tree
        return out.get()


class SquaresOfChunks(GradientNorm):
    """The sums of squares of the chunks of gradients: what their norm is made of, in parts."""

    _arrays: list[list[Any]]
    _chunks: FixedRows
    _counts: list[int]

    def _value(self, incoming: Any) -> Any:
        return Node("total_square", incoming)

    def of_each(self, rows: Sequence[Parameter], numbers: Mapping[str, float]) -> list[np.ndarray]:
        """For each row the sum of each of its chunks.

        Arguments:
            numbers: of the step, by name.
        """
        rows = self._used_of(rows)
        arrays = [[*pair, *states] for pair, states in rows]
        if self._plan is None or not same_lists(arrays, self._arrays) or not self._plan.fits(self._chunks):
            self._arrays, self._counts = arrays, [-(-pair[0].size // CHUNK) for pair, _ in rows]
            self._chunks = FixedRows.of(chunk for row in arrays for chunk in self._chunks_of(row))
            sets = range(len(self._chunks))  # a set and a scope for each: so their sums are not added up
            self._plan = self.be.plan(self._chunks, self._slots, sets, sets)
        sums = np.zeros(0)
        if self._chunks:
            scalars = [self._scalars(numbers)] * len(self._chunks)
            sums = self.be.execute(self._program, self._plan, scalars).results[0]
        return np.split(sums, np.cumsum(self._counts)[:-1])

    def _chunks_of(self, arrays: Sequence[Any]) -> Iterator[Parameter]:
        size = arrays[0].size
        flat = [self.be.as_tensor(array).reshape(-1, 1) for array in arrays] if size else []
        for start in range(0, size, CHUNK):
            param, grad, *states = [array[start : start + CHUNK] for array in flat]
            yield (param, grad), states
