"""Runs Programs over tables of arrays with functions that Numba compiles: one pass over all rows."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim.backends.contract import Rounding
from neon_optim.backends.cpu.compiled.lazy_loop import LazyLoop
from neon_optim.backends.cpu.compiled.loop_source import scratch_of
from neon_optim.backends.cpu.compiled.source import (
    ARGUMENTS,
    MOST_SCOPES,
    WORDS_BLOCK,
    bounds,
    kernel_source,
)
from neon_optim.backends.cpu.engine import Engine, RunLoop
from neon_optim.backends.cpu.numpy_engine import NumpyEngine
from neon_optim.backends.cpu.table import TASK, HostTable, RowGroup
from neon_optim.backends.cpu.whole_arrays import Product
from neon_optim.backends.cpu.workers import run_together, thread_count
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import Graph
from neon_optim.backends.local_loop import LocalLoop
from neon_optim.backends.program import SET, Program, Stage
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
        self._numpy = NumpyEngine(deterministic=True)  # as compiled code is

    def run_group(
        self,
        program: Program,
        stage: Stage,
        table: HostTable,
        group: RowGroup,
        values: ScalarValues,
        partial: np.ndarray,
        rounding: Rounding | None,
    ) -> None:
        """See :meth:`Engine.run_group`."""
        if _FLOAT16 in group.dtypes and not _converts_float16():
            self._numpy.run_group(program, stage, table, group, values, partial, rounding)
            return
        bits = None if rounding is None else rounding.bits
        key = (stage, bits, _are_plain(program, stage, group, values))
        launch = group.launches.get(key)
        if launch is None:
            launch = group.launches[key] = _Launch(self.kernel, program, table, group, *key)
        launch.run(values, partial, rounding)

    def make_loop(self, loop: Loop, memory: FlowMemory) -> RunLoop:
        """See :meth:`Engine.make_loop`."""
        used = [memory.arrays[v] for v in (*loop.reads, *loop.writes)]
        if (
            not all(map(_is_addressable, used))
            or _has_too_many_arrays(memory.graph, loop, len(used))
            or (any(a.dtype == _FLOAT16 for a in used) and not _converts_float16())
        ):
            return self._numpy.make_loop(loop, memory)
        return LazyLoop(loop, memory)

    def make_total(self, v: int, memory: FlowMemory) -> Callable[[], None] | None:
        """See :meth:`Engine.make_total`."""
        value = memory.graph.values[v]
        array = memory.arrays[value.args[0]]
        is_wide = array.dtype.name in ("float32", "float64")
        if value.op not in ("sum", "sum_square") or not (
            is_wide and array.flags.c_contiguous and _is_addressable(array)
        ):
            return None
        from neon_optim.backends.cpu.compiled.totals import CompiledTotal

        return CompiledTotal(v, memory)

    def fixed_product(self) -> Product:
        """See :meth:`Engine.fixed_product`."""
        from neon_optim.backends.cpu.compiled.product import CompiledProduct

        return CompiledProduct()

    def words_differ(self) -> Differ:
        """See :meth:`Engine.words_differ`."""
        from neon_optim.backends.cpu.compiled.words_differ import words_differ

        return words_differ()

    @staticmethod
    def kernel(
        program: Program,
        stage: Stage,
        dtypes: tuple[np.dtype, ...],
        bits: int | None = None,
        plain_bounds: bool = False,
    ) -> Callable[..., None]:
        """The compiled stage, made once; the arguments are those of :func:`kernel_source`."""
        key = ("numba", stage, dtypes, bits, plain_bounds)
        kernel: Callable[..., None] | None = program.compiled.get(key)
        if kernel is None:
            from neon_optim.backends.cpu.compiled.cache import load_kernel

            function, source = kernel_source(program, stage, dtypes, bits, plain_bounds)
            kernel = program.compiled[key] = load_kernel(function, source, len(ARGUMENTS))
        return kernel


class _Launch:
    """One stage over one group: its kernel, and the arguments that stay the same from step to step."""

    def __init__(
        self,
        kernel_of: Callable[..., Callable[..., None]],
        program: Program,
        table: HostTable,
        group: RowGroup,
        stage: Stage,
        bits: int | None,
        plain_bounds: bool,
    ):
        self._kernel = kernel_of(program, stage, group.dtypes, bits, plain_bounds)
        self._stage = stage
        self._inputs = [v for v in stage.inputs if program.code[v].rank == SET]
        self._reads_rows = len(self._inputs) < len(stage.inputs)
        self._of_sets = np.zeros(max(1, len(table.scopes) * len(self._inputs)))
        self._set_values: Any = self._of_sets.data
        self._counter = np.zeros(1, np.int64)
        self._claimed: Any = self._counter.data
        self._n_lanes = LANES * len(stage.reductions)
        self._n_words = 0 if bits is None else WORDS_BLOCK * len(program.slots)
        n_tasks = len(group.tasks) - 1
        self._fixed = (
            *(
                self._counter.ctypes.data,
                n_tasks,
                *group.addresses,
                *table.addresses,
                self._of_sets.ctypes.data,
            ),
        )
        self._scratch = self._new_scratch()
        wanted = min(n_tasks, group.size // _WORTH_A_THREAD)
        self._most_threads = wanted if wanted > 1 else 1

    def _new_scratch(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """What one thread works with: the arrays, and where they are."""
        lanes, words = np.empty(self._n_lanes), np.empty(self._n_words, np.uint32)
        return lanes, words, lanes.ctypes.data, words.ctypes.data

    def run(self, values: ScalarValues, partial: np.ndarray, rounding: Rounding | None) -> None:
        """Run the stage with the scalars of a step."""
        place = 0
        for of_set in values.of_sets:
            for v in self._inputs:
                self._set_values[place] = of_set[v]
                place += 1
        rows = values.rows_of(self._stage.inputs) if self._reads_rows else self._of_sets
        self._claimed[0] = 0
        of_rows, partials = (
            rows.ctypes.data if self._reads_rows else 0,
            partial.ctypes.data if partial.size else 0,
        )
        noise = (0, 0, 0) if rounding is None else (rounding.seed, rounding.step, rounding.first_row)
        threads = min(thread_count(), self._most_threads) if self._most_threads > 1 else 1
        if threads == 1:
            _, _, lanes, words = self._scratch
            self._kernel(*self._fixed, of_rows, lanes, partials, words, *noise)
            return

        def work() -> None:
            *kept, lanes, words = self._new_scratch()
            self._kernel(*self._fixed, of_rows, lanes, partials, words, *noise)
            kept.clear()

        run_together(work, threads)


def _is_addressable(array: np.ndarray) -> bool:
    """Whether compiled code can count from element to element, and read them."""
    return array.dtype.isnative and all(stride % array.dtype.itemsize == 0 for stride in array.strides)


def _has_too_many_arrays(graph: Graph, loop: Loop, used: int) -> bool:
    """Whether compiled code could not tell all arrays and pieces of scratch memory of a loop apart."""
    return (
        used + 3 * len(loop.values) > MOST_SCOPES
        and used + len(scratch_of(LocalLoop.of(graph, loop), True)) > MOST_SCOPES
    )


def _converts_float16() -> bool:
    from neon_optim.backends.cpu.compiled import machine_code

    return machine_code.converts_float16()


def _are_plain(program: Program, stage: Stage, group: RowGroup, values: ScalarValues) -> bool:
    """Whether everything that elements are limited to is, in the compute type, neither zero nor NaN."""
    limits = bounds(program, stage)
    if not limits:
        return False
    dtype = compute_type(group.dtypes)
    of_sets = [of_set[v] for of_set in values.of_sets for v in limits if program.code[v].rank == SET]
    numbers = [np.array(of_sets), values.rows_of(limits)]
    with np.errstate(all="ignore"):
        return all(bool(x.all() and (x == x).all()) for x in (n.astype(dtype) for n in numbers))
