"""Gradient accumulation."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import PositiveInt
from neon_optim.optimizers.wrapper import Wrapper
from neon_optim.stepping.numbers import Numbers


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
    starts_at_zero = True
    counters = ("samples",)

    every: PositiveInt

    def __post_init__(self) -> None:
        super().__post_init__()
        self.samples = 0.0

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """Every step counts. Only the last of N reaches the inner optimizer, which sees the mean over all samples."""
        t = self.t + 1
        last = t % self.every == 0
        first = (t - 1) % self.every == 0
        samples = float(now.batch_size if first else self.samples + now.batch_size)
        return {
            "t": t,
            "first": first,
            "reaches": last,
            "moves": last and now.moves,
            "samples": samples,
            "batches": samples / now.batch_size,
        }

    def incoming(self, now: Numbers, grad: Any, gathered: Any) -> Any:
        """The sum so far; at the last step the mean, as a sum over a batch of this step's size."""
        total = grad if now.first else gathered + grad
        return total / now.batches if now.reaches else total

    def wrap(self, now: Numbers, param: Any, grad: Any, inner: Any, gathered: Any) -> None:
        """See the class."""
        if now.reaches:
            inner(param, self.incoming(now, grad, gathered))
        else:
            gathered[:] = self.incoming(now, grad, gathered)
