"""neon's lists of recurrent layers of two directions, and the sum of both."""

from __future__ import annotations

from typing import Any

from neon_optim import model
from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.bidirectional import BiLSTM, BiRNN
from neon_optim.compat.neon.layers.normalized_steps import BiBNRNN
from neon_optim.compat.neon.layers.unrolled import interpret_in_shape

__all__ = ["BiSum", "DeepBiLSTM", "DeepBiRNN"]


class BiSum(Layer):
    """The sum of both directions: (2 · F, T) becomes (F, T)."""

    def __init__(self, name: str | None = None):
        super().__init__(name)
        self.core = model.BiSum()
        self.owns_output = self.owns_delta = True
        self.prev_layer = True
        self.x: Any = None

    def __str__(self) -> str:
        return "Sum layer to combine the forward and backward passes for BiRNN"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features, which is even, and of steps."""
        super().configure(in_obj)
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.core.name = self.name
        self.core.in_shape = (self.nin, self.nsteps)
        self.core.configure(self.nin)
        self.out_shape = (self.nin // 2, self.nsteps)
        return self

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The upper half of the features, and the lower one added to it."""
        self.x = inputs
        return self.forward_of_core(inputs, inference)

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The error, for both halves."""
        return self.backward_of_core(error)


class DeepBiRNN(list[Layer]):
    """A list of :class:`BiRNN` layers, one behind the other.

    Arguments:
        nout: features that go out of each direction.
        init, init_inner, activation, reset_cells: those of the layers.
        depth: how many layers.
        batch_norm: :class:`BiBNRNN` layers instead.
        bi_sum: add both directions up behind each layer; else each layer but the first is given them apart.

    Raises:
        ValueError: ``depth`` is not positive.
    """

    def __init__(
        self,
        nout: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        reset_cells: bool = False,
        depth: int = 1,
        batch_norm: bool = False,
        bi_sum: bool = False,
    ):
        super().__init__()
        make = BiBNRNN if batch_norm else BiRNN
        for k in _layers(depth):
            self.append(
                make(nout, init, init_inner, activation, reset_cells, split_inputs=k > 0 and not bi_sum)
            )
            if bi_sum:
                self.append(BiSum())


class DeepBiLSTM(list[Layer]):
    """A list of :class:`BiLSTM` layers, one behind the other; each but the first is given both directions apart.

    Arguments:
        nout: features that go out of each direction.
        init, init_inner, activation, gate_activation, reset_cells: those of the layers.
        depth: how many layers.

    Raises:
        ValueError: ``depth`` is not positive.
    """

    def __init__(
        self,
        nout: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        gate_activation: Any = None,
        reset_cells: bool = False,
        depth: int = 1,
    ):
        super().__init__()
        for k in _layers(depth):
            settings = init, init_inner, activation, gate_activation, reset_cells
            self.append(BiLSTM(nout, *settings, split_inputs=k > 0))


def _layers(depth: int) -> range:
    if depth <= 0:
        raise ValueError(f"depth must be at least 1, received {depth}")
    return range(depth)
