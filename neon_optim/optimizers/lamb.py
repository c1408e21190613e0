"""LAMB."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Fraction, NonNegative, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


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

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-6
    eps_root: Scheduled[NonNegative] = 0.0

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """What corrects the bias of the moments."""
        return {"m_share": 1.0 - now.beta_1**now.t, "v_share": 1.0 - now.beta_2**now.t}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any) -> None:
        """See the class."""
        be = self.be
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = v * now.beta_2 + (1.0 - now.beta_2) * grad * grad
        step = m / now.m_share / (be.sqrt(v / now.v_share + now.eps_root) + now.epsilon)
        if now.wdecay:
            step = step + now.wdecay * param
        length, reach = be.sqrt(be.sum_square(param)), be.sqrt(be.sum_square(step))
        ratio = be.where(length * reach > 0.0, length / reach, 1.0)
        param[:] = param - now.lr * ratio * step
