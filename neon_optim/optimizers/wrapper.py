"""The base of optimizers around another optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from neon_optim.described.checks import OfKind
from neon_optim.described.counters import set_all_counters
from neon_optim.errors import StateError, shown
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.schedules import BaseSchedule
from neon_optim.stepping.base_optimizer import BaseOptimizer
from neon_optim.stepping.numbers import Numbers
from neon_optim.stepping.parameters import NamedParameter
from neon_optim.stepping.rule import Rule

__all__ = ["AnyOptimizer", "Wrapper"]

AnyOptimizer = Annotated[Any, OfKind("optimizer")]


class Wrapper(BaseOptimizer, abstract=True):
    """Base class: adds algebra, and state of its own, around the rule of another optimizer.

    Both become one rule, so they run in one pass, and their state is in the same lists and checkpoints. A subclass
    names its slots in ``own_slots`` and defines :meth:`wrap`. Everything else (clipping, decay, rounding) is set on the
    inner optimizer, which may be a wrapper or a MultiOptimizer; its attributes can be read and set here, too.
    """

    own_slots: ClassVar[tuple[str, ...]] = ()
    starts_at_zero: ClassVar[bool] = False
    """Whether the states of its own start at zero; else each is a copy of the parameter at first."""

    optimizer: AnyOptimizer

    # --- what a subclass writes ---

    def wrap(self, now: Numbers, param: Any, grad: Any, inner: Any, *own: Any) -> None:
        """The rule: algebra on the parameter, its gradient and the states of its own.

        ``inner(param, grad)`` is the rule of the optimizer inside. ``now`` holds the numbers of this step: the class's
        own, ``t``, ``lr``, and ``moves``, whether the inner rule changes the parameter at this step.
        """
        raise NotImplementedError(f"{self.classnm} must define wrap(self, now, param, grad, inner, *own)")

    def prepare(self, now: Numbers) -> Mapping[str, Any]:
        """Further numbers of a step; see :meth:`Optimizer.prepare`."""
        return {}

    def incoming(self, now: Numbers, grad: Any, *own: Any) -> Any:
        """The gradient that norms are taken of."""
        return grad

    def evaluated(self, param: Any, *own: Any) -> Any:
        """What the parameter should hold where the model is evaluated; None: what the inner optimizer says."""
        return None

    # --- around the inner optimizer ---

    def numbers_around(self, inner: Numbers, epoch: float, batch_size: float) -> Numbers:
        """The numbers of the step that follows, given those of the level inside."""
        values = self.hyperparameters().at(epoch, self.t)
        values.update(lr=inner.lr, t=self.t + int(inner.moves), epoch=epoch, batch_size=batch_size)
        values.update(moves=inner.moves, reaches=True)
        now = Numbers(values)
        values.update(self.prepare(now))
        return now

    def rule_for(self, parameter: NamedParameter | None) -> Rule:
        """The inner optimizer's, with this one around it."""
        rule: Rule = self.optimizer.rule_for(parameter)
        return rule.within(self)

    def routes(self) -> Any:
        """The inner optimizer's."""
        return self.optimizer.routes()

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of all state arrays of a parameter."""
        return self.rule_for(None).slots

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "optimizer" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        mine = vars(self)
        foreign = not name.startswith("_") and name not in mine and not hasattr(type(self), name)
        if foreign and "_changes" in mine and hasattr(self.optimizer, name):
            setattr(self.optimizer, name, value)
        else:
            super().__setattr__(name, value)

    # --- state, for checkpoints ---

    def all_schedules(self) -> list[BaseSchedule]:
        """Its own and those inside."""
        return super().all_schedules() + self.optimizer.all_schedules()

    def get_counters(self) -> dict[str, Any]:
        """Its own counters and those of the inner optimizer."""
        return {**super().get_counters(), "optimizer": self.optimizer.get_counters()}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        inner = counters.get("optimizer") if isinstance(counters, Mapping) else None
        if inner is None:
            raise StateError(
                f"{self.classnm} has counters of its inner optimizer, received {shown(counters)}"
            )
        own = {name: value for name, value in counters.items() if name != "optimizer"}
        set_all_counters([(self.optimizer, inner), (super(), own)])


Optimizer.register(Wrapper)
