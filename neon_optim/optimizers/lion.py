"""Lion."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Fraction, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Lion(Optimizer):
    r"""Evolved sign momentum: every element moves by the same amount, whose sign is that of a momentum.

    .. math::
        \theta &\leftarrow (1 - \alpha \lambda)\, \theta - \alpha \operatorname{sgn}(\beta_1 m + (1 - \beta_1) g) \\
        m &\leftarrow \beta_2 m + (1 - \beta_2) g

    Use it for large batches and large models, with half of AdamW's state. Since every element moves by α, take a rate
    3 to 10 times smaller than AdamW's and a decay as much larger.

    Arguments:
        learning_rate: α > 0.
        beta_1: weight of the momentum in the sign, in [0, 1).
        beta_2: decay of the momentum, in [0, 1).
        wdecay: λ >= 0, decoupled.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Chen et al., Symbolic discovery of optimization algorithms, NeurIPS 2023.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Lion(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9 2.1]
    """

    slots = ("m",)
    decay_form = "decoupled"

    learning_rate: Scheduled[Positive] = 1e-4
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.99

    def update(self, now: Numbers, param: Any, grad: Any, m: Any) -> None:
        """See the class."""
        param[:] = param - now.lr * self.be.sgn(now.beta_1 * m + (1.0 - now.beta_1) * grad)
        m[:] = now.beta_2 * m + (1.0 - now.beta_2) * grad
