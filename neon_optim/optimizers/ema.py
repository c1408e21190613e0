"""Exponential moving average of the parameters."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Fraction, Scheduled
from neon_optim.optimizers.wrapper import Wrapper
from neon_optim.stepping.numbers import Numbers


class EMA(Wrapper):
    r"""Keeps an exponential moving average of the parameters, to evaluate with.

    .. math::
        \bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta
        \quad \text{after each step}, \qquad \bar\theta_0 = \theta_0

    Training goes on as without it. ``with optimizer.evaluation(layers): ...`` puts the average in the place of the
    parameters and takes it out again. Use it for nearly everything with noisy gradients, generative models above all.

    Arguments:
        optimizer: what updates the parameters.
        decay: d in [0, 1).

    References:
        Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.optimizers import SGD
    >>> be = gen_backend("cpu", batch_size=1)
    >>> ema = EMA(SGD(0.1), decay=0.5)
    >>> w, dw, state = np.array([1.0]), np.array([2.0]), []
    >>> ema.optimize([((w, dw), state)], epoch=0)
    >>> with ema.evaluation([((w, dw), state)]):
    ...     print(w.round(4))
    [0.9]
    >>> print(w.round(4))
    [0.8]
    """

    own_slots = ("average",)

    decay: Scheduled[Fraction] = 0.999

    def wrap(self, now: Numbers, param: Any, grad: Any, inner: Any, average: Any) -> None:
        """See the class."""
        inner(param, grad)
        if now.moves:
            average[:] = now.decay * average + (1.0 - now.decay) * param

    def evaluated(self, param: Any, average: Any) -> Any:
        """The average."""
        return average
