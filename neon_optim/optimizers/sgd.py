"""SGD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Annotated, Any

from neon_optim.described.arguments import Flag, Fraction, Positive, Scheduled, raise_problems
from neon_optim.described.checks import Number
from neon_optim.errors import Problem
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


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

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    momentum_coef: Scheduled[Fraction] = 0.0
    dampening: Scheduled[Annotated[float, Number(ge=0, le=1)]] = 0.0
    nesterov: Flag = False

    def check_fields(self) -> None:
        """Nesterov's look-ahead needs a momentum and no dampening."""
        super().check_fields()
        if self.nesterov and (self.momentum_coef == 0 or self.dampening != 0):
            raise_problems(
                self.classnm, [Problem("nesterov", self.nesterov, "needs momentum_coef > 0 and dampening 0")]
            )

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum_coef else ()

    def prepare(self, now: Numbers) -> Mapping[str, Any]:
        """How much of the gradient goes into the velocity: all of the first one."""
        return {"kept": 1.0 if now.t == 1 else 1.0 - now.dampening}

    def update(self, now: Numbers, param: Any, grad: Any, *states: Any) -> None:
        """See the class."""
        step = grad
        for velocity in states:
            velocity[:] = now.momentum_coef * velocity + now.kept * grad
            step = grad + now.momentum_coef * velocity if self.nesterov else velocity
        param[:] = param - now.lr * step
