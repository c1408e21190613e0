"""Gradient descent with momentum."""

from __future__ import annotations

from typing import Annotated, Any

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
from neon_optim.described.checks import Number
from neon_optim.errors import ArgumentError, Problem
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["GradientDescentMomentum"]


class GradientDescentMomentum(Optimizer):
    r"""Stochastic gradient descent with (Nesterov) momentum and coupled weight decay.

    .. math::
        v &\leftarrow \gamma v - \alpha (s g + \lambda \theta) \\
        \theta &\leftarrow \theta + v \quad\text{(Nesterov: } \theta + \gamma v - \alpha (s g + \lambda \theta))

    with s the factor of norm clipping. With momentum 0 there is no state:
    :math:`\theta \leftarrow (1 - \alpha\lambda)\theta - \alpha s g`.

    Use it where training time allows a search for the rate and its schedule: it often generalizes best, on images above
    all.

    Arguments:
        learning_rate: α > 0.
        momentum_coef: γ in [0, 1).
        wdecay: λ >= 0.
        nesterov: look ahead along the velocity; needs a momentum and no dampening.
        dampening: how much of each gradient but the first is kept out of the velocity, in [0, 1].

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
        Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
        neon/optimizers/optimizer.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, 0.5])
    >>> GradientDescentMomentum(0.1, 0.9).optimize([((w, dw), [])], epoch=0)
    >>> w
    array([0.95, 1.95])
    """

    decay_form = "rule"
    scales_update = True

    learning_rate: Hyper
    momentum_coef: Hyper
    dampening: Hyper

    def __init__(
        self,
        learning_rate: Scheduled[Positive],
        momentum_coef: Scheduled[Fraction],
        stochastic_round: RoundBits = False,
        wdecay: Scheduled[NonNegative] = 0.0,
        gradient_clip_norm: Scheduled[NonNegative] | None = None,
        gradient_clip_value: Scheduled[NonNegative] | None = None,
        param_clip_value: Scheduled[NonNegative] | None = None,
        name: Name = None,
        schedule: AnySchedule | None = None,
        nesterov: Flag = False,
        *,
        dampening: Scheduled[Annotated[float, Number(ge=0, le=1)]] = 0.0,
        **options: Any,
    ):
        super().__init__(
            stochastic_round=stochastic_round,
            gradient_clip_norm=gradient_clip_norm,
            gradient_clip_value=gradient_clip_value,
            param_clip_value=param_clip_value,
            name=name,
            schedule=schedule,
            wdecay=wdecay,
            **options,
        )
        self.learning_rate = learning_rate
        self.momentum_coef = momentum_coef
        self.nesterov = nesterov
        self.dampening = dampening
        if nesterov and (momentum_coef == 0 or dampening != 0):
            problem = Problem("nesterov", nesterov, "needs momentum_coef > 0 and dampening 0")
            raise ArgumentError(f"GradientDescentMomentum: {problem}", [problem])

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.origin.momentum_coef else ()

    def update(self, param: Any, grad: Any, *states: Any) -> None:
        """See the class."""
        lr = self.lr
        if not states:
            new = (-lr * self.scale) * grad + (1.0 - lr * self.wdecay) * param
        else:
            (velocity,) = states
            grad = self.scale * grad + self.wdecay * param
            kept = 1.0 if self.t == 1 else 1.0 - self.dampening
            velocity[:] = self.momentum_coef * velocity - (lr * kept) * grad
            new = param + velocity if not self.nesterov else param + self.momentum_coef * velocity - lr * grad
        param[:] = new
