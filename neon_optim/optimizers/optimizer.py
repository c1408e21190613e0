"""The base of optimizers: what every algorithm has, and how its rule is put together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from neon_optim.backends import gen_backend
from neon_optim.backends.dtypes import float_dtype
from neon_optim.described.arguments import (
    AnySchedule,
    Flag,
    Name,
    NonNegative,
    OnNonFinite,
    RoundBits,
    Scheduled,
    constructor_arguments,
)
from neon_optim.described.checks import Check, Number
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, BackendError, NonFiniteError, Problem, StateError
from neon_optim.schedules import Schedule
from neon_optim.schedules.schedule import value_at
from neon_optim.stepping.bound import BoundOptimizer
from neon_optim.stepping.counting import Counting
from neon_optim.stepping.norm import gradient_norm
from neon_optim.stepping.parameters import NamedParameter, get_param_list, named_parameters, parameters_of
from neon_optim.stepping.part import Part
from neon_optim.stepping.partition import partition
from neon_optim.stepping.patterns import check_patterns, matches
from neon_optim.stepping.step import run_step

__all__ = ["Hyper", "Optimizer"]

StateType = Literal["float16", "bfloat16", "float32", "float64"]
Hyper = Any
"""The type of a hyper-parameter: a number or a schedule of it; within a step always a number."""

_RATE = Number(ge=0)

DecayForm = Literal["coupled", "decoupled", "rule"]


class Optimizer(Counting, NervanaObject, kind="optimizer", abstract=True):
    """Base class: a subclass names its state in ``slots`` and writes its rule as :meth:`update`.

    Arguments:
        stochastic_round: round stores stochastically, to so many mantissa bits (True: what the storage type has).
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
            t included), or 'ignore' it. None: 'raise' where the norm is computed anyway, else 'ignore'.
        state_dtype: type of new state arrays: 'float16', 'bfloat16', 'float32' or 'float64'; None: the gradient's.
            Rules compute in float32 (float64 where an array of a parameter is), whatever their state is stored in.

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
    """True for a rule that multiplies its update by ``self.scale``, as neon's do, and wants its gradient unscaled."""
    #: What holds in a step only; set on the object that :meth:`at` returns.
    gradient_clip_norm: Hyper
    gradient_clip_value: Hyper
    param_clip_value: Hyper
    wdecay: Hyper
    decoupled_wdecay: Hyper
    lr: float
    epoch: int
    batch_size: float
    _origin: Optimizer

    def __init__(
        self,
        *,
        stochastic_round: RoundBits = False,
        gradient_clip_norm: Scheduled[NonNegative] | None = None,
        gradient_clip_value: Scheduled[NonNegative] | None = None,
        param_clip_value: Scheduled[NonNegative] | None = None,
        name: Name = None,
        schedule: AnySchedule | None = None,
        wdecay: Scheduled[NonNegative] = 0.0,
        decoupled_wdecay: Scheduled[NonNegative] | None = None,
        no_decay: Sequence[str] = (),
        maximize: Flag = False,
        on_nonfinite: OnNonFinite | None = None,
        state_dtype: StateType | None = None,
    ):
        super().__init__(name=name)
        self.stochastic_round = stochastic_round
        self.gradient_clip_norm = gradient_clip_norm
        self.gradient_clip_value = gradient_clip_value
        self.param_clip_value = param_clip_value
        self.schedule = schedule
        self.wdecay = wdecay
        self.decoupled_wdecay = decoupled_wdecay
        self.no_decay = list(no_decay)
        check_patterns(self.classnm, "no_decay", self.no_decay)
        self.maximize = maximize
        self.on_nonfinite = on_nonfinite
        self.state_dtype = state_dtype
        self.t = 0
        self._evaluating = False

    @property
    def schedule(self) -> Any:
        """The schedule of the rate; a constant one where none was given."""
        return Schedule() if self._schedule is None else self._schedule

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self._schedule = schedule

    def get_description(self, skip: Iterable[str] = ()) -> dict[str, Any]:
        """What rebuilds this optimizer; see :meth:`NervanaObject.get_description`."""
        return super().get_description([*skip, "schedule"] if self._schedule is None else skip)

    # --- what a subclass writes ---

    def update(self, param: Any, grad: Any, *states: Any) -> None:
        """The rule: algebra on the parameter, its gradient and its state, written with ``slot[:] = expression``.

        ``grad`` is divided by the batch size, clipped and, where the decay is coupled, has it added. ``self`` holds
        this step's numbers: ``lr`` (the rate after the schedule), ``t`` (the step, from 1), ``epoch``, every
        hyper-parameter as a number, and what :meth:`prepare` computed. Clipping of the parameter follows by itself.
        """
        raise NotImplementedError(f"{self.classnm} must define update(self, param, grad, *states)")

    def prepare(self) -> None:
        """Compute this step's numbers in float64, such as bias corrections; called once a step before the rule."""

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array: zeros of ``state_dtype``, unless a subclass says more."""
        shape = self.state_shape(slot, grad.shape)
        if self.state_dtype is None and shape == grad.shape:
            return self.be.zeros_like(grad)
        return self.be.zeros(shape, float_dtype(self.state_dtype or grad.dtype))

    def copy_state(self, slot: str, param: Any, grad: Any) -> Any:
        """A first value for :meth:`new_state`: a copy of the parameter."""
        state = Optimizer.new_state(self, slot, param, grad)
        state[:] = param if not hasattr(self.be, "as_tensor") else self.be.as_tensor(param)
        return state

    def state_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state array; only a rule with ``per_tensor`` may have others than the parameter's."""
        return shape

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

    def bind(self, parameters: Any, batch_size: float = 1) -> BoundOptimizer:
        """Tie this optimizer to parameters: what comes back has ``step()``, ``zero_grad()``, ``clip_grad_norm()``.

        Arguments:
            parameters: layers, ``(param, grad)`` pairs, objects with ``data`` and ``grad`` (which may be None for a
                while: those wait), or arrays, which get a gradient of zeros; a list of them, or a mapping from names.
            batch_size: what gradients are divided by; 1 for gradients that are means already.

        Without a backend, that of the CPU is set. See :class:`BoundOptimizer`.
        """
        if self.be is None:
            gen_backend("cpu")
        return BoundOptimizer(self, parameters, batch_size)

    def parts(self, layer_list: Any, epoch: int) -> list[Part]:
        """The work of one step: parameters with the object whose rule updates them."""
        now = self.at(epoch)
        if not self.no_decay or not (self.wdecay or self.decoupled_wdecay):
            return [Part(self, now, parameters_of(self, layer_list), layer_list)]
        groups = partition(self, layer_list, self._is_exempt, list(self.no_decay))
        return [
            Part(self, now.without_decay() if exempt else now, [groups.rows[k] for k in members], layer_list)
            for exempt, members in groups.members.items()
        ]

    def _is_exempt(self, parameter: NamedParameter) -> bool:
        return any(matches(pattern, parameter) for pattern in self.no_decay)

    def at(self, epoch: int) -> Any:
        """A copy of this optimizer with the numbers of the step that follows; the original stays as it is."""
        now = self._copy_at(epoch)
        now.batch_size = getattr(self.be, "bsz", 0) or 1
        now.lr = getattr(now, "learning_rate", 1.0)
        if self._schedule is not None:
            now.lr = self._scheduled("schedule", self._schedule, now.lr, epoch)
        now.scale = 1.0
        now.prepare()
        return now

    def _copy_at(self, epoch: int) -> Any:
        """A copy whose counter is one ahead and whose schedules are numbers."""
        now = object.__new__(type(self))
        now.__dict__.update(self.__dict__)
        now._origin = self
        now.t = self.t + 1
        now.epoch = epoch
        for name, value in vars(self).items():
            if name != "_schedule" and callable(getattr(value, "get_learning_rate", None)):
                setattr(now, name, self._scheduled(name, value, 1.0, epoch))
        return now

    def _scheduled(self, name: str, schedule: Any, base: float, epoch: int) -> float:
        """What a schedule gives now, checked as the number in its place would be (a rate may be 0)."""
        value = value_at(schedule, base, epoch, self.t)
        check: Check | None = _RATE
        if name not in ("schedule", "learning_rate"):
            argument = constructor_arguments(type(self)).get(name)
            check = argument.check if argument else None
        if check is not None and any(check.faults(value)):
            problem = Problem(name, value, f"must be {check.allowed}")
            where = f"from {type(schedule).__name__}, epoch {epoch}, step {self.t}"
            raise ArgumentError(f"{self.classnm}: {problem} ({where})", [problem])
        return value

    def without_decay(self) -> Any:
        """A copy, within a step, that decays nothing: the same Program with other numbers."""
        exempt = object.__new__(type(self))
        exempt.__dict__.update(self.__dict__)
        exempt.wdecay = exempt.decoupled_wdecay = 0.0
        return exempt

    @property
    def origin(self) -> Any:
        """The optimizer that this is a step's copy of. What it has set decides the structure of the rule."""
        return getattr(self, "_origin", self)

    @property
    def scale(self) -> Any:
        """What the rule multiplies its update by: the factor of norm clipping, or 1 where the gradient has it."""
        return self._scale if self.scales_update else 1.0

    @scale.setter
    def scale(self, factor: Any) -> None:
        self._scale = factor

    @property
    def moves(self) -> bool:
        """Whether a step's copy changes the parameters (and does not gather gradients only)."""
        return True

    def incoming(self, grad: Any, *states: Any) -> Any:
        """The gradient that norms are taken of."""
        return grad

    def apply(self, param: Any, grad: Any, *states: Any) -> None:
        """The whole rule on one parameter: what all optimizers share, around :meth:`update`."""
        if self.batch_size != 1:
            grad = grad / self.batch_size
        grad = self.clip_value(grad, self.gradient_clip_value)
        if self.gradient_clip_norm and not self.scales_update:
            grad = self._scale * grad
        if self.maximize:
            grad = -grad
        decoupled = self.decoupled_wdecay if self.origin.decoupled_wdecay is not None else self.wdecay
        if self.origin.decoupled_wdecay or (self.decay_form == "decoupled" and self.origin.wdecay):
            param[:] = param * (1.0 - self.lr * decoupled)
        if self.decay_form == "coupled" and self.origin.wdecay:
            grad = grad + self.wdecay * param
        self.update(param, grad, *states)
        if self.param_clip_value:
            param[:] = self.clip_value(param, self.param_clip_value)

    # --- evaluation ---

    def evaluated(self, param: Any, *states: Any) -> Any:
        """What the parameter should hold where the model is evaluated, as an expression; None: what it holds."""
        return None

    @contextmanager
    def evaluation(self, layer_list: Any) -> Iterator[None]:
        """Within the block the parameters hold what the model is best evaluated with (an average, say).

        Afterwards they are what they were, to the last bit. A step within the block is an error.
        """
        saved: list[tuple[Any, Any]] = []
        be = self.be
        if self._evaluating:
            raise StateError(f"{self.name}: the parameters are set for evaluation already")
        self._evaluating = True
        try:
            for parameter, owner in self.named_parameters(layer_list):
                (param, _), states = parameter.value
                arrays = [be.as_tensor(x) if hasattr(be, "as_tensor") else x for x in (param, *states)]
                tree = owner.evaluated(*arrays) if states else None
                if tree is not None:
                    copy = be.empty_like(arrays[0])
                    copy[:] = arrays[0]
                    saved.append((arrays[0], copy))
                    arrays[0][:] = tree
            yield
        finally:
            for tensor, copy in saved:
                tensor[:] = copy
            self._evaluating = False

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
        norm = gradient_norm(self.be, get_param_list(param_list), float(self.be.bsz or 1))
        if self.on_nonfinite != "ignore" and not math.isfinite(norm):
            raise NonFiniteError(f"{self.name}: the norm of the gradients is {norm}")
        return clip_norm / max(norm, clip_norm)

    def clip_value(self, v: Any, abs_bound: float | None) -> Any:
        """``v`` limited to ± ``abs_bound``, as an op-tree; ``v`` itself where the bound is None or 0."""
        if not abs_bound:
            return v
        return self.be.clip(v, -abs(abs_bound), abs(abs_bound))

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Optimizer]]:
        """Every parameter with its name and the optimizer that updates it."""
        return [(parameter, self) for parameter in named_parameters(layer_list)]
