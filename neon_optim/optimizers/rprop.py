"""Rprop."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from neon_optim.described.arguments import Positive, Scheduled, refuse
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Rprop(Optimizer):
    r"""Resilient backpropagation: a step size for each element, which only the sign of the gradient changes.

    .. math::
        \eta &\leftarrow \operatorname{clip}(\eta \cdot \{\eta_+ \text{ if } g g' > 0,\;
            \eta_- \text{ if } g g' < 0,\; 1 \text{ else}\},\; \eta_{\min},\; \eta_{\max}) \\
        g &\leftarrow 0 \text{ where } g g' < 0, \qquad \theta \leftarrow \theta - \operatorname{sgn}(g)\, \eta,
        \qquad g' \leftarrow g

    Use it for full-batch training, where the sign of a gradient can be trusted; not for minibatches.

    Arguments:
        learning_rate: the first η of every element, > 0; a schedule acts on nothing else.
        etas: (η₋, η₊), with 0 < η₋ < 1 < η₊.
        step_sizes: (η_min, η_max).

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> Rprop(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9 2.1]
    """

    slots = ("previous", "step_size")

    learning_rate: Scheduled[Positive] = 0.01
    _: KW_ONLY
    etas: tuple[Positive, ...] = (0.5, 1.2)
    step_sizes: tuple[Positive, ...] = (1e-6, 50.0)

    def check_fields(self) -> None:
        """Both pairs must be in order."""
        super().check_fields()
        etas, sizes = self.etas, self.step_sizes
        if len(etas) != 2 or not etas[0] < 1.0 < etas[1]:
            refuse(self.classnm, "etas", etas, "must be two numbers, the first below 1, the second above")
        if len(sizes) != 2 or not sizes[0] <= sizes[1]:
            refuse(self.classnm, "step_sizes", sizes, "must be the smallest and the largest step")

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The two pairs by name."""
        (shrink, grow), (smallest, largest) = self.etas, self.step_sizes
        return {"shrink": shrink, "grow": grow, "smallest": smallest, "largest": largest}

    def update(self, now: Numbers, param: Any, grad: Any, previous: Any, step_size: Any) -> None:
        """See the class. A step size of 0 is one that was never set."""
        be = self.be
        agreement = be.sgn(grad) * be.sgn(previous)
        factor = be.where(agreement > 0.0, now.grow, be.where(agreement < 0.0, now.shrink, 1.0))
        before = be.where(step_size > 0.0, step_size, now.lr)
        step_size[:] = be.clip(before * factor, now.smallest, now.largest)
        previous[:] = be.where(agreement < 0.0, 0.0, grad)
        param[:] = param - be.sgn(previous) * step_size
