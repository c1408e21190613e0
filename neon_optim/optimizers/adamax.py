"""Adamax."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Fraction, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Adamax(Optimizer):
    r"""Adam with the infinity norm: divides by the largest gradient of late.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad u \leftarrow \max(\beta_2 u,\; |g| + \epsilon) \\
        \theta &\leftarrow \theta - \frac{\alpha}{1 - \beta_1^t} \frac{m}{u}

    Use it where gradients are sparse or have rare large values, as for embeddings: u follows a peak at once and needs
    no bias correction.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the infinity norm, in [0, 1).
        epsilon: ε > 0.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, section 7.1.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Adamax(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9 2.1]
    """

    slots = ("m", "u")

    learning_rate: Scheduled[Positive] = 0.002
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The rate with its bias correction."""
        return {"corrected_lr": now.lr / (1.0 - now.beta_1**now.t)}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, u: Any) -> None:
        """See the class."""
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        u[:] = self.be.maximum(u * now.beta_2, self.be.absolute(grad) + now.epsilon)
        param[:] = param - now.corrected_lr * (m / u)
