"""AdaBelief."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class AdaBelief(Optimizer):
    r"""Adam that divides by how far the gradient is from its forecast: large steps where they agree.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        s \leftarrow \beta_2 s + (1 - \beta_2) (g - m)^2 + \epsilon_r \\
        \theta &\leftarrow \theta - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}

    Use it in place of Adam where SGD generalizes better but is too slow; sensitive to ε.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the squared surprise, in [0, 1).
        epsilon: ε > 0.
        eps_root: ε_r >= 0, added to s at every step.
        nesterov: look ahead: the forecast of the next step in place of m.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, NeurIPS 2020.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> AdaBelief(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.8889 2.1111]
    """

    slots = ("m", "s")

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-16
    eps_root: Scheduled[NonNegative] = 1e-16
    nesterov: Flag = False

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """What corrects the bias of m, at this step and the next, and of s."""
        return {
            "m_share": 1.0 - now.beta_1**now.t,
            "next_m_share": 1.0 - now.beta_1 ** (now.t + 1),
            "s_share": 1.0 - now.beta_2**now.t,
        }

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, s: Any) -> None:
        """See the class."""
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        surprise = grad - m
        s[:] = s * now.beta_2 + (1.0 - now.beta_2) * surprise * surprise + now.eps_root
        forecast = m / now.m_share
        if self.nesterov:
            forecast = now.beta_1 * (m / now.next_m_share) + (1.0 - now.beta_1) * (grad / now.m_share)
        root = self.be.sqrt(s / now.s_share)
        param[:] = param - now.lr * forecast / (root + now.epsilon)
