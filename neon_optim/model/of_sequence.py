"""What makes one vector of a sequence."""

from __future__ import annotations

from typing import Any

from neon_optim.model.layer import Layer
from neon_optim.model.shapes import Shape, steps, wanted

__all__ = ["RecurrentLast", "RecurrentMean", "RecurrentSum"]


class OfSequence(Layer, abstract=True):
    """Makes one vector of a sequence: (F, T) becomes (F,)."""

    def configure(self, nin: int) -> None:
        """Learn the shape of the sequences."""
        super().configure(nin)
        if len(self.in_shape) != 2:
            raise wanted(self, "sequences (F, T)", "it stands behind a recurrent layer")

    @property
    def out_shape(self) -> Shape:
        """(F,)."""
        return (self.nout,)

    def _by_step(self, x: Any) -> Any:
        return x.reshape(self.nin, steps(self.in_shape), -1)


class RecurrentLast(OfSequence):
    """The last step of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The columns of the last step."""
        n = x.shape[1] // steps(self.in_shape)
        return x[:, x.shape[1] - n :]


class RecurrentSum(OfSequence):
    """The sum over the steps of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The sum over the steps."""
        return self.be.sum(self._by_step(x), axis=1).reshape(self.nin, -1)


class RecurrentMean(OfSequence):
    """The mean over the steps of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The mean over the steps."""
        return self.be.mean(self._by_step(x), axis=1).reshape(self.nin, -1)
