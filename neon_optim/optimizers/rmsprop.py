"""RMSProp."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import (
    AnySchedule,
    Flag,
    Fraction,
    Name,
    NonNegative,
    Positive,
    RoundBits,
    Scheduled,
)
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["RMSProp"]


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

    decay_rate: Hyper
    learning_rate: Hyper
    epsilon: Hyper
    momentum_coef: Hyper

    def __init__(
        self,
        stochastic_round: RoundBits = False,
        decay_rate: Scheduled[Fraction] = 0.95,
        learning_rate: Scheduled[Positive] = 2e-3,
        epsilon: Scheduled[Positive] = 1e-6,
        gradient_clip_norm: Scheduled[NonNegative] | None = None,
        gradient_clip_value: Scheduled[NonNegative] | None = None,
        param_clip_value: Scheduled[NonNegative] | None = None,
        name: Name = None,
        schedule: AnySchedule | None = None,
        *,
        epsilon_inside: Flag = True,
        centered: Flag = False,
        momentum_coef: Scheduled[Fraction] = 0.0,
        **options: Any,
    ):
        super().__init__(
            stochastic_round=stochastic_round,
            gradient_clip_norm=gradient_clip_norm,
            gradient_clip_value=gradient_clip_value,
            param_clip_value=param_clip_value,
            name=name,
            schedule=schedule,
            **options,
        )
        self.decay_rate = decay_rate
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        self.epsilon_inside = epsilon_inside
        self.centered = centered
        self.momentum_coef = momentum_coef

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The averages, and the velocity where there is momentum."""
        mean = ("mean_grad",) if self.centered else ()
        return ("mean_square", *mean, *(("velocity",) if self.origin.momentum_coef else ()))

    def update(self, param: Any, grad: Any, mean_square: Any, *states: Any) -> None:
        """See the class."""
        be = self.be
        mean_square[:] = self.decay_rate * mean_square + be.square(grad) * (1.0 - self.decay_rate)
        spread = mean_square
        if self.centered:
            mean_grad = states[0]
            mean_grad[:] = self.decay_rate * mean_grad + (1.0 - self.decay_rate) * grad
            spread = be.maximum(mean_square - be.square(mean_grad), 0.0)
        root = be.sqrt(spread + self.epsilon if self.epsilon_inside else spread) + self.epsilon
        if not self.origin.momentum_coef:
            param[:] = param - (self.scale * grad * self.lr) / root
        else:
            velocity = states[-1]
            velocity[:] = self.momentum_coef * velocity + (self.scale * grad) / root
            param[:] = param - self.lr * velocity
