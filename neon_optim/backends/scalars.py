"""The scalar part of a Program, computed on the host in float64: once for a scalar set or for a tensor."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from neon_optim.backends.contract import Outcome
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS
from neon_optim.backends.program import ROW, SET, Program, Stage

__all__ = ["ScalarValues"]


class ScalarValues:
    """Values of rank SET and ROW during one run of a Program.

    Arguments:
        scalars: the Program's run-time scalars, a sequence for each scalar set.
        sets: for each row the index of its scalar set.
        sizes: for each row the number of elements of its tensors.
        scopes: for each scalar set the index of its scope.
    """

    def __init__(
        self,
        program: Program,
        scalars: Sequence[Sequence[float]],
        sets: np.ndarray,
        sizes: np.ndarray,
        scopes: np.ndarray,
    ):
        self._program = program
        self._code = program.code
        self._scalars = scalars
        self._sets = sets
        self._sizes = sizes
        self._scopes = scopes
        # For each scalar set the values of rank SET, as Python's floats: there are few, and each step has new ones.
        self.of_sets: list[list[float]] = [[0.0] * len(program.code) for _ in scopes]
        self._of_rows: dict[int, np.ndarray] = {}

    def run(self, stage: Stage) -> None:
        """Compute the scalar code of a stage, in order."""
        code = _scalar_code(self._program, stage)
        for values, scalars in zip(self.of_sets, self._scalars, strict=True):
            for v, index in code.loads:
                values[v] = float(scalars[index])
            for v, function, args in code.of_sets:
                values[v] = function(*[values[a] for a in args])
        for v, op, args in code.of_rows:
            if op == "size":
                self._of_rows[v] = self._sizes.astype(np.float64)
                continue
            value = self._of_rows[v] = np.empty(len(self._sets))
            with np.errstate(all="ignore"):
                SHARED_FUNCTIONS[op](*[self._by_row(a) for a in args], out=value)

    def reduced(self, v: int, by_row: np.ndarray) -> None:
        """Set a reduction's value from its value for each row; rows are added up in order for a total."""
        if self._code[v].rank == ROW:
            self._of_rows[v] = by_row
            return
        totals = np.zeros(int(self._scopes.max(initial=0)) + 1)
        with np.errstate(all="ignore"):
            np.add.at(totals, self._scopes[self._sets], by_row)  # unbuffered: one row after the other
        for values, scope in zip(self.of_sets, self._scopes.tolist(), strict=True):
            values[v] = float(totals[scope])

    def of_set(self, v: int) -> np.ndarray:
        """A value of rank SET: one number for each scalar set."""
        return np.array([values[v] for values in self.of_sets])

    def outcome(self) -> Outcome:
        """Whether the last stage may store, and what the Program returns."""
        program = self._program
        results = [self.of_set(v) for v in program.results]
        if program.guard is None:
            return Outcome(True, results)
        stored = all(math.isfinite(values[program.guard]) for values in self.of_sets)
        return Outcome(stored, results, self.of_set(program.guard))

    def rows_of(self, inputs: Sequence[int]) -> np.ndarray:
        """The values of rank ROW among the inputs: a matrix (rows, inputs)."""
        columns = [self._of_rows[v] for v in inputs if self._code[v].rank == ROW]
        matrix = np.empty((len(self._sets), len(columns)))
        for k, column in enumerate(columns):
            matrix[:, k] = column
        return matrix

    def by_row(self, inputs: Sequence[int]) -> np.ndarray:
        """A matrix (rows, inputs) of values for element code."""
        matrix = np.empty((len(self._sets), len(inputs)))
        for column, v in enumerate(inputs):
            matrix[:, column] = self._by_row(v)
        return matrix

    def _by_row(self, v: int) -> np.ndarray:
        if self._code[v].rank == ROW:
            return self._of_rows[v]
        first = self.of_sets[0][v]
        return np.full(len(self._sets), first) if len(self.of_sets) == 1 else self.of_set(v)[self._sets]


class _ScalarCode(NamedTuple):
    """The scalar code of a stage, sorted by what is done: values that are loaded, computed for sets, for rows."""

    loads: list[tuple[int, int]]
    of_sets: list[tuple[int, Callable[..., float], tuple[int, ...]]]
    of_rows: list[tuple[int, str, tuple[int, ...]]]


def _scalar_code(program: Program, stage: Stage) -> _ScalarCode:
    known: _ScalarCode | None = program.compiled.get(("scalars", stage))
    if known is None:
        code = [(v, program.code[v]) for v in stage.scalar_code]
        known = program.compiled["scalars", stage] = _ScalarCode(
            [(v, i.index) for v, i in code if i.op == "scalar"],
            [(v, _on_floats(i.op), i.args) for v, i in code if i.rank == SET and i.op != "scalar"],
            [(v, i.op, i.args) for v, i in code if i.rank == ROW],
        )
    return known


def _on_floats(op: str) -> Callable[..., float]:
    """An operation on Python's floats, as IEEE arithmetic says."""
    if op in _ALWAYS_EXACT:
        return _ALWAYS_EXACT[op]
    quick = _EXACT_OR_AN_ERROR.get(op)

    def function(*args: float) -> float:
        if quick is not None:
            try:
                return quick(*args)
            except (ArithmeticError, ValueError):  # an infinity or NaN
                pass
        out = np.empty(1)
        with np.errstate(all="ignore"):
            SHARED_FUNCTIONS[op](*[np.array([a]) for a in args], out=out)
        return float(out[0])

    return function


_ALWAYS_EXACT: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "negative": operator.neg,
    "absolute": abs,
    "equal": lambda a, b: float(a == b),
    "less": lambda a, b: float(a < b),
    "greater": lambda a, b: float(a > b),
    "where": lambda condition, a, b: a if condition != 0 else b,
}


def _extreme(a: float, b: float, first: bool) -> float:
    if a == b or a != a or b != b:  # zeros of both signs, or NaN
        raise ValueError
    return a if first else b


_EXACT_OR_AN_ERROR: dict[str, Callable[..., float]] = {
    "divide": operator.truediv,
    "sqrt": math.sqrt,
    "maximum": lambda a, b: _extreme(a, b, a > b),
    "minimum": lambda a, b: _extreme(a, b, a < b),
}
