"""RMSProp."""

from __future__ import annotations

from typing import Any

from neon_optim.arguments import AnySchedule, Fraction, Name, NonNegative, Positive, RoundBits, Scheduled
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["RMSProp"]


class RMSProp(Optimizer):
    r"""Divides the gradient by a running average of its magnitude.

    .. math::
        s &\leftarrow \rho s + (1 - \rho) g^2 \\
        \theta &\leftarrow \theta - \frac{\alpha g}{\sqrt{s + \epsilon} + \epsilon}

    Arguments:
        decay_rate: ρ in [0, 1).
        learning_rate: α > 0.
        epsilon: ε > 0; neon adds it inside and outside the root.

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

    slots = ("mean_square",)
    scales_update = True

    decay_rate: Hyper
    learning_rate: Hyper
    epsilon: Hyper

    def __init__(
        self,
        stochastic_round: RoundBits = False,
        decay_rate: Scheduled[Fraction] = 0.95,
        learning_rate: Scheduled[Positive] = 2e-3,
        epsilon: Scheduled[Positive] = 1e-6,
        gradient_clip_norm: NonNegative | None = None,
        gradient_clip_value: NonNegative | None = None,
        param_clip_value: NonNegative | None = None,
        name: Name = None,
        schedule: AnySchedule | None = None,
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

    def update(self, param: Any, grad: Any, mean_square: Any) -> None:
        """See the class."""
        be = self.be
        mean_square[:] = self.decay_rate * mean_square + be.square(grad) * (1.0 - self.decay_rate)
        step = (self.scale * grad * self.lr) / (be.sqrt(mean_square + self.epsilon) + self.epsilon)
        param[:] = param - step
