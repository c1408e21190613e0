"""neon's layers that make one vector of a sequence."""

from __future__ import annotations

from typing import Any

from neon_optim import model
from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.unrolled import get_steps, interpret_in_shape

__all__ = ["RecurrentLast", "RecurrentMean", "RecurrentOutput", "RecurrentSum"]


class RecurrentOutput(Layer):
    """Makes one vector of a sequence: (F, T) becomes (F, 1).

    Attributes:
        xs: the inputs step by step.
        deltas: the derivatives by them, step by step; ``deltas_buffer`` of all steps.
    """

    def __init__(self, name: str | None = None):
        super().__init__(name if name else self.classnm)
        self.owns_output = self.owns_delta = True
        self.x: Any = None

    def __str__(self) -> str:
        return f"RecurrentOutput choice {self.name} : ({self.nin}, {self.nsteps}) inputs, {self.nin} outputs"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps."""
        super().configure(in_obj)
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.out_shape = (self.nin, 1)
        if self.core is not None:
            self.core.in_shape = (self.nin, self.nsteps)
            self.core.configure(self.nin)
        return self

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take the deltas."""
        super().set_deltas(delta_buffers)
        self.deltas_buffer = self.deltas
        self.deltas = [] if self.deltas is None else get_steps(self.deltas_buffer, (self.nin, self.nsteps))

    def init_buffers(self, inputs: Any) -> None:
        """Take the inputs."""
        if self.x is not inputs:
            self.x = inputs
            self.xs = get_steps(inputs, (self.nin, self.nsteps))

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The vectors."""
        self.init_buffers(inputs)
        return self.forward_of_core(inputs.reshape(self.nin, -1), inference)

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by each step."""
        of_steps, buffer = self.deltas, self.deltas_buffer
        self.deltas = None if buffer is None else buffer.reshape(self.nin, -1)
        try:
            self.backward_of_core(error, alpha, beta)
        finally:
            self.deltas = of_steps
        return buffer


class RecurrentSum(RecurrentOutput):
    """The sum over the steps of a sequence."""

    def __init__(self, name: str | None = None):
        self.core = model.RecurrentSum()
        super().__init__(name)

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps."""
        super().configure(in_obj)
        self.sumscale = 1.0
        return self


class RecurrentMean(RecurrentSum):
    """The mean over the steps of a sequence."""

    def __init__(self, name: str | None = None):
        self.core = model.RecurrentMean()
        RecurrentOutput.__init__(self, name)

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps."""
        super().configure(in_obj)
        self.sumscale = 1.0 / self.nsteps
        return self


class RecurrentLast(RecurrentOutput):
    """The last step of a sequence."""

    def __init__(self, name: str | None = None):
        self.core = model.RecurrentLast()
        super().__init__(name)
