"""Adam."""

from __future__ import annotations

import math
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, Name, NonNegative, Positive, RoundBits, Scheduled
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["Adam"]


class Adam(Optimizer):
    r"""Adaptive moment estimation.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \alpha \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
            \frac{m}{\sqrt{v} + \hat\epsilon}

    Use it where nothing else is known to be better.

    This is the order of computation at the end of section 2 of the paper, and neon's: ε̂ is added to the uncorrected
    root. With ``epsilon_hat=False`` it is the form of the paper's algorithm 1, as in PyTorch and ScalaTion:
    :math:`\theta - \alpha \hat m / (\sqrt{\hat v} + \epsilon)`.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        epsilon_hat: add ε to the uncorrected root (True) or to the corrected one (False).
        amsgrad: divide by the largest v so far, so that the rate of an element never grows.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`. As in neon the first argument is
    ``stochastic_round``: give the rate by name.

    References:
        Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015. neon/optimizers/optimizer.py.
        Reddi, Kale and Kumar, On the convergence of Adam and beyond, ICLR 2018 (amsgrad).

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Adam(learning_rate=0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9 2.1]
    """

    scales_update = True

    learning_rate: Hyper
    beta_1: Hyper
    beta_2: Hyper
    epsilon: Hyper

    def __init__(
        self,
        stochastic_round: RoundBits = False,
        learning_rate: Scheduled[Positive] = 0.001,
        beta_1: Scheduled[Fraction] = 0.9,
        beta_2: Scheduled[Fraction] = 0.999,
        epsilon: Scheduled[Positive] = 1e-8,
        gradient_clip_norm: Scheduled[NonNegative] | None = None,
        gradient_clip_value: Scheduled[NonNegative] | None = None,
        param_clip_value: Scheduled[NonNegative] | None = None,
        name: Name = "adam",
        *,
        epsilon_hat: Flag = True,
        amsgrad: Flag = False,
        **options: Any,
    ):
        super().__init__(
            stochastic_round=stochastic_round,
            gradient_clip_norm=gradient_clip_norm,
            gradient_clip_value=gradient_clip_value,
            param_clip_value=param_clip_value,
            name=name,
            **options,
        )
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.epsilon_hat = epsilon_hat
        self.amsgrad = amsgrad

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The moments; with amsgrad the largest second one too."""
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def prepare(self) -> None:
        """The rate with its bias correction."""
        self.root = math.sqrt(1.0 - self.beta_2**self.t)
        rate = self.lr * self.root if self.epsilon_hat else self.lr
        self.l = rate / (1.0 - self.beta_1**self.t)

    def update(self, param: Any, grad: Any, m: Any, v: Any, *v_max: Any) -> None:
        """See the class."""
        m[:] = m * self.beta_1 + (1.0 - self.beta_1) * grad
        v[:] = v * self.beta_2 + (1.0 - self.beta_2) * grad * grad
        if v_max:
            (largest,) = v_max
            largest[:] = self.be.maximum(largest, v)
            v = largest
        root = self.be.sqrt(v)
        if not self.epsilon_hat:
            root = root / self.root
        param[:] = param - (self.scale * self.l * m) / (root + self.epsilon)
