"""A loop that NumPy runs until compiling it pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.cpu.numpy_loops import NumpyLoop
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import Graph
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
    """One loop of a graph over given arrays; see :meth:`~neon_optim.backends.cpu.engine.Engine.make_loop`."""

    def __init__(
        self,
        graph: Graph,
        loop: Loop,
        arrays: dict[int, np.ndarray],
        addresses: dict[int, int],
        numbers: np.ndarray,
    ):
        self._made_of = graph, loop, arrays, numbers
        self._addresses = addresses
        self._loop = loop
        self._size = int(np.prod(loop.shape, dtype=np.int64))
        self._only_copies = all(graph.values[v].op in _COPIES for v in loop.values)
        if "kernel" in loop.compiled:
            self._run: Any = self._compiled()
        else:
            self._run = NumpyLoop(*self._made_of, SHARED_FUNCTIONS)

    def _compiled(self) -> Any:
        from neon_optim.backends.cpu.compiled.loops import CompiledLoop

        return CompiledLoop(*self._made_of, self._addresses)

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
            self._run = self._compiled()
        elif runs == LOOKED_FOR:
            from neon_optim.backends.cpu.compiled.loops import find_kernel

            if find_kernel(*self._made_of[:3]):
                self._run = self._compiled()
