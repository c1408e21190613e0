"""What a backend does for the steps of a graph: it has the memory that values lie in, and computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import Leaf, Value
from neon_optim.errors import BackendError

__all__ = ["Executor", "RunLoop", "belongs_elsewhere"]


def belongs_elsewhere(tensor: Tensor) -> BackendError:
    """The error for a tensor of another backend."""
    return BackendError(f"{tensor!r} belongs to another backend; copy it with be.array(tensor.get())")


class RunLoop(Protocol):
    """A loop of a graph over the arrays of a flow."""

    def __call__(self) -> None:
        """Run the loop."""

    def bind(self) -> None:
        """Other arrays of the same layout have taken the place of some."""


class Executor(ABC):
    """Memory and computing, as flows need them."""

    @abstractmethod
    def leaf_of(self, value: Any) -> Leaf | None:
        """A tensor, or an array, as a graph knows it; None: it is neither, and so a number.

        Raises:
            BackendError: the tensor belongs to another backend.
        """

    @abstractmethod
    def allocate(self, size: int) -> np.ndarray:
        """So many bytes of undefined contents."""

    @abstractmethod
    def constant(self, values: np.ndarray) -> np.ndarray:
        """A host array, in the memory of the backend."""

    def is_alone(self, value: Value) -> bool:
        """Whether an operation that a loop could hold is a call."""
        return False

    @abstractmethod
    def loop(self, loop: Loop, memory: FlowMemory) -> RunLoop:
        """A loop over the arrays of a flow."""

    @abstractmethod
    def call(self, v: int, memory: FlowMemory) -> Callable[[], None]:
        """An operation on whole arrays of a flow, as something to call.

        Arguments:
            v: the value that it computes.
        """
