"""Yogi."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


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

    learning_rate: Scheduled[Positive] = 0.01
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-3
    eps_root: Scheduled[NonNegative] = 0.0
    initial_accumulator_value: NonNegative = 1e-6

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """Filled with the initial value."""
        state = super().new_state(slot, param, grad)
        state[:] = self.initial_accumulator_value
        return state

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """What corrects the bias of the moments."""
        return {"m_share": 1.0 - now.beta_1**now.t, "v_share": 1.0 - now.beta_2**now.t}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        be = self.be
        square = grad * grad
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = v - (1.0 - now.beta_2) * be.sgn(v - square) * square
        root = be.sqrt(v / now.v_share + now.eps_root)
        param[:] = param - now.lr * (m / now.m_share) / (root + now.epsilon)
