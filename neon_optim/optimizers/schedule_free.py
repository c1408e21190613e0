"""Schedule-free AdamW."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any

from neon_optim.described.arguments import Fraction, NonNegative, NonNegativeInt, Positive, Scheduled
from neon_optim.described.checks import Number
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.stepping.numbers import Numbers


class ScheduleFreeAdamW(Optimizer):
    r"""AdamW without a schedule: an average of the iterates takes the place of a falling rate.

    .. math::
        v &\leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        u = \frac{g}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} + \lambda y \\
        z &\leftarrow z - \alpha_t u, \qquad
        x \leftarrow (1 - c_t) x + c_t z, \qquad
        y = (1 - \beta_1) z + \beta_1 x \\
        c_t &= \frac{w_t}{\sum_{i \le t} w_i}, \qquad w_t = t^r (\max_{i \le t} \alpha_i)^p, \qquad
        \alpha_t = \alpha \min(1, t / T)

    The parameters hold y during training, where gradients are taken. For evaluation they must hold x: use
    ``with optimizer.evaluation(layers): ...``. x is not stored but follows from y and z. Use it where the length of
    training is not known beforehand; rates are 1 to 10 times those of AdamW with a schedule.

    Arguments:
        learning_rate: α > 0.
        beta_1: how much of x is in y, in (0, 1); a number.
        beta_2: decay of the second moment, in [0, 1).
        epsilon: ε > 0.
        warmup_steps: T >= 0, steps of linear warm-up.
        r: exponent of the step in the weights of the average, >= 0.
        weight_lr_power: p >= 0, exponent of the rate in those weights.
        wdecay: λ >= 0, decoupled, taken at y.

    The others are those of :class:`~neon_optim.optimizers.Optimizer`.

    References:
        Defazio et al., The road less scheduled, NeurIPS 2024.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=1)
    >>> w, dw = np.array([1.0, 2.0]), np.array([0.5, -3.0])
    >>> ScheduleFreeAdamW(0.1).optimize([((w, dw), [])], epoch=0)
    >>> print(w.round(4))
    [0.9 2.1]
    """

    slots = ("z", "v")
    counters = ("weight_sum", "largest_rate")
    decay_form = "rule"

    learning_rate: Scheduled[Positive] = 0.0025
    _: KW_ONLY
    beta_1: Annotated[float, Number(gt=0, lt=1)] = 0.9
    beta_2: Scheduled[Fraction] = 0.999
    epsilon: Scheduled[Positive] = 1e-8
    warmup_steps: NonNegativeInt = 0
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weight_sum = 0.0
        self.largest_rate = 0.0

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """z starts at the parameter, v at zero."""
        return self.copy_state(slot, param, grad) if slot == "z" else super().new_state(slot, param, grad)

    def prepare(self, now: Numbers) -> dict[str, Any]:
        """The warmed-up rate and the weight of z in the average."""
        lr = now.lr * min(1.0, now.t / self.warmup_steps) if self.warmup_steps else now.lr
        largest_rate = max(self.largest_rate, float(lr))
        weight = now.t**now.r * largest_rate**now.weight_lr_power
        weight_sum = self.weight_sum + weight
        return {
            "lr": lr,
            "largest_rate": largest_rate,
            "weight_sum": weight_sum,
            "share": weight / weight_sum if weight_sum else 0.0,
            "v_share": 1.0 - now.beta_2**now.t,
        }

    def update(self, now: Numbers, param: Any, grad: Any, z: Any, v: Any) -> None:
        """See the class."""
        v[:] = v * now.beta_2 + (1.0 - now.beta_2) * grad * grad
        step = grad / (self.be.sqrt(v / now.v_share) + now.epsilon)
        if now.wdecay:
            step = step + now.wdecay * param
        z[:] = z - now.lr * step
        rest = now.lr * (1.0 - now.beta_1) * (1.0 - now.share)
        param[:] = param + now.share * (z - param) - rest * step

    def evaluated(self, param: Any, z: Any, v: Any) -> Any:
        """x, from y and z."""
        return param + (1.0 - 1.0 / self.beta_1) * (z - param)
