"""NAdam."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

import numpy as np

from neon_optim.described.arguments import Flag, Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import DecayForm, Optimizer
from neon_optim.stepping.numbers import Numbers


class NAdam(Optimizer):
    r"""Adam with Nesterov's look-ahead and a momentum that warms up.

    .. math::
        \mu_t &= \beta_1 (1 - 0.5 \cdot 0.96^{t \psi}), \qquad
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \hat m &= \frac{\mu_{t+1}\, m}{1 - \prod_{i=1}^{t+1} \mu_i}
            + \frac{(1 - \mu_t)\, g}{1 - \prod_{i=1}^{t} \mu_i} \\
        \theta &\leftarrow \theta - \alpha \frac{\hat m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Use it in place of Adam where Nesterov momentum helps: recurrent and small vision networks. It often needs a smaller
    rate. The product of the momenta is kept in float32, as in PyTorch, so that the numbers are the same.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        momentum_decay: ψ >= 0, how fast the momentum warms up.
        decoupled_weight_decay: whether ``wdecay`` is taken off the parameter instead of added to the gradient.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> NAdam(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.8944 2.1056]
    """

    slots = ("m", "v")
    counters = ("momentum_product",)

    learning_rate: Scheduled[Positive] = 0.002
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8
    momentum_decay: Scheduled[NonNegative] = 0.004
    decoupled_weight_decay: Flag = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.momentum_product = 1.0

    @property
    def decay_form(self) -> DecayForm:  # type: ignore[override]
        """What ``wdecay`` means."""
        return "decoupled" if self.decoupled_weight_decay else "coupled"

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The momenta of this step and the next make the factors of the gradient and of m."""
        mu, following = (
            now.beta_1 * (1.0 - 0.5 * 0.96 ** (t * now.momentum_decay)) for t in (now.t, now.t + 1)
        )
        product = float(np.float32(self.momentum_product) * np.float32(mu))
        return {
            "momentum_product": product,
            "of_grad": now.lr * (1.0 - mu) / (1.0 - product),
            "of_m": now.lr * following / (1.0 - product * following),
            "v_share": 1.0 - now.beta_2**now.t,
        }

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = v * now.beta_2 + (1.0 - now.beta_2) * grad * grad
        root = self.be.sqrt(v / now.v_share) + now.epsilon
        param[:] = param - (now.of_grad * grad + now.of_m * m) / root
