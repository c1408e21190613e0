"""Runs Programs over tables of arrays with NumPy: in place, block by block, no full-size temporary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.backend import Outcome, Rounding
from neon_optim.backends.cpu.functions import largest, smallest, store
from neon_optim.backends.cpu.numpy_kernel import NumpyKernel
from neon_optim.backends.cpu.scalars import ScalarValues
from neon_optim.backends.cpu.stochastic import round_stochastically, rounding_words, store_rounding
from neon_optim.backends.cpu.sums import LaneSum
from neon_optim.backends.cpu.table import Table
from neon_optim.backends.program import Program, Stage

__all__ = ["NumpyEngine"]

BLOCK = 16_384
"""Elements of a block: its arrays and scratch stay in a core's cache; a divisor of a sum's chunk."""


class NumpyEngine:
    """The engine that needs nothing but NumPy."""

    name = "numpy"

    def __init__(self) -> None:
        self._scratch: dict[np.dtype, list[np.ndarray]] = {}

    def execute(
        self,
        program: Program,
        table: Table,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """See :meth:`neon_optim.backends.backend.Backend.execute`."""
        with np.errstate(all="ignore"):
            values = ScalarValues(program, scalars, table.sets, table.sizes, table.scopes)
            for stage in program.stages:
                values.run(stage.scalar_code)
                if stage is program.stages[-1]:
                    outcome = values.outcome()
                    if not outcome.stored:
                        return outcome
                if stage.element_code or stage.outputs:
                    self._run_stage(program, stage, table, values, rounding)
        return outcome

    def _run_stage(
        self, program: Program, stage: Stage, table: Table, values: ScalarValues, rounding: Rounding | None
    ) -> None:
        inputs = values.by_row(stage.inputs)
        reductions = np.zeros((len(stage.reductions), len(table.rows)))
        running = [LaneSum(BLOCK) for _ in stage.reductions]
        for r, arrays in enumerate(table.rows):
            kernel = self.kernel(program, stage, table.dtypes[r])
            typed = [kernel.dtype.type(x) for x in inputs[r]]
            size = int(table.sizes[r])
            extremes = [np.nan] * len(stage.reductions)
            for start in range(0, size, BLOCK):
                stop = min(start + BLOCK, size)
                blocks = [a[start:stop] for a in arrays]
                reduced, stores = kernel.run(blocks, typed, self.scratch(kernel, (stop - start,)))
                for k, operand in enumerate(reduced):
                    op = program.code[stage.reductions[k]].op
                    if op in ("amax", "amin"):
                        extreme = largest if op == "amax" else smallest
                        found = extreme(operand)
                        extremes[k] = found if start == 0 else extreme(np.array([extremes[k], found]))
                    else:
                        running[k].add(operand, square=op.endswith("square"))
                if rounding is not None:
                    stores = self._rounded(stores, blocks, stage, kernel, rounding, r, start)
                for slot, value in stores:
                    store(blocks[slot], value)
            for k, reduction in enumerate(stage.reductions):
                extreme_wanted = program.code[reduction].op in ("amax", "amin")
                reductions[k, r] = extremes[k] if extreme_wanted else running[k].close()
        for k, reduction in enumerate(stage.reductions):
            values.reduced(reduction, reductions[k])

    @staticmethod
    def _rounded(
        stores: list[tuple[int, Any]],
        blocks: list[np.ndarray],
        stage: Stage,
        kernel: NumpyKernel,
        rounding: Rounding,
        row: int,
        start: int,
    ) -> list[tuple[int, Any]]:
        """All stores of a block, with values that are rounded stochastically."""
        values = {slot: blocks[slot] for slot, _ in stage.outputs} | dict(stores)
        rounded = []
        for slot, value in values.items():
            how = store_rounding(kernel.dtype, blocks[slot].dtype, rounding.bits)
            if how is not None:
                words = rounding_words(rounding, row, slot, start, start + value.size)
                value = round_stochastically(value, words, how)
            rounded.append((slot, value))
        return rounded

    @staticmethod
    def kernel(program: Program, stage: Stage, dtypes: tuple[np.dtype, ...]) -> NumpyKernel:
        """The compiled stage, made once."""
        key = ("numpy", stage, dtypes)
        kernel = program.compiled.get(key)
        if kernel is None:
            kernel = program.compiled[key] = NumpyKernel(program, stage, dtypes)
        return kernel

    def scratch(self, kernel: NumpyKernel, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Scratch buffers for one block, views of memory that is kept."""
        size = int(np.prod(shape))
        kept = self._scratch.setdefault(kernel.dtype, [])
        while len(kept) < kernel.n_scratch:
            kept.append(np.empty(BLOCK, kernel.dtype))
        if size <= BLOCK:
            return [buffer[:size].reshape(shape) for buffer in kept[: kernel.n_scratch]]
        return [np.empty(shape, kernel.dtype) for _ in range(kernel.n_scratch)]

    def close(self) -> None:
        """Free the scratch."""
        self._scratch.clear()
