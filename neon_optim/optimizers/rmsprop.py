"""RMSProp."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, Positive, Scheduled
from neon_optim.optimizers.optimizer import CLIPS, Optimizer
from neon_optim.stepping.numbers import Numbers


class RMSProp(Optimizer):
    r"""Divides the gradient by a running average of its magnitude.

    .. math::
        s &\leftarrow \rho s + (1 - \rho) g^2 \\
        \theta &\leftarrow \theta - \frac{\alpha g}{\sqrt{s + \epsilon} + \epsilon}

    With ``epsilon_inside=False`` the divisor is :math:`\sqrt{s} + \epsilon`. ``centered`` subtracts the square of a
    running average of g from s; with ``momentum_coef`` γ the quotient q goes through a velocity,
    :math:`b \leftarrow \gamma b + q`, and the step is :math:`\alpha b`.

    Use it for recurrent networks and reinforcement learning, where gradients change their size but not their sense.

    Arguments:
        decay_rate: ρ in [0, 1).
        learning_rate: α > 0.
        epsilon: ε > 0; neon adds it inside and outside the root.
        epsilon_inside: add ε inside the root too (True, neon) or outside only (False, PyTorch).
        centered: divide by the deviation from the average gradient.
        momentum_coef: γ in [0, 1); 0: no velocity.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Hinton, Neural Networks for Machine Learning, lecture 6e, 2012. neon/optimizers/optimizer.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0]), np.array([0.5])
    >>> RMSProp(learning_rate=0.01).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9553]
    """

    scales_update = True
    positional = ("stochastic_round", "decay_rate", "learning_rate", "epsilon", *CLIPS, "schedule")

    decay_rate: Scheduled[Fraction] = 0.95
    learning_rate: Scheduled[Positive] = 2e-3
    epsilon: Scheduled[Positive] = 1e-6
    _: KW_ONLY
    epsilon_inside: Flag = True
    centered: Flag = False
    momentum_coef: Scheduled[Fraction] = 0.0

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The averages, and the velocity where there is momentum."""
        mean = ("mean_grad",) if self.centered else ()
        return ("mean_square", *mean, *(("velocity",) if self.momentum_coef else ()))

    def update(self, now: Numbers, param: Any, grad: Any, mean_square: Any, *states: Any) -> None:
        """See the class."""
        be = self.be
        mean_square[:] = now.decay_rate * mean_square + be.square(grad) * (1.0 - now.decay_rate)
        spread = mean_square
        if self.centered:
            mean_grad = states[0]
            mean_grad[:] = now.decay_rate * mean_grad + (1.0 - now.decay_rate) * grad
            spread = be.maximum(mean_square - be.square(mean_grad), 0.0)
        root = be.sqrt(spread + now.epsilon if self.epsilon_inside else spread) + now.epsilon
        if not now.momentum_coef:
            param[:] = param - (now.scale * grad * now.lr) / root
        else:
            velocity = states[-1]
            velocity[:] = now.momentum_coef * velocity + (now.scale * grad) / root
            param[:] = param - now.lr * velocity
