"""Runs loops of graphs with functions that Numba compiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.cpu.compiled.cache import kept_kernel, load_kernel
from neon_optim.backends.cpu.compiled.loop_source import ARGUMENTS, loop_source, scratch_of
from neon_optim.backends.cpu.compiled.loop_writer import TABLE, Operand, Scratch
from neon_optim.backends.cpu.workers import run_together, thread_count
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.local_loop import LocalLoop
from neon_optim.backends.loop_layout import LoopLayout, lay_out
from neon_optim.backends.sums import AXIS_LANES

__all__ = ["CompiledLoop", "find_kernel"]

_BLOCK = 16_384
"""Elements of a task."""

_WORTH_A_THREAD = 4 * _BLOCK
"""Elements below which waking another thread takes longer than doing its work."""

_COLUMNS = 64
"""Rows that are gone through side by side, where the reduced axis is not the innermost one."""

_SCRATCH = 1 << 20
"""Bytes of what is kept of elements, above which fewer rows are gone through side by side."""


def find_kernel(loop: Loop, memory: FlowMemory) -> bool:
    """Whether the function of a loop has been compiled before, by any process; if so, it is ready afterwards."""
    kernel = kept_kernel("loop", _Layout(loop, memory).source(), len(ARGUMENTS))
    if kernel is not None:
        loop.compiled["kernel"] = kernel
    return kernel is not None


class _Layout:
    """How the arrays of a loop lie, and what source follows from that."""

    def __init__(self, loop: Loop, memory: FlowMemory):
        self._loop = loop
        self.local = LocalLoop.of(memory.graph, loop)
        self._arrays = [memory.arrays[v] for v in (*loop.reads, *loop.writes)]
        self.axes = lay_out(self._arrays, loop.shape, loop.axis)
        self.columns = loop.axis is not None and self.axes.inner is not None

    def source(self) -> str:
        operands = _operands(self.local.loop, self._arrays, self.axes)
        return loop_source("loop", self.local, operands, len(self.axes.outer), self.columns)


class CompiledLoop:
    """One loop of a graph over the arrays of a flow."""

    def __init__(self, loop: Loop, memory: FlowMemory):
        self._addresses = memory.addresses
        self._values = [*loop.reads, *loop.writes]
        lying = _Layout(loop, memory)
        layout, columns = lying.axes, lying.columns
        pieces = scratch_of(lying.local, columns)
        if "kernel" not in loop.compiled:
            loop.compiled["kernel"] = load_kernel("loop", lying.source(), len(ARGUMENTS))
        self._kernel = loop.compiled["kernel"]
        self._counter = np.zeros(1, np.int64)
        self._claimed: Any = self._counter.data
        block = _block(layout, columns, pieces)
        n_blocks = 1 if layout.inner is None else -(-layout.inner // block)
        rows = int(np.prod(layout.outer, dtype=np.int64))
        size = int(np.prod(loop.shape, dtype=np.int64))
        units = rows * n_blocks  # a sum along an axis without elements is zero, and is stored
        per_task = max(1, _BLOCK // max(1, size // max(1, units)))
        n_tasks = -(-units // per_task)
        head = dict(
            zip(
                TABLE,
                (n_tasks, units, per_task, n_blocks, block, layout.inner or 0, layout.along or 0),
                strict=True,
            )
        )
        begins, self._scratch_size = _begins(pieces, layout, columns, block)
        table = [*head.values(), *layout.outer]
        self._places = []
        for strides in layout.strides:
            self._places.append(len(table))
            table += [0, *strides]
        self._table = np.array([*table, *lying.local.places, *begins], np.int64)
        self._words: Any = self._table.data
        self._scratch = self._new_scratch()
        wanted = min(n_tasks, size // _WORTH_A_THREAD)
        self._most_threads = wanted if wanted > 1 else 1
        self._fixed = (self._counter.ctypes.data, self._table.ctypes.data, memory.numbers.ctypes.data)
        self.bind()

    def bind(self) -> None:
        """Take the arrays that are there now."""
        words, addresses = self._words, self._addresses
        for place, v in zip(self._places, self._values, strict=True):
            words[place] = addresses[v]

    def _new_scratch(self) -> tuple[np.ndarray, int]:
        memory = np.empty(self._scratch_size, np.uint8)
        return memory, memory.ctypes.data

    def __call__(self) -> None:
        """Run the loop."""
        self._claimed[0] = 0
        threads = min(thread_count(), self._most_threads) if self._most_threads > 1 else 1
        if threads == 1:
            self._kernel(*self._fixed, self._scratch[1])
            return

        def work() -> None:
            memory, address = self._new_scratch()
            self._kernel(*self._fixed, address)
            del memory

        run_together(work, threads)


def _operands(loop: Loop, arrays: Sequence[np.ndarray], layout: LoopLayout) -> list[Operand]:
    values = [*loop.reads, *loop.writes]
    operands = []
    for k, (v, array, strides) in enumerate(zip(values, arrays, layout.strides, strict=True)):
        inner = {array.dtype.itemsize: "one", 0: "none"}.get(strides[-1], "any")
        writes = k >= len(loop.reads)
        pointer = values.index(loop.in_place[v]) if writes and v in loop.in_place else k
        operands.append(Operand(v, array.dtype.name, inner, writes, pointer))
    return operands


def _block(layout: LoopLayout, columns: bool, pieces: Sequence[Scratch]) -> int:
    if layout.inner is None:
        return 1
    if not columns:
        return max(1, min(layout.inner, _BLOCK))
    kept = sum(_itemsize(piece) for piece in pieces if piece.per == "element") * (layout.along or 1)
    block = _COLUMNS
    while block > 16 and block * kept > _SCRATCH:
        block //= 2
    return max(1, min(block, layout.inner))


def _itemsize(piece: Scratch) -> int:
    return np.dtype(piece.kind).itemsize


def _begins(
    pieces: Sequence[Scratch], layout: LoopLayout, columns: bool, block: int
) -> tuple[list[int], int]:
    """Where each piece of scratch memory begins, and how much there is in all, in bytes."""
    along = layout.along or 0
    counts = {"lane": AXIS_LANES, "row": 1, "element": along}
    begins, place = [], 0
    for piece in pieces:
        begins.append(place)
        size = counts[piece.per] * (block if columns else 1) * _itemsize(piece)
        place += -(-size // 64) * 64
    return begins, place
