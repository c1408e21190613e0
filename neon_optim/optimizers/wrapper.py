"""The base of optimizers around another optimizer."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.described.arguments import Name
from neon_optim.described.counters import set_all_counters
from neon_optim.described.object import NervanaObject
from neon_optim.errors import StateError
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.schedules import BaseSchedule
from neon_optim.stepping.parameters import NamedParameter
from neon_optim.stepping.part import Part

__all__ = ["Wrapper"]


def _of_inner(name: str) -> Any:
    """An attribute that is the inner optimizer's."""
    return property(
        lambda self: getattr(self.optimizer, name), lambda self, value: setattr(self.optimizer, name, value)
    )


class Wrapper(Optimizer, abstract=True):
    """Base class: adds algebra, and state of its own, around the rule of another optimizer.

    Both become one rule, so they run in one pass, and their state is in the same lists and checkpoints. A subclass
    names its slots in ``own_slots`` and defines :meth:`wrap`. Everything else (clipping, decay, rounding) is set on the
    inner optimizer, which may be a wrapper or a MultiOptimizer.
    """

    own_slots: ClassVar[tuple[str, ...]] = ()

    gradient_clip_norm = _of_inner("gradient_clip_norm")
    on_nonfinite = _of_inner("on_nonfinite")
    stochastic_round = _of_inner("stochastic_round")
    learning_rate = _of_inner("learning_rate")
    schedule = _of_inner("schedule")
    _schedule = _of_inner("_schedule")
    state_dtype = _of_inner("state_dtype")
    per_tensor = _of_inner("per_tensor")
    batch_size = _of_inner("batch_size")
    scale = _of_inner("scale")

    def __init__(self, optimizer: Optimizer, *, name: Name = None):
        NervanaObject.__init__(self, name=name)
        self.optimizer = optimizer
        self.t = 0
        self._evaluating = False

    # --- what a subclass writes ---

    def wrap(self, param: Any, grad: Any, inner: tuple[Any, ...], *own: Any) -> None:
        """The rule; it calls ``self.optimizer.apply(param, grad, *inner)``."""
        raise NotImplementedError(f"{self.classnm} must define wrap(self, param, grad, inner, *own)")

    def own_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array of its own: a copy of the parameter, unless a subclass says more."""
        return self.copy_state(slot, param, grad)

    # --- one rule out of two ---

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inner optimizer's, then its own; a name that is taken gets a number."""
        names = list(self.optimizer.slots)
        for own in self.own_slots:
            taken = sum(1 for name in names if name.split("#")[0] == own)
            names.append(f"{own}#{taken + 1}" if taken else own)
        return tuple(names)

    @property
    def moves(self) -> bool:
        """Whether a step's copy changes the parameters."""
        return bool(self.optimizer.moves)

    def at(self, epoch: int) -> Any:
        """A copy with the numbers of the step that follows, the inner optimizer's too."""
        return self.around(self.optimizer.at(epoch), epoch)

    def around(self, inner: Any, epoch: int) -> Any:
        """A step's copy around a step's copy of the inner optimizer; it counts steps that move the parameters."""
        now = self._copy_at(epoch)
        now.optimizer = inner
        now.t = self.t + int(inner.moves)
        now.prepare()
        return now

    def parts(self, layer_list: Any, epoch: int) -> list[Part]:
        """Those of the inner optimizer, each with this one around its rule."""
        return [
            Part(part.optimizer, self.around(part.now, epoch), part.parameters, part.layer_list)
            for part in self.optimizer.parts(layer_list, epoch)
        ]

    def apply(self, param: Any, grad: Any, *states: Any) -> None:
        """The whole rule on one parameter."""
        count = len(self.optimizer.slots)
        self.wrap(param, grad, states[:count], *states[count:])

    def incoming(self, grad: Any, *states: Any) -> Any:
        """The gradient that norms are taken of."""
        return self.optimizer.incoming(grad, *states[: len(self.optimizer.slots)])

    def evaluated(self, param: Any, *states: Any) -> Any:
        """What the inner optimizer says."""
        return self.optimizer.evaluated(param, *states[: len(self.optimizer.slots)])

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array."""
        if slot in self.optimizer.slots:
            return self.optimizer.new_state(slot, param, grad)
        return self.own_state(slot, param, grad)

    def state_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state array."""
        return self.optimizer.state_shape(slot, shape) if slot in self.optimizer.slots else shape

    # --- state, for checkpoints ---

    def commit(self) -> None:
        """Called on a step's copy when the step is done."""
        self.optimizer.commit()
        super().commit()

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Optimizer]]:
        """Every parameter with its name and this wrapper around the optimizer that updates it."""
        return [
            (parameter, self._over(owner)) for parameter, owner in self.optimizer.named_parameters(layer_list)
        ]

    def _over(self, owner: Optimizer) -> Any:
        if owner is self.optimizer:
            return self
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.optimizer = owner
        return copy

    def all_schedules(self) -> list[BaseSchedule]:
        """Its own and those inside."""
        return super().all_schedules() + self.optimizer.all_schedules()

    def get_counters(self) -> dict[str, Any]:
        """Its own counters and those of the inner optimizer."""
        return {**super().get_counters(), "optimizer": self.optimizer.get_counters()}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        own = dict(counters)
        inner = own.pop("optimizer", None)
        if not isinstance(inner, dict):
            raise StateError(
                f"{self.classnm} has counters of its inner optimizer, received {sorted(counters)}"
            )
        set_all_counters([(self.optimizer, inner), (super(), own)])
