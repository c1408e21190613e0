"""A backend whose tensors have shapes and types, and neither contents nor memory: to see what something would take."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Captured, Tensor
from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.backends.cpu.host_executor import leaf_of
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.graph import Flat, flatten
from neon_optim.backends.shapes import at_least_2d

__all__ = ["OutlineBackend", "OutlineTensor"]


class OutlineTensor(CPUTensor):
    """A tensor that nothing is written to. Its memory is a range of addresses, which the system never fills."""

    __slots__ = ()

    def set(self, ary: Any) -> OutlineTensor:
        """Nothing."""
        return self

    def fill(self, value: float) -> OutlineTensor:
        """Nothing."""
        return self

    def copy_from(self, source: Any) -> OutlineTensor:
        """Nothing."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing."""


class _NoNumbers(np.random.RandomState):
    """Zeros, at no cost, in the place of the random numbers that parameters are filled with."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, () if size is None else size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(0.0, () if size is None else size)


class _Planned(Captured):
    """Captured assignments that were planned, and are never done."""

    def __call__(self, *inputs: Tensor) -> None:
        """Nothing."""


class OutlineBackend(CPUBackend):
    """Makes tensors of any size at once and does no work on them; arguments as for :class:`CPUBackend`.

    Attributes:
        nbytes: what all tensors so far, and the intermediate values of captured assignments, would take.

    Raises:
        MemoryError: a tensor is larger than any machine.

    >>> be = OutlineBackend()
    >>> weights = be.zeros((1_000_000, 1_000_000))
    >>> weights[:] = weights * 2.0
    >>> be.nbytes
    4000000000000
    """

    name = "outline"
    tensor_cls = OutlineTensor

    def __init__(self, **options: Any):
        self.nbytes = 0
        super().__init__(**options, engine="numpy")

    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> CPUTensor:
        """A tensor."""
        extents = at_least_2d(shape)
        kind = np.dtype(dtype or self.default_dtype)
        size = math.prod(extents) * kind.itemsize
        self.nbytes += size
        return self.tensor_cls(self, _addresses(size).view(kind).reshape(extents), name)

    def run(self, flat: Flat, key: Any = None) -> None:
        """Nothing."""

    def capture(
        self,
        assignments: Sequence[tuple[Tensor, Any]],
        inputs: Sequence[Tensor] = (),
        values: Sequence[tuple[Any, Tensor]] = (),
    ) -> Captured:
        """Plan assignments, and count the memory of their intermediate values."""
        flat = flatten(assignments, leaf_of, {id(node): value for node, value in values})
        self.nbytes += self._flows.plan(flat).size
        return _Planned()

    def bernoulli(self, out: Tensor, keep: float, *, stream: int, step: int) -> Tensor:
        """Nothing."""
        return out

    def gen_rng(self, seed: int | None = None) -> np.random.RandomState:
        """Random numbers that are all 0."""
        return _NoNumbers(super().gen_rng(seed).get_state()[1][0])  # type: ignore[index]


def _addresses(size: int) -> np.ndarray:
    """Bytes that can be read only, so that the system promises no memory for them."""
    try:
        reserved = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANON, prot=mmap.PROT_READ)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(f"{size:,} bytes are more than a program can address") from error
    return np.frombuffer(reserved, np.uint8, count=size)
