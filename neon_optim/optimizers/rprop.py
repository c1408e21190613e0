"""Rprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_optim.described.arguments import Positive, Scheduled
from neon_optim.errors import ArgumentError, Problem
from neon_optim.optimizers.optimizer import Hyper, Optimizer

__all__ = ["Rprop"]


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

    learning_rate: Hyper

    def __init__(
        self,
        learning_rate: Scheduled[Positive] = 0.01,
        *,
        etas: Sequence[Positive] = (0.5, 1.2),
        step_sizes: Sequence[Positive] = (1e-6, 50.0),
        **options: Any,
    ):
        super().__init__(**options)
        self.learning_rate = learning_rate
        self.etas = list(etas)
        self.step_sizes = list(step_sizes)
        if len(self.etas) != 2 or not self.etas[0] < 1.0 < self.etas[1]:
            problem = Problem("etas", etas, "must be two numbers, the first below 1, the second above")
            raise ArgumentError(f"{self.classnm}: {problem}", [problem])
        if len(self.step_sizes) != 2 or not self.step_sizes[0] <= self.step_sizes[1]:
            problem = Problem("step_sizes", step_sizes, "must be the smallest and the largest step")
            raise ArgumentError(f"{self.classnm}: {problem}", [problem])

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """Zeros for the previous gradient; the learning rate for the step sizes."""
        state = super().new_state(slot, param, grad)
        if slot == "step_size" and self.origin is not self:
            state[:] = self.lr
        return state

    def update(self, param: Any, grad: Any, previous: Any, step_size: Any) -> None:
        """See the class."""
        be = self.be
        (shrink, grow), (smallest, largest) = self.etas, self.step_sizes
        agreement = be.sgn(grad) * be.sgn(previous)
        factor = be.where(agreement > 0.0, grow, be.where(agreement < 0.0, shrink, 1.0))
        kept = be.where(agreement < 0.0, 0.0, grad)
        step_size[:] = be.clip(step_size * factor, smallest, largest)
        previous[:] = kept
        param[:] = param - be.sgn(previous) * step_size
