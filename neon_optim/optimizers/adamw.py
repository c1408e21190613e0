"""AdamW."""

from __future__ import annotations

from dataclasses import KW_ONLY

from neon_optim.described.arguments import Flag, Name, NonNegative, Scheduled
from neon_optim.optimizers.adam import Adam


class AdamW(Adam):
    r"""Adam with weight decay that is no part of the gradient.

    .. math::
        \theta &\leftarrow (1 - \alpha \lambda)\, \theta \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Use it where Adam is used with weight decay: an L2 penalty inside Adam is divided by the root of v like everything
    else, so parameters with large gradients hardly decay. This is the default for transformers.

    Arguments:
        learning_rate: α > 0.
        beta_1: decay of the first moment, in [0, 1).
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        wdecay: λ >= 0, decoupled.
        epsilon_hat: add ε to the uncorrected root (True, neon's Adam) or to the corrected one (False).
        amsgrad: divide by the largest v so far.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> AdamW(0.1, wdecay=0.5).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.85 2.  ]
    """

    scales_update = False
    decay_form = "decoupled"
    positional = ("learning_rate",)  # type: ignore[assignment]

    _: KW_ONLY
    wdecay: Scheduled[NonNegative] = 0.01
    epsilon_hat: Flag = False
    name: Name = None
