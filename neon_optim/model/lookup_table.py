"""Tables of vectors: what stands for words."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import Flag, NonNegativeInt, PositiveInt, raise_problems
from neon_optim.errors import Problem
from neon_optim.model.layer import ParameterLayer
from neon_optim.model.shapes import Shape

__all__ = ["LookupTable"]


class LookupTable(ParameterLayer):
    """A vector for each number in 0, 1, …, vocab_size - 1: samples of T numbers become sequences (embedding_dim, T).

    Arguments:
        vocab_size: how many vectors there are.
        embedding_dim: features of each.
        init: initializer of W, which is (vocab_size, embedding_dim).
        update: learn the vectors; else they stay as they are.
        pad_idx: a number that stands for no word: its vector is 0 and stays so.

    References:
        neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = LookupTable(5, 2, Constant(1.0), pad_idx=0)
    >>> layer.configure(3); layer.init_params()
    >>> print(layer.out_shape, layer.fprop(be.array([[3], [0], [4]])).get().tolist())
    (2, 3) [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "embedding_dim", "init", "update", "pad_idx", "name"),
    )

    vocab_size: PositiveInt
    embedding_dim: PositiveInt
    update: Flag = True
    pad_idx: NonNegativeInt | None = None

    def check_fields(self) -> None:
        """The number for no word is one of the table."""
        if self.pad_idx is not None and self.pad_idx >= self.vocab_size:
            allowed = f"must be below vocab_size ({self.vocab_size})"
            raise_problems("LookupTable", [Problem("pad_idx", self.pad_idx, allowed)])

    def configure(self, nin: int) -> None:
        """Learn how many numbers a sample has."""
        super().configure(nin)
        self.nout = self.embedding_dim

    @property
    def out_shape(self) -> Shape:
        """(embedding_dim, T)."""
        return self.embedding_dim, self.nin

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(vocab_size, embedding_dim)."""
        return self.vocab_size, self.embedding_dim

    def fill(self) -> None:
        """Give W its first values; the vector for no word is 0."""
        super().fill()
        if self.pad_idx is not None:
            self.W[self.pad_idx : self.pad_idx + 1] = 0.0

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The rows of W at the numbers, as columns."""
        numbers = x.reshape(1, -1)
        value = self.be.take(self.W, numbers, axis=0).T
        if not self.update:
            return stated(value, [], lambda error, y: [])
        if self.pad_idx is None:
            return value
        return value * (numbers != float(self.pad_idx))
