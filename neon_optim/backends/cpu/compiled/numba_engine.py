"""Runs Programs over tables of arrays with functions that Numba compiles: one pass over all rows."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import numpy as np

from neon_optim.backends.contract import Rounding
from neon_optim.backends.cpu.compiled.source import ARGUMENTS, WORDS_BLOCK, bounds, kernel_source
from neon_optim.backends.cpu.engine import Engine
from neon_optim.backends.cpu.numpy_engine import NumpyEngine
from neon_optim.backends.cpu.numpy_kernel import compute_type
from neon_optim.backends.cpu.table import TASK, Group, Table
from neon_optim.backends.cpu.workers import run_together, thread_count
from neon_optim.backends.program import ROW, SET, Program, Stage
from neon_optim.backends.scalars import ScalarValues
from neon_optim.backends.sums import LANES
from neon_optim.backends.watch import Differ

__all__ = ["NumbaEngine", "numba_is_usable"]

_FLOAT16 = np.dtype(np.float16)

_WORTH_A_THREAD = 4 * TASK
"""Elements below which waking another thread takes longer than doing its work."""


def numba_is_usable() -> bool:
    """Whether Numba is installed and may compile, found out without importing it."""
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return not disabled and importlib.util.find_spec("numba") is not None


class NumbaEngine(Engine):
    """The engine that compiles each Program. Numba is imported with the first one that is not in the cache."""

    name = "numba"

    def __init__(self) -> None:
        self._numpy = NumpyEngine()

    def run_group(
        self,
        program: Program,
        stage: Stage,
        table: Table,
        group: Group,
        values: ScalarValues,
        partial: np.ndarray,
        rounding: Rounding | None,
    ) -> None:
        """See :meth:`Engine.run_group`."""
        if _FLOAT16 in group.dtypes and not _converts_float16():
            self._numpy.run_group(program, stage, table, group, values, partial, rounding)
            return
        kernel = self.kernel(
            program, stage, group.dtypes, rounding, _are_plain(program, stage, group, values)
        )
        counter = np.zeros(1, np.int64)
        n_tasks = len(group.tasks) - 1
        of_sets, of_rows = values.matrix(stage.inputs, SET), values.matrix(stage.inputs, ROW)
        addresses = (*group.addresses, *table.addresses, of_sets.ctypes.data, of_rows.ctypes.data)
        noise = (0, 0, 0) if rounding is None else (rounding.seed, rounding.step, rounding.first_row)

        def work() -> None:
            lanes = np.empty(LANES * partial.shape[1])
            words = np.empty(0 if rounding is None else WORDS_BLOCK * len(program.slots), np.uint32)
            scratch = (lanes.ctypes.data, partial.ctypes.data, words.ctypes.data)
            kernel(counter.ctypes.data, n_tasks, *addresses, *scratch, *noise)

        wanted = min(n_tasks, group.size // _WORTH_A_THREAD)
        run_together(work, min(thread_count(), wanted) if wanted > 1 else 1)

    def words_differ(self) -> Differ:
        """See :meth:`Engine.words_differ`."""
        from neon_optim.backends.cpu.compiled.words_differ import words_differ

        return words_differ()

    @staticmethod
    def kernel(
        program: Program,
        stage: Stage,
        dtypes: tuple[np.dtype, ...],
        rounding: Rounding | None = None,
        plain_bounds: bool = False,
    ) -> Callable[..., None]:
        """The compiled stage, made once; the arguments are those of :func:`kernel_source`."""
        bits = None if rounding is None else rounding.bits
        key = ("numba", stage, dtypes, bits, plain_bounds)
        kernel: Callable[..., None] | None = program.compiled.get(key)
        if kernel is None:
            from neon_optim.backends.cpu.compiled.cache import load_kernel

            function, source = kernel_source(program, stage, dtypes, bits, plain_bounds)
            kernel = program.compiled[key] = load_kernel(function, source, len(ARGUMENTS))
        return kernel


def _converts_float16() -> bool:
    from neon_optim.backends.cpu.compiled import cache as kernel_cache

    return kernel_cache.converts_float16()


def _are_plain(program: Program, stage: Stage, group: Group, values: ScalarValues) -> bool:
    """Whether everything that elements are limited to is, in the compute type, neither zero nor NaN."""
    limits = bounds(program, stage)
    if not limits:
        return False
    numbers = [values.matrix(limits, rank).astype(compute_type(group.dtypes)) for rank in (SET, ROW)]
    return all(bool(x.all() and (x == x).all()) for x in numbers)
