"""Gradient accumulation."""

from __future__ import annotations

from typing import Any

from neon_optim.arguments import Name, PositiveInt
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.optimizers.wrapper import Wrapper

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Wrapper):
    r"""Gathers the gradients of N steps and updates with their mean: a batch N times as large.

    .. math::
        a \leftarrow a + g; \quad \text{at every N-th step the inner optimizer sees } a / N,
        \text{ and } a \leftarrow 0

    The steps between change no parameter and no other state; the inner optimizer counts its own steps only. Norms are
    those of the mean. Use it where the batch that training needs does not fit into memory.

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

    def __init__(self, optimizer: Optimizer, every: PositiveInt, *, name: Name = None):
        super().__init__(optimizer, name=name)
        self.every = every

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

    def prepare(self) -> None:
        """Every step counts, also those that gather only."""
        self.t = self.origin.t + 1

    def incoming(self, grad: Any, *states: Any) -> Any:
        """The sum so far; at the N-th step the mean."""
        gathered = states[len(self.optimizer.slots)]
        total = grad if self.t % self.every == 1 or self.every == 1 else gathered + grad
        return self.optimizer.incoming(total / self.every, *states) if self.last else total

    def wrap(self, param: Any, grad: Any, inner: tuple[Any, ...], *own: Any) -> None:
        """See the class."""
        (gathered,) = own
        total = self.incoming(grad, *inner, gathered)
        if self.last:
            self.optimizer.apply(param, total, *inner)
        else:
            gathered[:] = total

    def commit(self) -> None:
        """Called on a step's copy when the step is done; the inner optimizer's is done every N steps."""
        if self.last:
            self.optimizer.commit()
        Optimizer.commit(self)
