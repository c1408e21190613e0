"""LAMB."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["LAMB"]


class LAMB(Optimizer):
    r"""Adam whose step is, tensor by tensor, scaled to the norm of the parameter: for very large batches.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        r &= \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t) + \epsilon_r} + \epsilon} + \lambda \theta, \qquad
        \theta \leftarrow \theta - \alpha \frac{\lVert\theta\rVert}{\lVert r\rVert} r

    The ratio of the norms is 1 where either is 0. Use it where the batch is so large that one rate no longer suits all
    layers (BERT with batches of tens of thousands).

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        eps_root: ε_r >= 0, inside the root.
        wdecay: λ >= 0, part of the step whose norm is taken.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        You et al., Large batch optimization for deep learning: training BERT in 76 minutes, ICLR 2020.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([3.0, 4.0]), np.array([0.5, -3.0])
    >>> LAMB(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [2.6464 4.3536]
    """

    slots = ("m", "v")
    decay_form = "rule"

    learning_rate: Hyper
    beta_1: Hyper
    beta_2: Hyper
    epsilon: Hyper
    eps_root: Hyper

    def __init__(
        self,
        learning_rate: Scheduled[Positive] = 0.001,
        *,
        beta_1: Scheduled[Fraction] = 0.9,
        beta_2: Scheduled[Fraction] = 0.999,
        epsilon: Scheduled[Positive] = 1e-6,
        eps_root: Scheduled[NonNegative] = 0.0,
        **options: Any,
    ):
        super().__init__(**options)
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.eps_root = eps_root

    def update(self, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        be = self.be
        m[:] = m * self.beta_1 + (1.0 - self.beta_1) * grad
        v[:] = v * self.beta_2 + (1.0 - self.beta_2) * grad * grad
        root = be.sqrt(v / (1.0 - self.beta_2**self.t) + self.eps_root)
        step = m / (1.0 - self.beta_1**self.t) / (root + self.epsilon)
        if self.origin.wdecay:
            step = step + self.wdecay * param
        length, reach = be.sqrt(be.sum_square(param)), be.sqrt(be.sum_square(step))
        ratio = be.where(length * reach > 0.0, length / reach, 1.0)
        param[:] = param - self.lr * ratio * step
