"""Adagrad."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Positive, Scheduled
from neon_optim.optimizers.optimizer import CLIPS, Optimizer
from neon_optim.stepping.numbers import Numbers


class Adagrad(Optimizer):
    r"""Divides the gradient by the root of the sum of all its squares so far.

    .. math::
        s \leftarrow s + g^2, \qquad
        \theta \leftarrow \theta - \frac{\alpha g}{\sqrt{s + \epsilon}}

    Use it for sparse gradients and convex problems; in long training its steps die out.

    Arguments:
        learning_rate: α > 0.
        epsilon: ε > 0.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic optimization, 2011.
        neon/optimizers/optimizer.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0]), np.array([0.5])
    >>> Adagrad(learning_rate=0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9]
    """

    slots = ("sum_square",)
    scales_update = True
    positional = ("stochastic_round", "learning_rate", "epsilon", *CLIPS)

    learning_rate: Scheduled[Positive] = 0.01
    epsilon: Scheduled[Positive] = 1e-6

    def update(self, now: Numbers, param: Any, grad: Any, sum_square: Any) -> None:
        """See the class."""
        sum_square[:] = sum_square + self.be.square(grad)
        step = (now.scale * grad * now.lr) / self.be.sqrt(sum_square + now.epsilon)
        param[:] = param - step
