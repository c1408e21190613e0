"""ShiftAdaMax."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Fraction, Name, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class ShiftAdaMax(Optimizer):
    r"""AdaMax with products replaced by shifts: factors are rounded to powers of two.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \max(\beta_2 v, |g|), \qquad
        w \leftarrow 1 / (v + \epsilon) \\
        \theta &\leftarrow \operatorname{clip}(\theta - (m \ll w) \ll \alpha / (1 - \beta_1^{e+1}),\; -1,\; 1)

    with :math:`a \ll b = a \operatorname{sgn}(b)\, 2^{\operatorname{rint}(\log_2 |b|)}` and e the epoch.
    Use it for binarized networks, whose parameters stay within ±1.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the infinity norm, in [0, 1).
        epsilon: ε > 0.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Hubara et al., Binarized neural networks, NIPS 2016, algorithm 4. neon/optimizers/optimizer.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([0.5]), np.array([0.25])
    >>> ShiftAdaMax(learning_rate=0.25).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.3]
    """

    slots = ("m", "v", "inv_v")
    scales_update = True
    positional = ("stochastic_round", "learning_rate", "beta_1", "beta_2", "epsilon", "schedule", "name")

    learning_rate: Scheduled[Positive] = 0.002
    beta_1: Scheduled[Fraction] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8
    name: Name = "ShiftAdaMax"

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The rate with its bias correction, which counts epochs."""
        return {"corrected_lr": now.lr / (1.0 - now.beta_1 ** (now.epoch + 1))}

    def update(self, now: Numbers, param: Any, grad: Any, m: Any, v: Any, inv_v: Any) -> None:
        """See the class."""
        be = self.be
        m[:] = m * now.beta_1 + (1.0 - now.beta_1) * grad
        v[:] = be.maximum(v * now.beta_2, be.absolute(grad))
        inv_v[:] = 1.0 / (v + now.epsilon)
        step = be.shift(be.shift(m, inv_v), now.corrected_lr)
        param[:] = be.clip(param - now.scale * step, -1.0, 1.0)
