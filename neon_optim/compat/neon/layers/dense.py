"""neon's layers of a multi-layer perceptron."""

from __future__ import annotations

from typing import Any

from neon_optim import model
from neon_optim.compat.neon.layers.base import Layer, SameShape, interpret_in_shape
from neon_optim.compat.neon.layers.parameters import ParameterLayer

__all__ = ["Activation", "Bias", "Linear"]

UNUSED = model.Constant()
"""Stands for the initializer of a layer of ours: a layer of neon's fills the parameters itself."""


class Linear(ParameterLayer):
    """W · x, for each step of a sequence.

    Arguments:
        nout: features that go out.
        init: initializer of W, which is (nout, nin), or its first values.
        bsum: neon's; without effect, as BatchNorm takes the sums that it needs.
    """

    def __init__(
        self, nout: int, init: Any, bsum: bool = False, name: str | None = None, parallelism: str = "Disabled"
    ):
        self.core = self.core_of(nout)
        super().__init__(init, name, parallelism)
        self.nout = nout
        self.bsum = bsum

    def core_of(self, nout: int) -> Any:
        """The layer of ours."""
        return model.Linear(nout=nout, init=UNUSED)

    def __str__(self) -> str:
        return f"{type(self).__name__} Layer '{self.name}': {self.nin} inputs, {self.nout} outputs"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of inputs and of steps."""
        super().configure(in_obj)
        self.configure_core()
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.out_shape = (self.nout, self.nsteps)
        if self.weight_shape is None:
            self.weight_shape = (self.nout, self.nin)
        if self.bsum:
            self.batch_sum_shape = (self.nout, 1)
        return self

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """W · x, beside ``beta`` times what the outputs hold; of the minibatch's own samples and steps alone."""
        if self.actual_bsz is None and self.actual_seq_len is None:
            return self.forward_of_core(inputs, inference, beta)
        samples = self.be.bsz if self.actual_bsz is None else self.actual_bsz
        columns = samples * (self.nsteps if self.actual_seq_len is None else self.actual_seq_len)
        self.inputs = inputs
        part, value = self.outputs[:, :columns], self.core.forward(inputs[:, :columns])
        part[:] = value + part * beta if beta else value
        self._passed["last"] = inputs, self.core.forward(inputs)
        return self.outputs

    @Layer.accumulates
    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """Wᵀ · error; dW is error · xᵀ."""
        return self.backward_of_core(error, alpha, beta)


class Bias(ParameterLayer):
    """x + b, in the memory of x, with one b for each feature or each channel of an image.

    Arguments:
        init: initializer of b, which is called W and is (features, 1) or (C, 1).
    """

    def __init__(self, init: Any, name: str | None = None):
        self.core = model.Bias(init=UNUSED)
        super().__init__(init, name)
        self.y: Any = None
        self.owns_output = False
        self.owns_delta = False

    def __str__(self) -> str:
        if isinstance(self.in_shape, tuple) and len(self.in_shape) == 3:
            channels, height, width = self.in_shape
            return f"Bias Layer '{self.name}': size {channels} x ({height}x{width})"
        return f"Bias Layer '{self.name}': size {self.bias_size}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features or channels."""
        super().configure(in_obj)
        self.configure_core()
        self.out_shape = self.in_shape
        self.bias_size = self.core.in_shape[0]
        if self.weight_shape is None:
            self.weight_shape = (self.bias_size, 1)
        return self

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """x + b."""
        self.outputs = self.inputs = inputs
        value, _ = self.core.passed(inputs, inference)
        self._passed["last"] = inputs, value
        inputs[:] = value
        return self.outputs

    @Layer.accumulates
    def bprop(self, error: Any) -> Any:
        """The error itself; dW is its sum for each feature or channel."""
        self.deltas = None  # no derivative by x is wanted: it is the error
        self.backward_of_core(error)
        self.deltas = error
        return error


class Activation(SameShape):
    """An activation function, in the memory of x.

    Arguments:
        transform: the function; its ``bprop`` takes the outputs.
    """

    def __init__(self, transform: Any, name: str | None = None):
        super().__init__(name)
        self.core = model.Activation(transform=transform)
        self.transform = transform
        self.owns_output = False
        self.owns_delta = True

    @property
    def algebra(self) -> Any:
        """An Activation of ours, where the function is one of this package: others may do anything when called."""
        return super().algebra if type(self.transform).__module__.startswith("neon_optim.") else None

    def __str__(self) -> str:
        return f"Activation Layer '{self.name}': {type(self.transform).__name__}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in."""
        self.nglayer = None
        return super().configure(in_obj)

    def get_is_mklop(self) -> bool:
        """That of the function."""
        return bool(getattr(self.transform, "is_mklop", False))

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """transform(x)."""
        self.outputs = self.inputs = inputs
        inputs[:] = self.transform(inputs)
        return self.outputs

    def bprop(self, error: Any) -> Any:
        """transform.bprop(outputs) × error."""
        self.deltas[:] = self.transform.bprop(self.outputs) * error
        return self.deltas
