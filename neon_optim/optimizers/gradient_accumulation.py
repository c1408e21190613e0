"""Gradient accumulation."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Name, PositiveInt
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.optimizers.wrapper import Wrapper

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Wrapper):
    r"""Gathers the gradients of N steps and updates with their mean: a batch N times as large.

    .. math::
        a \leftarrow a + g; \quad \text{at every N-th step the inner optimizer sees the mean of } a,
        \text{ and } a \leftarrow 0

    The mean is over all samples of the N batches, also where the last of an epoch is smaller. The steps between change
    no parameter and no other state; the inner optimizer counts its own steps only. Norms are those of the mean. Use it
    where the batch that training needs does not fit into memory.

    Arguments:
        optimizer: what updates the parameters.
        every: N >= 1.

    References:
        Ott et al., Scaling neural machine translation, WMT 2018, section 3.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.optimizers import SGD
    >>> be = gen_backend("cpu", batch_size=1)
    >>> gather = GradientAccumulation(SGD(0.1), every=2)
    >>> w, dw, state = np.array([1.0]), np.array([2.0]), []
    >>> for grad in (2.0, 4.0):
    ...     dw[:] = grad
    ...     gather.optimize([((w, dw), state)], epoch=0)
    ...     print(w.round(4))
    [1.]
    [0.7]
    """

    own_slots = ("gathered",)
    counters = ("samples",)

    def __init__(self, optimizer: Optimizer, every: PositiveInt, *, name: Name = None):
        super().__init__(optimizer, name=name)
        self.every = every
        self.samples = 0.0

    def own_state(self, slot: str, param: Any, grad: Any) -> Any:
        """Zeros."""
        return Optimizer.new_state(self, slot, param, grad)

    @property
    def last(self) -> bool:
        """Whether a step's copy is the N-th, which updates."""
        return self.origin is not self and self.t % self.every == 0

    @property
    def moves(self) -> bool:
        """Whether a step's copy changes the parameters."""
        return self.last and bool(self.optimizer.moves)

    @property
    def gradient_clip_norm(self) -> Any:
        """The inner optimizer's, where it is its turn."""
        return self.optimizer.gradient_clip_norm if self.last else None

    @property
    def on_nonfinite(self) -> Any:  # type: ignore[override]
        """The inner optimizer's; where that would look at the norm only, each gradient is looked at as it comes."""
        policy = self.optimizer.on_nonfinite
        return "raise" if policy is None and self.optimizer.gradient_clip_norm else policy

    def prepare(self) -> None:
        """Every step counts, also those that gather only."""
        self.t = self.origin.t + 1

    @property
    def first(self) -> bool:
        """Whether a step's copy begins anew."""
        return (self.t - 1) % self.every == 0

    def samples_so_far(self) -> float:
        """The sum of the batch sizes, that of this step included."""
        return float(self.batch_size if self.first else self.origin.samples + self.batch_size)

    def total(self, grad: Any, gathered: Any) -> Any:
        """The sum so far; at the N-th step the mean, as a sum over a batch of this step's size."""
        total = grad if self.first else gathered + grad
        return total / (self.samples_so_far() / self.batch_size) if self.last else total

    def incoming(self, grad: Any, *states: Any) -> Any:
        """The gradient that norms are taken of."""
        total = self.total(grad, states[len(self.optimizer.slots)])
        return self.optimizer.incoming(total, *states) if self.last else total

    def wrap(self, param: Any, grad: Any, inner: tuple[Any, ...], *own: Any) -> None:
        """See the class."""
        (gathered,) = own
        if self.last:
            self.optimizer.apply(param, self.total(grad, gathered), *inner)
        else:
            gathered[:] = self.total(grad, gathered)

    def commit(self) -> None:
        """Called on a step's copy when the step is done; the inner optimizer's is done every N steps."""
        if self.last:
            self.optimizer.commit()
        self.samples = self.samples_so_far()
        Optimizer.commit(self)
