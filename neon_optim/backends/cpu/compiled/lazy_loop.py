"""A loop that NumPy runs until compiling it pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.cpu.numpy_loops import NumpyLoop
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import Graph
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS

__all__ = ["LazyLoop"]

_FEW_RUNS = 3
_FEW_ELEMENTS = 1 << 21
"""Runs, and elements of all runs, after which a loop is compiled, which takes as long as some hundred small runs by
NumPy. Both ways give the same bits."""


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
        self._history = loop.compiled
        self._size = int(np.prod(loop.shape, dtype=np.int64))
        self._run: Any = (
            self._compiled() if "kernel" in self._history else NumpyLoop(*self._made_of, SHARED_FUNCTIONS)
        )

    def _compiled(self) -> Any:
        from neon_optim.backends.cpu.compiled.loops import CompiledLoop

        return CompiledLoop(*self._made_of, self._addresses)

    def bind(self) -> None:
        """Other arrays have taken the place of some."""
        self._run.bind()

    def __call__(self) -> None:
        """Run the loop."""
        self._run()
        if isinstance(self._run, NumpyLoop):
            runs = self._history["runs"] = self._history.get("runs", 0) + 1
            if runs >= _FEW_RUNS or runs * self._size >= _FEW_ELEMENTS:
                self._run = self._compiled()
