"""Gradient descent with momentum."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any

from neon_optim.described.arguments import Flag, Fraction, Positive, Scheduled, refuse
from neon_optim.described.checks import Number
from neon_optim.optimizers.optimizer import CLIPS, Optimizer
from neon_optim.stepping.numbers import Numbers


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
    positional = (
        "learning_rate",
        "momentum_coef",
        "stochastic_round",
        "wdecay",
        *CLIPS,
        "schedule",
        "nesterov",
    )

    learning_rate: Scheduled[Positive]
    momentum_coef: Scheduled[Fraction]
    nesterov: Flag = False
    _: KW_ONLY
    dampening: Scheduled[Annotated[float, Number(ge=0, le=1)]] = 0.0

    def check_fields(self) -> None:
        """Nesterov's look-ahead needs a momentum and no dampening."""
        super().check_fields()
        if self.nesterov and (self.momentum_coef == 0 or self.dampening != 0):
            refuse(self.classnm, "nesterov", self.nesterov, "needs momentum_coef > 0 and dampening 0")

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum_coef else ()

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """How much of the gradient goes into the velocity: all of the first one."""
        return {"kept": 1.0 if now.t == 1 else 1.0 - now.dampening}

    def update(self, now: Numbers, param: Any, grad: Any, *states: Any) -> None:
        """See the class."""
        lr = now.lr
        if not states:
            param[:] = (-lr * now.scale) * grad + (1.0 - lr * now.wdecay) * param
            return
        (velocity,) = states
        grad = now.scale * grad + now.wdecay * param
        velocity[:] = now.momentum_coef * velocity - (lr * now.kept) * grad
        param[:] = param + now.momentum_coef * velocity - lr * grad if self.nesterov else param + velocity
