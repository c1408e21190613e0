"""What the CPU backend does for the steps of a graph, in host memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.cpu.engine import Engine
from neon_optim.backends.cpu.numpy_loops import NumpyLoop
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.cpu.whole_arrays import WholeArrays
from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.backends.executor import Executor, RunLoop, belongs_elsewhere
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.functions import FUNCTIONS
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import TOTALS, Leaf, Value

__all__ = ["HostExecutor", "leaf_of"]


def leaf_of(value: Any) -> Leaf | None:
    """A tensor, or an array of a float type, as a graph knows it; None for a number.

    Raises:
        BackendError: the tensor belongs to another backend.
    """
    if isinstance(value, CPUTensor):
        return value.leaf
    if isinstance(value, Tensor):
        raise belongs_elsewhere(value)
    if isinstance(value, np.ndarray) and value.ndim:
        return Leaf(value if value.dtype.name in FLOAT_TYPES else value.astype(np.float32))
    return None


class HostExecutor(Executor):
    """See :class:`Executor`.

    Arguments:
        whole: what does operations on whole arrays.
        engine: makes loops.
    """

    leaf_of = staticmethod(leaf_of)

    def __init__(self, whole: WholeArrays, engine: Engine):
        self._whole = whole
        self._engine = engine

    def is_alone(self, value: Value) -> bool:
        """See :meth:`Executor.is_alone`."""
        return self._whole.is_alone(value)

    def allocate(self, size: int) -> np.ndarray:
        """See :meth:`Executor.allocate`."""
        return np.empty(size, np.uint8)

    def constant(self, values: np.ndarray) -> np.ndarray:
        """See :meth:`Executor.constant`."""
        return values

    def loop(self, loop: Loop, memory: FlowMemory) -> RunLoop:
        """See :meth:`Executor.loop`."""
        if self._whole.takes_numpys(loop, memory.graph):
            return NumpyLoop(loop, memory, FUNCTIONS)
        return _fill(loop, memory) or _copy(loop, memory) or self._engine.make_loop(loop, memory)

    def call(self, v: int, memory: FlowMemory) -> Callable[[], None]:
        """See :meth:`Executor.call`."""
        value, arrays, whole = memory.graph.values[v], memory.arrays, self._whole
        if value.is_number:
            (a,) = value.args
            words, op = memory.words, value.op

            def total() -> None:
                words[v] = whole.reduce_all(op, arrays[a])

            return self._engine.make_total(v, memory) or total
        if value.op in ("dot", "batched_dot"):
            left, right = value.args
            product = whole.product

            def multiply() -> None:
                product(arrays[left], arrays[right], arrays[v])

            return multiply

        def move() -> None:
            whole.move(value, [arrays[a] for a in value.args], arrays[v])

        return move


class _Unbound:
    """A loop that looks its arrays up at each run."""

    def __init__(self, memory: FlowMemory, source: int, v: int):
        self._memory = memory
        self._source, self._v = source, v

    def bind(self) -> None:
        """Nothing."""


class _Fill(_Unbound):
    """A loop that only stores a number."""

    def __call__(self) -> None:
        self._memory.arrays[self._v].fill(self._memory.words[self._source])


class _Copy(_Unbound):
    """A loop that only copies an array to one of its type."""

    def __call__(self) -> None:
        np.copyto(self._memory.arrays[self._v], self._memory.arrays[self._source])


def _fill(loop: Loop, memory: FlowMemory) -> _Fill | None:
    """A loop that only stores a number; None where it does more, or rounds on the way."""
    values, (v, *others) = memory.graph.values, loop.values
    if others or values[v].op != "copy" or values[v].dtype.name not in ("float32", "float64"):
        return None
    (number,) = values[v].args
    if not (values[number].op == "number" or values[number].op in TOTALS):
        return None
    return _Fill(memory, number, v)


def _copy(loop: Loop, memory: FlowMemory) -> _Copy | None:
    """A loop that only copies an array to one of its type; None where it does more."""
    values, (v, *others) = memory.graph.values, loop.values
    if others or values[v].op != "copy" or values[values[v].args[0]].is_number:
        return None
    (source,) = values[v].args
    return _Copy(memory, source, v) if memory.arrays[source].dtype == memory.arrays[v].dtype else None
