"""A loop that NumPy runs until compiling it pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.cpu.numpy_loops import NumpyLoop
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS

__all__ = ["LazyLoop"]

LOOKED_FOR = 3
"""Runs after which a loop is looked for among those that were compiled before."""

COMPILED = 50
WORTH_COMPILING = 1 << 22
"""Runs, or elements of all runs, after which it is compiled: that takes as long as thousands of small runs by NumPy,
but is done once for all processes. Both ways give the same bits."""

_COPIES = {"copy", "contiguous"}


class LazyLoop:
    """One loop of a graph over the arrays of a flow."""

    def __init__(self, loop: Loop, memory: FlowMemory):
        self._loop, self._memory = loop, memory
        self._size = int(np.prod(loop.shape, dtype=np.int64))
        self._only_copies = all(memory.graph.values[v].op in _COPIES for v in loop.values)
        self._run: Any = NumpyLoop(loop, memory, SHARED_FUNCTIONS)
        if "kernel" in loop.compiled:
            self._compile()

    def _compile(self) -> None:
        from neon_optim.backends.cpu.compiled.loops import CompiledLoop

        self._run = CompiledLoop(self._loop, self._memory)

    def bind(self) -> None:
        """Other arrays have taken the place of some."""
        self._run.bind()

    def __call__(self) -> None:
        """Run the loop."""
        self._run()
        if isinstance(self._run, NumpyLoop) and not self._only_copies:
            self._look_for_better()

    def _look_for_better(self) -> None:
        history = self._loop.compiled
        runs = history["runs"] = history.get("runs", 0) + 1
        if runs >= COMPILED or runs * self._size >= WORTH_COMPILING:
            self._compile()
        elif runs == LOOKED_FOR:
            from neon_optim.backends.cpu.compiled.loops import find_kernel

            if find_kernel(self._loop, self._memory):
                self._compile()
