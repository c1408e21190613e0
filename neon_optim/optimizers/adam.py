"""Adam."""

from __future__ import annotations

import math
from typing import Any

from neon_optim.described.arguments import Flag, Fraction, Name, Positive, Scheduled
from neon_optim.optimizers.optimizer import CLIPS, Optimizer
from neon_optim.stepping.numbers import Numbers


class Adam(Optimizer):
    r"""Adaptive moment estimation.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \alpha \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \hat\epsilon}

    Use it where nothing else is known to be better. This is the order of computation at the end of section 2 of the
    paper, and neon's: ε̂ is added to the uncorrected root. With ``epsilon_hat=False`` it is the form of the paper's
    algorithm 1, as in PyTorch and ScalaTion: :math:`\theta - \alpha \hat m / (\sqrt{\hat v} + \epsilon)`.

    Arguments:
        learning_rate: α > 0.
        beta_1, beta_2: decay of the first and of the second moment, in [0, 1).
        epsilon: ε > 0.
        epsilon_hat: add ε to the uncorrected root (True) or to the corrected one (False).
        amsgrad: divide by the largest v so far, so that the rate of an element never grows.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`. As in neon the first argument is
    ``stochastic_round``: give the rate by name.

    References:
        Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015. neon/optimizers/optimizer.py.
        Reddi, Kale and Kumar, On the convergence of Adam and beyond, ICLR 2018 (amsgrad).

    >>> import numpy as np
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Adam(learning_rate=0.1).bind([(w, dw)]).step()
    >>> print(w.round(4))
    [0.9 2.1]
    """

    scales_update = True
    positional = ("stochastic_round", "learning_rate", "beta_1", "beta_2", "epsilon", *CLIPS)

    learning_rate: Scheduled[Positive] = 0.001
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8
    name: Name = "adam"
    epsilon_hat: Flag = True
    amsgrad: Flag = False

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The moments; with amsgrad the largest second one too."""
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The root of what corrects the bias of v, and the rate with both corrections."""
        v_root = math.sqrt(1.0 - now.beta_2**now.t)
        rate = now.lr * v_root if self.epsilon_hat else now.lr
        return {"v_root": v_root, "corrected_lr": rate / (1.0 - now.beta_1**now.t)}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any, *v_max: Any) -> None:
        """See the class."""
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = v * now.beta_2 + (1.0 - now.beta_2) * grad * grad
        for largest in v_max:
            largest[:] = v = self.be.maximum(largest, v)
        root = self.be.sqrt(v) if self.epsilon_hat else self.be.sqrt(v) / now.v_root
        param[:] = param - (now.scale * now.corrected_lr * m) / (root + now.epsilon)
