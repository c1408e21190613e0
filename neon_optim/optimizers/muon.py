"""Muon."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any, Literal

from neon_optim.described.arguments import Flag, Fraction, NonNegative, Positive, PositiveInt, Scheduled
from neon_optim.optimizers.matrices import compute_like, matrix_shape
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class Muon(Optimizer):
    r"""Momentum made orthogonal: every direction of a matrix of weights moves by the same amount.

    .. math::
        b &\leftarrow \gamma b + (1 - \gamma) g, \qquad
        u = \gamma b + (1 - \gamma) g \text{ (Nesterov), else } b \\
        X &= u / \max(\lVert u \rVert_F, \epsilon), \qquad
        X \leftarrow a X + (b' X X^\top + c (X X^\top)^2) X \quad (n \text{ times}) \\
        \theta &\leftarrow (1 - \alpha \lambda)\, \theta - \alpha\, r X

    with r = √max(1, rows / columns). Five of these Newton-Schulz steps bring all singular values of X near 1. Tensors
    of more axes are taken as matrices of their first axis by the rest.

    Use it for the hidden weight matrices of a network; give embeddings, the last layer, biases and gains to AdamW (see
    :class:`~neon_optim.optimizers.MultiOptimizer`).

    Arguments:
        learning_rate: α > 0.
        momentum_coef: γ in [0, 1).
        nesterov: look ahead along the momentum.
        ns_coefficients: (a, b', c) of the Newton-Schulz polynomial.
        ns_steps: n >= 1.
        epsilon: ε > 0.
        adjust_lr_fn: r as above ('original' or None), or 'match_rms_adamw' for 0.2 √max(rows, columns), with which
            AdamW's rate and decay can be used.
        wdecay: λ >= 0, decoupled.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`. PyTorch iterates in bfloat16; here it is done in
    float32 (float64 for float64 parameters), so numbers differ by what bfloat16 rounds away.

    References:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
        Liu et al., Muon is scalable for LLM training, arXiv 2502.16982, 2025 (match_rms_adamw).

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.zeros((2, 2)), np.array([[3.0, 0.0], [0.0, -0.5]])
    >>> Muon(0.1, ns_steps=12, ns_coefficients=(1.5, -0.5, 0.0)).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4) + 0.0)
    [[-0.1  0. ]
     [ 0.   0.1]]
    """

    slots = ("momentum",)
    per_tensor = True
    decay_form = "decoupled"

    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    momentum_coef: Scheduled[Fraction] = 0.95
    nesterov: Flag = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    ns_steps: PositiveInt = 5
    epsilon: Scheduled[Positive] = 1e-7
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None
    wdecay: Scheduled[NonNegative] = 0.1

    def update(self, now: Numbers, param: Any, grad: Any, momentum: Any) -> None:
        """See the class."""
        decay = now.momentum_coef
        momentum[:] = decay * momentum + (1.0 - decay) * grad
        update = decay * momentum + (1.0 - decay) * grad if self.nesterov else momentum
        rows, columns = matrix_shape(param)
        matrix = compute_like(self.be, param)
        matrix[:] = update
        step = self.orthogonal(matrix.reshape(rows, columns), now.epsilon).reshape(param.shape)
        ratio = math.sqrt(max(1.0, rows / columns))
        if self.adjust_lr_fn == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        param[:] = param - (now.lr * ratio) * step

    def orthogonal(self, matrix: Any, epsilon: float) -> Any:
        """The matrix with its singular values brought near 1; overwrites its argument."""
        be, (rows, columns) = self.be, matrix.shape
        wide = matrix if rows <= columns else be.empty((columns, rows), matrix.dtype).copy_from(matrix.T)
        wide[:] = wide / be.maximum(be.sqrt(be.sum_square(wide)), epsilon)
        gram, polynomial = (be.empty((wide.shape[0],) * 2, wide.dtype) for _ in range(2))
        following = be.empty_like(wide)
        a, b, c = self.ns_coefficients
        for _ in range(self.ns_steps):
            gram[:] = be.dot(wide, wide.T)
            polynomial[:] = b * gram + c * be.dot(gram, gram)
            following[:] = a * wide + be.dot(polynomial, wide)
            wide, following = following, wide
        return wide if rows <= columns else matrix.copy_from(wide.T)
