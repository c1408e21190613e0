"""SGD."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Fraction, Positive, Scheduled
from neon_optim.optimizers.gradient_descent_momentum import GradientDescentMomentum
from neon_optim.stepping.numbers import Numbers


class SGD(GradientDescentMomentum):
    r"""Stochastic gradient descent in PyTorch's form: the velocity holds gradients, the rate is applied after it.

    .. math::
        b &\leftarrow \gamma b + (1 - \tau) g \quad (b \leftarrow g \text{ at the first step}) \\
        \theta &\leftarrow \theta - \alpha b \quad\text{(Nesterov: } \theta - \alpha (g + \gamma b))

    Use it to follow PyTorch's numbers, or with dampening. It differs from
    :class:`~neon_optim.optimizers.GradientDescentMomentum`, whose velocity holds steps, where the rate changes during
    training: here a new rate acts at once on all momentum.

    Arguments:
        learning_rate: α > 0.
        momentum_coef: γ in [0, 1); 0: no state.
        dampening: τ in [0, 1], how much of each gradient is kept out of the velocity.
        nesterov: look ahead along the velocity; needs a momentum and no dampening.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> SGD(0.1, momentum_coef=0.9).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.95 2.3 ]
    """

    decay_form = "coupled"  # type: ignore[assignment]
    scales_update = False
    positional = ("learning_rate",)  # type: ignore[assignment]

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    momentum_coef: Scheduled[Fraction] = 0.0

    def update(self, now: Numbers, param: Any, grad: Any, *states: Any) -> None:
        """See the class."""
        step = grad
        for velocity in states:
            velocity[:] = now.momentum_coef * velocity + now.kept * grad
            step = grad + now.momentum_coef * velocity if self.nesterov else velocity
        param[:] = param - now.lr * step
