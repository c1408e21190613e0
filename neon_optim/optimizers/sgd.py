"""SGD."""

from __future__ import annotations

from typing import Annotated, Any

from neon_optim.described.arguments import Flag, Fraction, Positive, Scheduled
from neon_optim.described.checks import Number
from neon_optim.errors import ArgumentError, Problem
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
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

    learning_rate: Hyper
    momentum_coef: Hyper
    dampening: Hyper

    def __init__(
        self,
        learning_rate: Scheduled[Positive] = 0.001,
        *,
        momentum_coef: Scheduled[Fraction] = 0.0,
        dampening: Scheduled[Annotated[float, Number(ge=0, le=1)]] = 0.0,
        nesterov: Flag = False,
        **options: Any,
    ):
        super().__init__(**options)
        self.learning_rate = learning_rate
        self.momentum_coef = momentum_coef
        self.dampening = dampening
        self.nesterov = nesterov
        if nesterov and (momentum_coef == 0 or dampening != 0):
            problem = Problem("nesterov", nesterov, "needs momentum_coef > 0 and dampening 0")
            raise ArgumentError(f"{self.classnm}: {problem}", [problem])

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.origin.momentum_coef else ()

    def update(self, param: Any, grad: Any, *states: Any) -> None:
        """See the class."""
        step = grad
        if states:
            (velocity,) = states
            kept = 1.0 if self.t == 1 else 1.0 - self.dampening
            velocity[:] = self.momentum_coef * velocity + kept * grad
            step = grad + self.momentum_coef * velocity if self.nesterov else velocity
        param[:] = param - self.lr * step
