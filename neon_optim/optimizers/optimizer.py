"""The base of optimizers: what every algorithm has, and how its rule is put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from neon_optim.arguments import AnySchedule, Name, NonNegative, OnNonFinite, RoundBits, Scheduled
from neon_optim.base import NervanaObject
from neon_optim.errors import ArgumentError, BackendError, NonFiniteError, Problem
from neon_optim.optimizers.step import Part, gradient_norm, run_step
from neon_optim.parameters import NamedParameter, get_param_list, named_parameters
from neon_optim.schedules import BaseSchedule
from neon_optim.schedules.schedule import value_at

__all__ = ["Hyper", "Optimizer"]

Hyper = Any
"""The type of a hyper-parameter: a number or a schedule of it; within a step always a number."""


class Optimizer(NervanaObject, kind="optimizer", abstract=True):
    """Base class: a subclass names its state in ``slots`` and writes its rule as :meth:`update`.

    Arguments:
        stochastic_round: round stores stochastically, to so many mantissa bits (True: what the storage type has).
        gradient_clip_norm: scale the update as if the global L2 norm of the gradients were at most this;
            None or 0: off.
        gradient_clip_value: limit each gradient element to ± this; None or 0: off.
        param_clip_value: limit each parameter element to ± this after the update; None or 0: off.
        name: for people; None: an automatic one.
        schedule: turns ``learning_rate`` and the epoch into the rate of a step; None: constant.
        wdecay: L2 penalty: adds ``wdecay * param`` to the gradient.
        on_nonfinite: what a NaN or infinite gradient does: 'raise' a NonFiniteError, 'skip' the step (nothing changes,
            t included), or 'ignore' it. None: 'raise' where the norm is computed anyway, else 'ignore'.

    Attributes:
        t: number of steps done; part of the training state.
        slots: names of the state arrays of each parameter, in order.
        per_tensor: True for a rule that needs each tensor's shape (matrix products); it runs tensor by tensor.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    per_tensor: ClassVar[bool] = False
    couples_decay: ClassVar[bool] = False
    """True for a rule that treats ``wdecay`` itself."""

    #: What holds in a step only; set on the object that :meth:`at` returns.
    wdecay: Hyper
    lr: float
    epoch: int
    scale: Any

    def __init__(
        self,
        *,
        stochastic_round: RoundBits = False,
        gradient_clip_norm: NonNegative | None = None,
        gradient_clip_value: NonNegative | None = None,
        param_clip_value: NonNegative | None = None,
        name: Name = None,
        schedule: AnySchedule | None = None,
        wdecay: Scheduled[NonNegative] = 0.0,
        on_nonfinite: OnNonFinite | None = None,
    ):
        super().__init__(name=name)
        self.stochastic_round = stochastic_round
        self.gradient_clip_norm = gradient_clip_norm
        self.gradient_clip_value = gradient_clip_value
        self.param_clip_value = param_clip_value
        self.schedule = schedule
        self.wdecay = wdecay
        self.on_nonfinite = on_nonfinite
        self.t = 0

    # --- what a subclass writes ---

    def update(self, param: Any, grad: Any, *states: Any) -> None:
        """The rule: algebra on the parameter, its gradient and its state, written with ``slot[:] = expression``.

        ``grad`` is divided by the batch size and clipped by value. ``self`` holds this step's numbers: ``lr`` (the rate
        after the schedule), ``t`` (the step, from 1), ``epoch``, ``scale`` (what norm clipping asks the update to be
        multiplied by), every hyper-parameter as a number, and what :meth:`prepare` computed.
        """
        raise NotImplementedError(f"{self.classnm} must define update(self, param, grad, *states)")

    def prepare(self) -> None:
        """Compute this step's numbers in float64, such as bias corrections; called once a step before the rule."""

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array: zeros of the gradient's shape and dtype, unless a subclass says more."""
        return self.be.zeros_like(grad)

    # --- a step ---

    def optimize(self, layer_list: Any, epoch: int) -> None:
        """Update every parameter of the layers once, in place.

        Arguments:
            layer_list: layers with ``get_params()``, ``((param, grad), state)`` tuples, or lists of them. Empty state
                lists are filled with zeros of the gradient's shape.
            epoch: epochs done, for the schedule.

        Raises:
            StateError: an array or a state list does not fit; nothing has been changed.
            NonFiniteError: a gradient is not finite and ``on_nonfinite`` is 'raise'; nothing has been changed.
        """
        if self.be is None:
            raise BackendError("no backend: call neon_optim.gen_backend() before the first step")
        run_step(self, self.be, layer_list, epoch)

    def parts(self, layer_list: Any, epoch: int) -> list[Part]:
        """The work of one step: parameters with the object whose rule updates them."""
        return [Part(self, self.at(epoch), get_param_list(layer_list), layer_list)]

    def at(self, epoch: int) -> Any:
        """A copy of this optimizer with the numbers of the step that follows; the original stays as it is."""
        now = object.__new__(type(self))
        now.__dict__.update(self.__dict__)
        now.t = self.t + 1
        now.epoch = epoch
        for name, value in vars(self).items():
            if name != "schedule" and isinstance(value, BaseSchedule):
                setattr(now, name, value_at(value, 1.0, epoch, self.t))
        rate = getattr(now, "learning_rate", 1.0)
        now.lr = rate if self.schedule is None else value_at(self.schedule, rate, epoch, self.t)
        now.scale = 1.0
        now.prepare()
        return now

    def apply(self, param: Any, grad: Any, *states: Any) -> None:
        """The whole rule on one parameter: what all optimizers share, then :meth:`update`."""
        grad = self.clip_value(grad / (self.be.bsz or 1), self.gradient_clip_value)
        if self.wdecay and not self.couples_decay:
            grad = grad + self.wdecay * param
        self.update(param, grad, *states)

    # --- clipping ---

    def clip_gradient_norm(self, param_list: Sequence[Any], clip_norm: float | None) -> float:
        """The factor that brings the global L2 norm of the gradients down to ``clip_norm``; 1 where it is below.

        Arguments:
            param_list: ``((param, grad), state)`` tuples, or layers.
            clip_norm: the largest norm, of the gradients divided by the batch size; None or 0: off.

        Raises:
            ArgumentError: ``clip_norm`` is negative.
            NonFiniteError: the norm is not finite, unless ``on_nonfinite`` is 'ignore'.
        """
        if not clip_norm:
            return 1.0
        if clip_norm < 0:
            problem = Problem("clip_norm", clip_norm, "must be a number >= 0")
            raise ArgumentError(f"clip_gradient_norm: {problem}", [problem])
        norm = gradient_norm(self.be, get_param_list(param_list))
        if self.on_nonfinite != "ignore" and not math.isfinite(norm):
            raise NonFiniteError(f"{self.name}: the norm of the gradients is {norm}")
        return clip_norm / max(norm, clip_norm)

    def clip_value(self, v: Any, abs_bound: float | None) -> Any:
        """``v`` limited to ± ``abs_bound``, as an op-tree; ``v`` itself where the bound is None or 0."""
        if not abs_bound:
            return v
        return self.be.clip(v, -abs(abs_bound), abs(abs_bound))

    # --- state, for checkpoints ---

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Optimizer]]:
        """Every parameter with its name and the optimizer that updates it."""
        return [(parameter, self) for parameter in named_parameters(layer_list)]

    def get_counters(self) -> dict[str, Any]:
        """Everything that belongs to the training state beside the arrays: JSON-able."""
        return {"t": self.t}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        self.t = int(counters["t"])
