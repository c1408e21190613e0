"""Runs Programs over tables of arrays with functions that Numba compiles: one pass over all rows."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.backend import Outcome, Rounding
from neon_optim.backends.cpu.functions import largest, smallest
from neon_optim.backends.cpu.numba_source import ARGUMENTS, WORDS_BLOCK, kernel_source
from neon_optim.backends.cpu.scalars import ScalarValues
from neon_optim.backends.cpu.sums import LANES
from neon_optim.backends.cpu.table import TASK, Group, Table
from neon_optim.backends.cpu.workers import run_together
from neon_optim.backends.program import ROW, SET, Program, Stage

__all__ = ["NumbaEngine", "numba_is_usable"]

_WORTH_A_THREAD = 4 * TASK
"""Elements below which waking another thread takes longer than doing its work."""


def numba_is_usable() -> bool:
    """Whether Numba is installed and may compile, found out without importing it."""
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return not disabled and importlib.util.find_spec("numba") is not None


class NumbaEngine:
    """The engine that compiles each Program. Numba is imported with the first one."""

    name = "numba"

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
        of_sets, of_rows = values.matrix(stage.inputs, SET), values.matrix(stage.inputs, ROW)
        partials = []
        for group in table.groups:
            kernel = self.kernel(program, stage, group.dtypes, rounding)
            partial = np.empty((len(group.chunks), len(stage.reductions)))
            partials.append(partial)
            _launch(kernel, group, table, of_sets, of_rows, partial, rounding)
        for k, reduction in enumerate(stage.reductions):
            op = program.code[reduction].op
            values.reduced(reduction, _by_row(op, table, [partial[:, k] for partial in partials]))

    @staticmethod
    def kernel(
        program: Program, stage: Stage, dtypes: tuple[np.dtype, ...], rounding: Rounding | None = None
    ) -> Callable[..., None]:
        """The compiled stage, made once."""
        bits = None if rounding is None else rounding.bits
        key = ("numba", stage, dtypes, bits)
        kernel: Callable[..., None] | None = program.compiled.get(key)
        if kernel is None:
            from neon_optim.backends.cpu.kernel_cache import load_kernel

            function, source = kernel_source(program, stage, dtypes, bits)
            kernel = program.compiled[key] = load_kernel(function, source, len(ARGUMENTS))
        return kernel

    def close(self) -> None:
        """Nothing is held."""


def _launch(
    kernel: Callable[..., None],
    group: Group,
    table: Table,
    of_sets: np.ndarray,
    of_rows: np.ndarray,
    partial: np.ndarray,
    rounding: Rounding | None,
) -> None:
    counter = np.zeros(1, np.int64)
    n_tasks = len(group.tasks) - 1
    arrays = (group.tasks, group.chunks, table.sets, table.pointers, of_sets, of_rows)
    addresses = [a.ctypes.data for a in arrays]
    noise = (0, 0, 0) if rounding is None else (rounding.seed, rounding.step, rounding.first_row)

    def work() -> None:
        lanes = np.empty(LANES * partial.shape[1])
        words = np.empty(0 if rounding is None else WORDS_BLOCK * table.pointers.shape[1], np.uint32)
        kernel(
            counter.ctypes.data,
            n_tasks,
            *addresses,
            lanes.ctypes.data,
            partial.ctypes.data,
            words.ctypes.data,
            *noise,
        )

    wanted = min(n_tasks, group.size // _WORTH_A_THREAD)
    run_together(work, min(_thread_count(), wanted) if wanted > 1 else 1)


def _thread_count() -> int:
    """What numba.set_num_threads() set, else $NUMBA_NUM_THREADS, else the processors that this process may use."""
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if getattr(
        parallel, "_is_initialized", False
    ):  # else nobody has set it, and asking would start Numba's threads
        return int(parallel.get_num_threads())
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_row(op: str, table: Table, partials: Sequence[np.ndarray]) -> np.ndarray:
    """Results of chunks joined in order, for each row."""
    extreme = op in ("amax", "amin")
    rows = np.full(len(table.rows), np.nan if extreme else 0.0)
    for group, partial_results in zip(table.groups, partials, strict=True):
        owners = group.chunks[:, 0]
        if len(owners) == len(np.unique(owners)):
            rows[owners] = partial_results
        elif extreme:
            extremum = largest if op == "amax" else smallest
            for row in group.rows[table.sizes[group.rows] > 0]:
                rows[row] = extremum(partial_results[owners == row])
        else:
            np.add.at(rows, owners, partial_results)  # unbuffered: one chunk after the other
    return rows
