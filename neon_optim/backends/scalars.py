"""The scalar part of a Program, computed on the host in float64: once for a scalar set or for a tensor."""

from __future__ import annotations

from collections.abc import Sequence

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
        self._scalars = np.asarray(scalars, dtype=np.float64).reshape(len(scopes), program.n_scalars)
        self._sets = sets
        self._sizes = sizes
        self._scopes = scopes
        self._values: dict[int, np.ndarray] = {}

    def run(self, scalar_code: Sequence[int]) -> None:
        """Compute the given values, in order."""
        for v in scalar_code:
            instruction = self._code[v]
            if instruction.op == "scalar":
                self._values[v] = self._scalars[:, instruction.index]
            elif instruction.op == "size":
                self._values[v] = self._sizes.astype(np.float64)
            else:
                args = [self._at_rank(a, instruction.rank) for a in instruction.args]
                value = self._values[v] = np.empty(
                    len(self._scopes if instruction.rank == SET else self._sets)
                )
                FUNCTIONS[instruction.op](*args, out=value)

    def reduced(self, v: int, by_row: np.ndarray) -> None:
        """Set a reduction's value from its value for each row; rows are added up in order for a total."""
        if self._code[v].rank == ROW:
            self._values[v] = by_row
            return
        totals = np.zeros(int(self._scopes.max(initial=0)) + 1)
        np.add.at(totals, self._scopes[self._sets], by_row)  # unbuffered: one row after the other
        self._values[v] = totals[self._scopes]

    def of_set(self, v: int) -> np.ndarray:
        """A value of rank SET: one number for each scalar set."""
        return self._values[v]

    def outcome(self) -> Outcome:
        """Whether the last stage may store, and what the Program returns."""
        results = [self._values[v] for v in self._program.results]
        if self._program.guard is None:
            return Outcome(True, results)
        guard = self._values[self._program.guard]
        return Outcome(bool(np.isfinite(guard).all()), results, guard)

    def matrix(self, inputs: Sequence[int], rank: int) -> np.ndarray:
        """The values of one rank among the inputs: a matrix (sets, inputs) or (rows, inputs)."""
        columns = [self._values[v] for v in inputs if self._code[v].rank == rank]
        matrix = np.empty((len(self._scopes if rank == SET else self._sets), len(columns)))
        for k, column in enumerate(columns):
            matrix[:, k] = column
        return matrix

    def by_row(self, inputs: Sequence[int]) -> np.ndarray:
        """A matrix (rows, inputs) of values for element code."""
        matrix = np.empty((len(self._sets), len(inputs)))
        for column, v in enumerate(inputs):
            matrix[:, column] = self._at_rank(v, ROW)
        return matrix

    def _at_rank(self, v: int, rank: int) -> np.ndarray:
        value = self._values[v]
        return value[self._sets] if rank == ROW and self._code[v].rank == SET else value
