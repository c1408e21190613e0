"""Runs Programs over tables of arrays with NumPy: in place, block by block, no full-size temporary."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Rounding
from neon_optim.backends.cpu.engine import Engine
from neon_optim.backends.cpu.numpy_kernel import NumpyKernel
from neon_optim.backends.cpu.numpy_loops import NumpyLoop
from neon_optim.backends.cpu.table import HostTable, RowGroup
from neon_optim.backends.cpu.workers import run_together, thread_count
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.functions import FUNCTIONS, largest, smallest, store
from neon_optim.backends.fusion import Loop
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS
from neon_optim.backends.program import Program, Stage
from neon_optim.backends.rounding import round_stochastically, rounding_words, store_rounding
from neon_optim.backends.scalars import ScalarValues
from neon_optim.backends.sums import CHUNK, LaneSum

__all__ = ["BLOCK", "NumpyEngine"]

BLOCK = 4 * CHUNK
"""Elements that are worked on at a time, where no sums are taken.

Few enough to stay in the cache from one operation to the next, and so many that threads seldom wait for each other
between operations, when they hold the interpreter's lock.
"""

_WORTH_A_THREAD = 16_384
"""Elements of an average chunk below which threads only wait for each other's Python."""


class NumpyEngine(Engine):
    """The engine that needs nothing but NumPy.

    Arguments:
        deterministic: take exp, log and their like as all engines share them, instead of NumPy's own.
    """

    name = "numpy"

    def __init__(self, deterministic: bool = False) -> None:
        self._functions = SHARED_FUNCTIONS if deterministic else FUNCTIONS
        self._key = ("numpy", deterministic)
        self._local = threading.local()

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
        kernel = self.kernel(program, stage, group.dtypes)
        with np.errstate(all="ignore"):
            inputs = [list(row) for row in values.by_row(stage.inputs).astype(kernel.dtype)]
        operations = [program.code[r].op for r in stage.reductions]
        chunks = (group.chunks if operations else _blocks(group, table)).tolist()
        starts = table.starts.tolist()
        numbers = itertools.count()  # the lock of the interpreter makes each number go to one thread

        def work() -> None:
            with np.errstate(all="ignore"):
                for k in numbers:
                    if k >= len(chunks):
                        return
                    row, first, n = chunks[k]
                    arrays = table.rows[row]
                    if n < arrays[0].size:
                        begin = first - starts[row]
                        arrays = tuple([a[begin : begin + n] for a in arrays])
                    results = self._run_chunk(kernel, arrays, inputs[row], operations, rounding, row, first)
                    if operations:
                        partial[k] = results

        wanted = len(chunks) if group.size >= _WORTH_A_THREAD * max(2, len(chunks)) else 1
        run_together(work, min(thread_count(), wanted))

    def make_loop(self, loop: Loop, memory: FlowMemory) -> NumpyLoop:
        """See :meth:`Engine.make_loop`."""
        return NumpyLoop(loop, memory, self._functions)

    def _run_chunk(
        self,
        kernel: NumpyKernel,
        arrays: Sequence[np.ndarray],
        inputs: list[Any],
        operations: list[str],
        rounding: Rounding | None,
        row: int,
        first: int,
    ) -> list[float]:
        """One chunk of a row; returns the partial results of the reductions."""
        reduced, stores = kernel.run(arrays, inputs, self.scratch(kernel, arrays[0].shape))
        results = [self._reduce(op, operand) for op, operand in zip(operations, reduced, strict=True)]
        if rounding is not None:
            stores = self._rounded(stores, arrays, kernel, rounding, row, first)
        for slot, value in stores:
            store(arrays[slot], value)
        return results

    def _reduce(self, op: str, operand: np.ndarray) -> float:
        if op in ("amax", "amin"):
            return float((largest if op == "amax" else smallest)(operand))
        lanes: LaneSum = self._local.__dict__.get("lanes") or LaneSum(CHUNK)
        self._local.lanes = lanes
        lanes.add(operand, square=op.endswith("square"))
        return lanes.close()

    @staticmethod
    def _rounded(
        stores: list[tuple[int, Any]],
        blocks: Sequence[np.ndarray],
        kernel: NumpyKernel,
        rounding: Rounding,
        row: int,
        start: int,
    ) -> list[tuple[int, Any]]:
        """All stores of a block, with values that are rounded stochastically."""
        values = {slot: blocks[slot] for slot, _ in kernel.stage.outputs} | dict(stores)
        rounded = []
        for slot, value in values.items():
            how = store_rounding(kernel.dtype, blocks[slot].dtype, rounding.bits)
            if how is not None:
                value = np.broadcast_to(np.asarray(value, kernel.dtype), blocks[slot].shape)
                words = rounding_words(rounding, row, slot, start, start + value.size)
                value = round_stochastically(value, words, how)
            rounded.append((slot, value))
        return rounded

    def kernel(self, program: Program, stage: Stage, dtypes: tuple[np.dtype, ...]) -> NumpyKernel:
        """The compiled stage, made once."""
        key = (*self._key, stage, dtypes)
        kernel = program.compiled.get(key)
        if kernel is None:
            kernel = program.compiled[key] = NumpyKernel(program, stage, dtypes, self._functions)
        return kernel

    def scratch(self, kernel: NumpyKernel, shape: tuple[int, ...]) -> Sequence[np.ndarray]:
        """Scratch buffers for one block, views of memory that is kept for each thread."""
        mine: dict[str, Any] = self._local.__dict__
        wanted, views = mine.get("scratch", (None, ()))
        if wanted == (kernel, shape):
            return views
        size = math.prod(shape)
        if size > BLOCK:
            return [np.empty(shape, kernel.dtype) for _ in range(kernel.n_scratch)]
        kept: list[np.ndarray] = mine.setdefault(kernel.dtype.char, [])
        while len(kept) < kernel.n_scratch:
            kept.append(np.empty(BLOCK, kernel.dtype))
        views = [buffer[:size].reshape(shape) for buffer in kept[: kernel.n_scratch]]
        mine["scratch"] = (kernel, shape), views
        return views

    def close(self) -> None:
        """Free the scratch."""
        self._local = threading.local()


def _blocks(group: RowGroup, table: HostTable) -> np.ndarray:
    """Like the chunks of a group, but of up to BLOCK elements."""
    within = group.chunks[:, 1] - table.starts[group.chunks[:, 0]]
    blocks, within = group.chunks[within % BLOCK == 0], within[within % BLOCK == 0]
    blocks[:, 2] = np.minimum(table.sizes[blocks[:, 0]] - within, BLOCK)
    return blocks
