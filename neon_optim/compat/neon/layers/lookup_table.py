"""neon's table of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim import model
from neon_optim.backends.derivatives import gradients
from neon_optim.compat.neon.layers.base import interpret_in_shape
from neon_optim.compat.neon.layers.dense import UNUSED
from neon_optim.compat.neon.layers.parameters import ParameterLayer

__all__ = ["LookupTable"]


class LookupTable(ParameterLayer):
    """A vector for each number in 0, 1, …, vocab_size - 1: samples of T numbers become sequences (embedding_dim, T).

    Arguments:
        vocab_size: how many vectors there are.
        embedding_dim: features of each.
        init: initializer of W, which is (vocab_size, embedding_dim), or its first values.
        update: learn the vectors; else dW stays 0.
        pad_idx: a number that stands for no word: its vector is 0 and stays so.

    Attributes:
        inputs: the numbers of the minibatch, (1, T · samples).
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        init: Any,
        update: bool = True,
        pad_idx: int | None = None,
        name: str | None = None,
    ):
        self.core = model.LookupTable(
            vocab_size=vocab_size, embedding_dim=embedding_dim, init=UNUSED, update=update, pad_idx=pad_idx
        )
        super().__init__(init, name)
        self.embedding_dim = embedding_dim
        self.vocab_size = vocab_size
        self.update = update
        self.pad_idx = pad_idx
        self.outputs_t: Any = None

    def __str__(self) -> str:
        return f"LookupTable Layer : {self.nin} inputs, ({self.embedding_dim}, {self.nin}) outputs size"

    def configure(self, in_obj: Any) -> Any:
        """Learn how many numbers a sample has."""
        super().configure(in_obj)
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.core.name = self.name
        self.core.in_shape = (self.nin,)
        self.core.configure(self.nin)
        self.out_shape = (self.embedding_dim, self.nin)
        if self.weight_shape is None:
            self.weight_shape = (self.vocab_size, self.embedding_dim)
        return self

    def allocate(self, shared_outputs: Any = None, accumulate_updates: bool = False) -> None:
        """Make outputs, the tensor of the numbers, and W where there is none."""
        super().allocate(shared_outputs, accumulate_updates)
        if self.inputs is None:
            self.inputs = self.be.zeros((1, self.nin * self.be.bsz), dtype=np.int32)
        self.dW.fill(0.0)
        if self.pad_idx is not None:
            self.W[self.pad_idx : self.pad_idx + 1] = 0.0

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The vectors of the numbers, as columns."""
        self.inputs[:] = inputs.reshape(self.inputs.shape)
        return self.forward_of_core(self.inputs, inference)

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """To each vector's gradient go the errors where it was looked up; there is no derivative by numbers."""
        if self.update:
            _, value = self._passed["last"]
            self.dW[:] = gradients(value, [self.W], error)[0]
        return self.deltas
