"""The scalar part of a Program, computed on the host in float64: once for a scalar set or for a tensor."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Outcome
from neon_optim.backends.functions import FUNCTIONS
from neon_optim.backends.program import ROW, SET, Program

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

    def run(self, scalar_code: Sequence[int]) -> None:
        """Compute the given values, in order."""
        code = self._code
        for v in scalar_code:
            op, args, index, rank = code[v].op, code[v].args, code[v].index, code[v].rank
            if op == "scalar":
                for values, scalars in zip(self.of_sets, self._scalars, strict=True):
                    values[v] = float(scalars[index])
            elif op == "size":
                self._of_rows[v] = self._sizes.astype(np.float64)
            elif rank == SET:
                function = _QUICK.get(op) or _slowly(op)
                for values in self.of_sets:
                    try:
                        values[v] = function(*[values[a] for a in args])
                    except (ArithmeticError, ValueError):  # where IEEE arithmetic gives an infinity or NaN
                        values[v] = _slowly(op)(*[values[a] for a in args])
            else:
                value = self._of_rows[v] = np.empty(len(self._sets))
                with np.errstate(all="ignore"):
                    FUNCTIONS[op](*[self._by_row(a) for a in args], out=value)

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


def _maximum(a: float, b: float) -> float:
    return a if a > b else b if b > a else _slowly("maximum")(a, b)


def _minimum(a: float, b: float) -> float:
    return a if a < b else b if b < a else _slowly("minimum")(a, b)


#: Operations that Python's floats do as IEEE arithmetic says, or raise an error where they do not.
_QUICK: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negative": operator.neg,
    "absolute": abs,
    "sqrt": math.sqrt,
    "maximum": _maximum,
    "minimum": _minimum,
    "equal": lambda a, b: float(a == b),
    "less": lambda a, b: float(a < b),
    "greater": lambda a, b: float(a > b),
    "where": lambda condition, a, b: a if condition != 0 else b,
}


def _slowly(op: str) -> Callable[..., float]:
    """An operation by NumPy, on one number."""

    def function(*args: Any) -> float:
        out = np.empty(1)
        with np.errstate(all="ignore"):
            FUNCTIONS[op](*[np.array([a]) for a in args], out=out)
        return float(out[0])

    return function
