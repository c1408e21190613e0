"""RAdam."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, Positive, Scheduled
from neon_optim.optimizers.optimizer import DecayForm, Optimizer
from neon_optim.stepping.numbers import Numbers


class RAdam(Optimizer):
    r"""Adam that waits until its second moment can be trusted: momentum alone in the first steps.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        \hat m = m / (1 - \beta_1^t) \\
        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, \qquad \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t} \\
        \theta &\leftarrow \theta - \alpha \hat m \cdot \begin{cases}
            \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}
            \frac{\sqrt{1 - \beta_2^t}}{\sqrt{v} + \epsilon} & \rho_t > 5 \\ 1 & \text{else} \end{cases}

    Use it in place of Adam with a warm-up: the rectification does what the warm-up is for.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        decoupled_weight_decay: whether ``wdecay`` is taken off the parameter instead of added to the gradient.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Liu et al., On the variance of the adaptive learning rate and beyond, ICLR 2020.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> RAdam(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.95 2.3 ]
    """

    slots = ("m", "v")

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8
    decoupled_weight_decay: Flag = False

    @property
    def decay_form(self) -> DecayForm:  # type: ignore[override]
        """What ``wdecay`` means."""
        return "decoupled" if self.decoupled_weight_decay else "coupled"

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The rectification: the factors of the adaptive step and of the plain one, one of which is 0."""
        power = now.beta_2**now.t
        longest = 2.0 / (1.0 - now.beta_2) - 1.0
        length = longest - 2.0 * now.t * power / (1.0 - power)
        adaptive, plain = 0.0, 1.0
        if length > 5.0:
            above = (length - 4.0) * (length - 2.0) * longest
            below = (longest - 4.0) * (longest - 2.0) * length
            adaptive, plain = math.sqrt(1.0 - power) * math.sqrt(above / below), 0.0
        return {"adaptive": adaptive, "plain": plain, "corrected_lr": now.lr / (1.0 - now.beta_1**now.t)}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = v * now.beta_2 + (1.0 - now.beta_2) * grad * grad
        step = m * (now.adaptive / (self.be.sqrt(v) + now.epsilon) + now.plain)
        param[:] = param - now.corrected_lr * step
