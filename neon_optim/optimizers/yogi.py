"""Yogi."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["Yogi"]


class Yogi(Optimizer):
    r"""Adam whose second moment changes by a fixed share of the squared gradient: the rate cannot jump up.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow v - (1 - \beta_2) \operatorname{sgn}(v - g^2)\, g^2 \\
        \theta &\leftarrow
            \theta - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t) + \epsilon_r} + \epsilon}

    m and v start at a small positive number. Use it where Adam diverges late because v forgets large, rare gradients.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        eps_root: ε_r >= 0, inside the root.
        initial_accumulator_value: what m and v start at, >= 0.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Yogi(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9004 2.1   ]
    """

    slots = ("m", "v")

    learning_rate: Hyper
    beta_1: Hyper
    beta_2: Hyper
    epsilon: Hyper
    eps_root: Hyper

    def __init__(
        self,
        learning_rate: Scheduled[Positive] = 0.01,
        *,
        beta_1: Scheduled[Fraction] = 0.9,
        beta_2: Scheduled[Fraction] = 0.999,
        epsilon: Scheduled[Positive] = 1e-3,
        eps_root: Scheduled[NonNegative] = 0.0,
        initial_accumulator_value: NonNegative = 1e-6,
        **options: Any,
    ):
        super().__init__(**options)
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.eps_root = eps_root
        self.initial_accumulator_value = initial_accumulator_value

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """Filled with the initial value."""
        state = super().new_state(slot, param, grad)
        state[:] = self.initial_accumulator_value
        return state

    def update(self, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        be = self.be
        square = grad * grad
        m[:] = m * self.beta_1 + (1.0 - self.beta_1) * grad
        v[:] = v - (1.0 - self.beta_2) * be.sgn(v - square) * square
        root = be.sqrt(v / (1.0 - self.beta_2**self.t) + self.eps_root)
        param[:] = param - self.lr * (m / (1.0 - self.beta_1**self.t)) / (root + self.epsilon)
