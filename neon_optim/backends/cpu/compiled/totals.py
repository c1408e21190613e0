"""Totals of whole arrays in compiled code, in the fixed order of a sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from neon_optim.backends.cpu.compiled.cache import load_kernel
from neon_optim.backends.cpu.workers import run_together, thread_count
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.sums import CHUNK, LANES

__all__ = ["CompiledTotal"]

_WORTH_A_THREAD = 4 * CHUNK

_SOURCE = '''"""The sum of {kind}s, or of their squares: chunk by chunk, 256 lanes in each, joined by halving.

Made by neon_optim.backends.cpu.compiled.totals.
"""

from numba import float64, njit

from neon_optim.backends.cpu.compiled import support


@njit("void({types})", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def total(counter, values, n, squares, lanes, partial):
    n_chunks = (n + {chunk} - 1) // {chunk}
    chunk = support.claim(counter)
    while chunk < n_chunks:
        first = chunk * {chunk}
        stop = min(n, first + {chunk})
        width = support.lanes_used(stop - first, {lanes})
        support.fill_lanes(lanes, width, 0.0)
        for base in range(first, stop - {lanes} + 1, {lanes}):
            for lane in range({lanes}):
                x = float64(support.load_{kind}(values, base + lane, 0))
                x = x * x if squares else x
                support.store_float64(lanes, lane, 1, support.load_float64(lanes, lane, 1) + x)
        rest = (stop - first) % {lanes}
        for lane in range(rest):
            x = float64(support.load_{kind}(values, stop - rest + lane, 0))
            x = x * x if squares else x
            support.store_float64(lanes, lane, 1, support.load_float64(lanes, lane, 1) + x)
        support.write_float64(partial, chunk, support.sum_of_lanes(lanes, width))
        chunk = support.claim(counter)
'''

_N_ARGUMENTS = 6


@cache
def _kernel(kind: str) -> Callable[..., None]:
    types = ", ".join(["int64"] * _N_ARGUMENTS)
    return load_kernel(
        "total", _SOURCE.format(kind=kind, types=types, chunk=CHUNK, lanes=LANES), _N_ARGUMENTS
    )


class CompiledTotal:
    """The sum of an array of float32 or float64 without gaps, or of its squares, as a step of a flow.

    Arguments:
        v: the value of the sum.
    """

    def __init__(self, v: int, memory: FlowMemory):
        self._v, self._memory = v, memory
        value = memory.graph.values[v]
        (self._source,) = value.args
        array = memory.arrays[self._source]
        self._kernel = _kernel(array.dtype.name)
        self._counter = np.zeros(1, np.int64)
        self._claimed: Any = self._counter.data
        self._partial = np.empty(-(-array.size // CHUNK))
        self._lanes = np.empty(LANES)
        self._before = self._counter.ctypes.data
        self._after = array.size, int(value.op == "sum_square")
        self._scratch = self._lanes.ctypes.data
        self._results = self._partial.ctypes.data
        self._threads = max(1, array.size // _WORTH_A_THREAD)

    def __call__(self) -> None:
        """Compute it."""
        self._claimed[0] = 0
        threads = 1 if self._threads == 1 else min(thread_count(), self._threads)
        if threads == 1:
            self._add(self._scratch)
        else:
            run_together(self._work, threads)
        total = 0.0
        for of_chunk in self._partial.tolist():  # one after the other, as in every engine
            total += of_chunk
        self._memory.words[self._v] = total

    def _work(self) -> None:
        lanes = np.empty(LANES)
        self._add(lanes.ctypes.data)

    def _add(self, lanes: int) -> None:
        self._kernel(self._before, self._memory.addresses[self._source], *self._after, lanes, self._results)
