"""Adadelta."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Fraction, Positive, Scheduled
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Adadelta(Optimizer):
    r"""Steps in the units of the parameter: the ratio of two running averages takes the place of a rate.

    .. math::
        E[g^2] &\leftarrow \rho E[g^2] + (1 - \rho) g^2 \\
        \Delta &\leftarrow \sqrt{\frac{E[\Delta^2] + \epsilon}{E[g^2] + \epsilon}}\; g \\
        E[\Delta^2] &\leftarrow \rho E[\Delta^2] + (1 - \rho) \Delta^2 \\
        \theta &\leftarrow \theta - \Delta

    Use it where no rate can be tuned; Adam is usually faster.

    Arguments:
        decay: ρ in [0, 1).
        epsilon: ε > 0.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`. The rule has no rate; a ``schedule`` multiplies
    the step as if the rate were 1.

    References:
        Zeiler, ADADELTA: an adaptive learning rate method, arXiv 1212.5701, 2012. neon/optimizers/optimizer.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0]), np.array([0.5])
    >>> Adadelta().optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(5))
    [0.99553]
    """

    slots = ("mean_square_grad", "mean_square_step", "step")
    scales_update = True
    positional = ("stochastic_round", "decay", "epsilon", "param_clip_value", "name")

    decay: Scheduled[Fraction] = 0.95
    epsilon: Scheduled[Positive] = 1e-6

    def update(
        self, now: Numbers, param: Any, grad: Any, mean_square_grad: Any, mean_square_step: Any, step: Any
    ) -> None:
        """See the class."""
        rho = now.decay
        mean_square_grad[:] = mean_square_grad * rho + (1.0 - rho) * grad * grad
        step[:] = self.be.sqrt((mean_square_step + now.epsilon) / (mean_square_grad + now.epsilon)) * grad
        mean_square_step[:] = mean_square_step * rho + (1.0 - rho) * step * step
        param[:] = param - (now.scale * now.lr) * step
