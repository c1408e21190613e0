"""The base of algorithms: what every rule has beside its own algebra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Any, ClassVar, Literal

from neon_optim.described.arguments import AnySchedule, Flag, NonNegative, OnNonFinite, RoundBits, Scheduled
from neon_optim.schedules import Schedule
from neon_optim.stepping.base_optimizer import BaseOptimizer
from neon_optim.stepping.numbers import RATE, Numbers, checked_value
from neon_optim.stepping.parameters import NamedParameter
from neon_optim.stepping.patterns import check_patterns, matches
from neon_optim.stepping.rule import Rule
from neon_optim.stepping.states import copied, zeros

__all__ = ["CLIPS", "Optimizer"]

StateType = Literal["float16", "bfloat16", "float32", "float64"]
DecayForm = Literal["coupled", "decoupled", "rule"]
_OFF = float("inf")

CLIPS = ("gradient_clip_norm", "gradient_clip_value", "param_clip_value", "name")
"""What follows one after the other in the positional arguments of neon's optimizers."""


class Optimizer(BaseOptimizer, abstract=True):
    """Base class of algorithms: a subclass names its state in ``slots`` and writes its rule as :meth:`update`.

    Arguments:
        stochastic_round: round stores stochastically, to so many mantissa bits (True: what the storage type has);
            False: never. None: as the backend says, and where parameters have 16 bits, which rounding to the nearest
            would keep from small steps.
        gradient_clip_norm: scale the gradients so that their global L2 norm is at most this; None or 0: off. neon's
            six optimizers keep its form: the update is scaled, not what the state sees.
        gradient_clip_value: limit each gradient element to ± this; None or 0: off.
        param_clip_value: limit each parameter element to ± this after the update; None or 0: off.
        name: for people; None: an automatic one.
        schedule: turns ``learning_rate`` and the epoch into the rate of a step; None: constant.
        wdecay: weight decay >= 0. Coupled: adds ``wdecay * param`` to the gradient (an L2 penalty), unless the class
            says that its decay is decoupled.
        decoupled_wdecay: weight decay beside the rule, before it: ``param * (1 - rate * decoupled_wdecay)``. Where
            ``wdecay`` is decoupled already, it takes its place.
        no_decay: patterns of parameters that neither decay touches: globs (``'*/bias'``, ``'Bias_*'``), regular
            expressions between slashes, or plain names; each is matched in full against the layer's name, the name of
            its class and ``layer/name``.
        maximize: climb instead of descend: the gradient's sign is changed.
        on_nonfinite: what a NaN or infinite gradient does: 'raise' a NonFiniteError, 'skip' the step (nothing changes,
            t included), or 'ignore' it. None: 'raise' where the norm is computed anyway, else 'ignore'. A finite
            gradient whose square is beyond the type (in float32 one above 1.8e19) is none of these: a second moment
            becomes infinite, and its element rests from then on; ``gradient_clip_value`` keeps that off.
        state_dtype: type of new state arrays: 'float16', 'bfloat16', 'float32' or 'float64'; None: the gradient's, but
            float32 where that has 16 bits: float16 has no number between 0 and 6e-8, where the squares of small
            gradients are, and long averages in 16 bits need ``stochastic_round``. Rules compute in float32 (float64
            where an array of a parameter is), whatever their state is stored in. What cannot work in these types (an ε
            that is 0, an average that never moves) gives a PrecisionWarning.

    Attributes:
        t: number of steps done; part of the training state.
        slots: names of the state arrays of each parameter, in order.
        per_tensor: True for a rule that needs each tensor's shape (matrix products); it runs tensor by tensor.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    per_tensor: ClassVar[bool] = False
    decay_form: ClassVar[DecayForm] = "coupled"
    """What ``wdecay`` means: added to the gradient, taken off the parameter, or left to the rule."""
    scales_update: ClassVar[bool] = False
    """True for a rule that multiplies its update by ``now.scale``, as neon's do, and wants its gradient unscaled."""

    _: KW_ONLY
    stochastic_round: RoundBits | None = None
    gradient_clip_norm: Scheduled[NonNegative] | None = None
    gradient_clip_value: Scheduled[NonNegative] | None = None
    param_clip_value: Scheduled[NonNegative] | None = None
    schedule: AnySchedule | None = None
    wdecay: Scheduled[NonNegative] = 0.0
    decoupled_wdecay: Scheduled[NonNegative] | None = None
    no_decay: Sequence[str] = ()
    maximize: Flag = False
    on_nonfinite: OnNonFinite | None = None
    state_dtype: StateType | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._own_schedule = Schedule() if self.schedule is None else None
        if self.schedule is None:
            self.schedule = self._own_schedule

    def check_fields(self) -> None:
        """Check the patterns; a subclass checks what else must go together."""
        check_patterns(self.classnm, "no_decay", self.no_decay)

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate; it may be 0, as a schedule's value may."""
        if rate:
            super().__setattr__("learning_rate", rate)
        else:
            vars(self).update(learning_rate=rate, _changes=vars(self)["_changes"] + 1)

    def _is_constant(self) -> bool:
        """Whether no schedule was given, and nothing was set on the constant one that stands there then."""
        return self.schedule is None or (
            self.schedule is self._own_schedule and not vars(self.schedule)["_changes"]
        )

    def get_description(self, skip: Iterable[str] = ()) -> dict[str, Any]:
        """What rebuilds this optimizer; see :meth:`NervanaObject.get_description`."""
        return super().get_description([*skip, "schedule"] if self._is_constant() else skip)

    # --- what a subclass writes ---

    def update(self, now: Numbers, param: Any, grad: Any, *states: Any) -> None:
        """The rule: algebra on the parameter, its gradient and its state, written with ``slot[:] = expression``.

        ``grad`` is divided by the batch size, clipped and, where the decay is coupled, has it added. ``now`` holds the
        numbers of the step: ``lr`` (the rate after the schedule), ``t`` (the step, from 1), ``epoch``, every
        hyper-parameter, and what :meth:`prepare` computed. Clipping of the parameter follows by itself.
        """
        raise NotImplementedError(f"{self.classnm} must define update(self, now, param, grad, *states)")

    def prepare(self, now: Numbers) -> Mapping[str, Any]:
        """Further numbers of a step, computed in float64, such as bias corrections; called once a step before the rule.

        A name that stands in ``counters`` is kept for the next step, once this one is done. A flag (True or False) may
        decide what the rule looks like: it is traced once for each.
        """
        return {}

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array: zeros of ``state_dtype``, unless a subclass says more."""
        return zeros(self.be, grad, self.state_dtype, self.state_shape(slot, grad.shape))

    def copy_state(self, slot: str, param: Any, grad: Any) -> Any:
        """A first value for :meth:`new_state`: a copy of the parameter."""
        return copied(self.be, param, grad, self.state_dtype)

    def state_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state array; only a rule with ``per_tensor`` may have others than the parameter's."""
        return shape

    def evaluated(self, param: Any, *states: Any) -> Any:
        """What the parameter should hold where the model is evaluated, as an expression; None: what it holds."""
        return None

    # --- the numbers of a step ---

    def numbers(self, epoch: float, batch_size: float, divides: bool) -> Numbers:
        """The numbers of the step that follows, for gradients that are sums over so many samples."""
        values = self.hyperparameters().at(epoch, self.t)
        rate = self._scheduled(values, epoch, self.t)
        for bound in ("gradient_clip_norm", "gradient_clip_value", "param_clip_value"):
            if values[bound] == 0.0 and bound not in self.hyperparameters().unset:
                values[bound] = _OFF  # a schedule has come to 0
        values.update(lr=rate, t=self.t + 1, epoch=epoch, batch_size=batch_size, divides=divides)
        values.update(scale=1.0, moves=True, reaches=True)
        now = Numbers(values)
        values.update(self.prepare(now))
        return now

    def _scheduled(self, values: Mapping[str, Any], epoch: float, t: float) -> float:
        rate: float = values.get("learning_rate", 1.0)
        if self._is_constant():
            return rate
        return checked_value(self, "schedule", self.schedule, rate, epoch, t, RATE)

    def rate_at(self, epoch: float, t: float) -> float:
        """The rate of a step when so many epochs and steps are done.

        >>> from neon_optim.optimizers import SGD
        >>> from neon_optim.schedules import Exponential
        >>> SGD(0.1, schedule=Exponential(0.5)).rate_at(epoch=2, t=100)
        0.025
        """
        return self._scheduled(self.hyperparameters().at(epoch, t), epoch, t)

    # --- the whole rule ---

    def rule_for(self, parameter: NamedParameter | None) -> Rule:
        """This algorithm; without decay for what ``no_decay`` names."""
        exempt = parameter is not None and any(matches(pattern, parameter) for pattern in self.no_decay)
        return Rule(self, decays=not exempt)

    def routes(self) -> Any:
        """The patterns, where there is a decay that they keep off."""
        return list(self.no_decay) if self.no_decay and (self.wdecay or self.decoupled_wdecay) else None

    def apply(self, now: Numbers, param: Any, grad: Any, *states: Any) -> None:
        """The rule on one parameter with what all algorithms share: everything around :meth:`update`."""
        if now.divides:
            grad = grad / now.batch_size
        grad = self.clip_value(grad, now.gradient_clip_value)
        if now.gradient_clip_norm and not self.scales_update:
            grad, now = now.scale * grad, now.with_numbers(scale=1.0)
        if self.maximize:
            grad = -grad
        decoupled = now.wdecay if self.decay_form == "decoupled" else None
        if self.decoupled_wdecay is not None:
            decoupled = now.decoupled_wdecay
        if decoupled:
            param[:] = param * (1.0 - now.lr * decoupled)
        if self.decay_form == "coupled" and now.wdecay:
            grad = grad + now.wdecay * param
        self.update(now, param, grad, *states)
        if now.param_clip_value:
            param[:] = self.clip_value(param, now.param_clip_value)
