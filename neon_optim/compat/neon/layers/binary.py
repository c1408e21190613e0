"""neon's layers of binarized networks."""

from __future__ import annotations

from typing import Any

from neon_optim import model
from neon_optim.compat.neon.layers.compound import CompoundLayer
from neon_optim.compat.neon.layers.dense import UNUSED, Linear
from neon_optim.compat.neon.layers.normalization import BatchNorm

__all__ = ["BinaryAffine", "BinaryLinear", "ShiftBatchNorm"]


class BinaryLinear(Linear):
    """sign(W) · x; the derivative by W is that by its signs.

    Arguments:
        nout: features that go out.
        init: initializer of W, which is (nout, nin), or its first values.
    """

    def core_of(self, nout: int) -> Any:
        """A BinaryLinear."""
        return model.BinaryLinear(nout=nout, init=UNUSED)


class ShiftBatchNorm(BatchNorm):
    """Batch normalization that multiplies by the nearest powers of two.

    Arguments:
        rho: how much of the running statistics stays with each minibatch.
        eps: is added to the variance.
    """

    def __init__(self, rho: float = 0.99, eps: float = 1e-6, name: str | None = None):
        super().__init__(rho, eps, name, binary=True)


class BinaryAffine(CompoundLayer):
    """BinaryLinear, then Bias or ShiftBatchNorm, then Activation.

    Arguments:
        nout: features that go out.
        init: initializer of the weights.
    """

    def __init__(
        self,
        nout: int,
        init: Any,
        bias: Any = None,
        batch_norm: bool = False,
        activation: Any = None,
        name: str | None = None,
    ):
        super().__init__(bias, batch_norm, activation, name)
        self.append(BinaryLinear(nout, init, bsum=batch_norm, name=name))
        self.add_postfilter_layers()

    def add_normalization(self) -> None:
        """Append a ShiftBatchNorm, where asked for."""
        if self.batch_norm:
            self.append(ShiftBatchNorm(name=f"{self.base_name}_sbnorm"))
