"""Lookahead."""

from __future__ import annotations

from typing import Annotated, Any

from neon_optim.described.arguments import PositiveInt, Scheduled
from neon_optim.described.checks import Number
from neon_optim.optimizers.wrapper import Wrapper
from neon_optim.stepping.numbers import Numbers


class Lookahead(Wrapper):
    r"""Every k steps goes back part of the way: slow weights follow the fast ones of another optimizer.

    .. math::
        \phi \leftarrow \phi + \alpha (\theta - \phi), \qquad \theta \leftarrow \phi
        \quad \text{after every } k \text{ steps}, \qquad \phi_0 = \theta_0

    Use it to make an optimizer less sensitive to its rate. Evaluation
    (``with optimizer.evaluation(layers): ...``) is with the slow weights.

    Arguments:
        optimizer: what updates the fast weights.
        every: k >= 1.
        alpha: α in (0, 1].

    References:
        Zhang et al., Lookahead optimizer: k steps forward, 1 step back, NeurIPS 2019.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.optimizers import SGD
    >>> be = gen_backend("cpu", batch_size=1)
    >>> ahead = Lookahead(SGD(0.1), every=2, alpha=0.5)
    >>> w, dw, state = np.array([1.0]), np.array([2.0]), []
    >>> for step in range(2):
    ...     ahead.optimize([((w, dw), state)], epoch=0)
    ...     print(w.round(4))
    [0.8]
    [0.8]
    """

    own_slots = ("slow",)

    every: PositiveInt = 5
    alpha: Scheduled[Annotated[float, Number(gt=0, le=1)]] = 0.5

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """Whether this is the step that goes back."""
        return {"goes_back": now.moves and now.t % self.every == 0}

    def wrap(self, now: Numbers, param: Any, grad: Any, inner: Any, slow: Any) -> None:
        """See the class."""
        inner(param, grad)
        if now.goes_back:
            slow[:] = slow + now.alpha * (param - slow)
            param[:] = slow

    def evaluated(self, param: Any, slow: Any) -> Any:
        """The slow weights."""
        return slow
