"""Adafactor."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Annotated, Any

import numpy as np

from neon_optim.described.arguments import NonNegative, Positive, Scheduled
from neon_optim.described.checks import Number
from neon_optim.optimizers.matrices import compute_like, matrix_shape
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Adafactor(Optimizer):
    r"""Adam's divisor from a row and a column of averages: hardly any state for a matrix.

    .. math::
        w_t &= t^{\kappa}, \qquad
        R \leftarrow (1 - w_t) R + w_t \operatorname{mean}_{\text{columns}}(g^2), \qquad
        C \leftarrow (1 - w_t) C + w_t \operatorname{mean}_{\text{rows}}(g^2) \\
        u &= g \,/ \sqrt{\max(R\, C / \max(\operatorname{mean}(R), \epsilon_1),\; \epsilon_1^2)}, \qquad
        \hat u = u / \max(1, \operatorname{rms}(u) / d) \\
        \theta &\leftarrow (1 - \alpha \lambda)\, \theta
            - \min(\alpha, t^{-1/2}) \max(\epsilon_2, \operatorname{rms}(\theta))\, \hat u

    This is PyTorch's form (Optax' differs in the schedule of the averages and in what is clipped). A vector counts as a
    matrix of one column, which is the same as keeping its v in full; tensors of more axes are taken as matrices of
    their first axis by the rest. Use it where AdamW's state does not fit into memory.

    Arguments:
        learning_rate: α > 0, the largest rate relative to the size of the parameter.
        beta2_decay: κ < 0, the exponent of the averages' weight.
        epsilon: (ε₁, ε₂), both >= 0; None for ε₁: the resolution of the parameter's type (of float32 for 16 bits).
        d: the largest root mean square of a step, > 0.
        wdecay: λ >= 0, decoupled.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Shazeer and Stern, Adafactor: adaptive learning rates with sublinear memory cost, ICML 2018.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.ones((2, 2)), np.array([[1.0, 2.0], [2.0, 4.0]])
    >>> Adafactor(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [[0.9 0.9]
     [0.9 0.9]]
    """

    slots = ("row", "column")
    per_tensor = True
    decay_form = "rule"

    learning_rate: Scheduled[Positive] = 0.01
    _: KW_ONLY
    beta2_decay: Scheduled[Annotated[float, Number(lt=0)]] = -0.8
    epsilon: tuple[NonNegative | None, NonNegative | None] = (None, 1e-3)
    d: Scheduled[Positive] = 1.0

    def state_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A column of row means, a row of column means."""
        rows = shape[0] if shape else 1
        return (rows, 1) if slot == "row" else (1, math.prod(shape) // max(rows, 1))

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The weight of this step in the averages, and the relative rate."""
        return {"weight": now.t**now.beta2_decay, "relative_rate": min(now.lr, now.t**-0.5)}

    def update(self, now: Numbers, param: Any, grad: Any, row: Any, column: Any) -> None:
        """See the class."""
        be, shape = self.be, matrix_shape(param)
        step = compute_like(be, param)
        step[:] = grad
        matrix = step.reshape(shape)
        tiny, smallest = self.epsilon
        tiny = float(np.finfo(matrix.dtype).eps) if tiny is None else tiny
        row[:] = row + now.weight * (be.mean(matrix * matrix, axis=1) - row)
        column[:] = column + now.weight * (be.mean(matrix * matrix, axis=0) - column)
        variance = be.dot(row, column) / be.maximum(be.mean(row), tiny)
        matrix[:] = matrix / be.sqrt(be.maximum(variance, tiny * tiny))
        excess = be.maximum(1.0, be.sqrt(be.sum_square(step) / param.size) / now.d)
        size = be.maximum(smallest or 0.0, be.sqrt(be.sum_square(param) / param.size))
        rate = now.relative_rate * size / excess
        param[:] = param * (1.0 - now.lr * now.wdecay) - rate * step
