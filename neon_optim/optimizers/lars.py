"""LARS."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class LARS(Optimizer):
    r"""Momentum whose gradient is, tensor by tensor, scaled to the norm of the parameter: for very large batches.

    .. math::
        u &= g + \lambda \theta, \qquad
        v \leftarrow \gamma v - \alpha\, \eta \frac{\lVert\theta\rVert}{\lVert u\rVert + \epsilon} u, \qquad
        \theta \leftarrow \theta + v \quad\text{(Nesterov: } \theta + \gamma v - \alpha \cdots u)

    The ratio, η included, is 1 where either norm is 0. Use it for convolutional networks with batches of thousands,
    after a warm-up of the rate.

    Arguments:
        learning_rate: α > 0.
        momentum_coef: γ in [0, 1).
        trust_coefficient: η > 0.
        epsilon: ε >= 0.
        nesterov: look ahead along the velocity.
        wdecay: λ >= 0, coupled; part of the norm of u.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        You, Gitman and Ginsburg, Large batch training of convolutional networks, arXiv 1708.03888, 2017.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([3.0, 4.0]), np.array([0.6, -0.8])
    >>> LARS(10.0).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [2.97 4.04]
    """

    slots = ("velocity",)

    learning_rate: Scheduled[Positive]
    _: KW_ONLY
    momentum_coef: Scheduled[Fraction] = 0.9
    trust_coefficient: Scheduled[Positive] = 0.001
    epsilon: Scheduled[NonNegative] = 0.0
    nesterov: Flag = False

    def update(self, now: Numbers, param: Any, grad: Any, velocity: Any) -> None:
        """See the class."""
        be = self.be
        length, reach = be.sqrt(be.sum_square(param)), be.sqrt(be.sum_square(grad))
        trust = now.trust_coefficient * length / (reach + now.epsilon)
        step = now.lr * be.where(length * reach > 0.0, trust, 1.0) * grad
        velocity[:] = now.momentum_coef * velocity - step
        param[:] = param + (now.momentum_coef * velocity - step if self.nesterov else velocity)
