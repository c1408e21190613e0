"""The numbers of a step, by name: hyper-parameters after their schedules, and what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neon_optim.backends.optree import NamedScalar
from neon_optim.described.arguments import constructor_arguments, field_arguments, refuse
from neon_optim.described.checks import Check, Either, Number
from neon_optim.schedules.schedule import value_at

__all__ = ["RATE", "Hyperparameters", "Numbers"]


RATE = Number(ge=0)
"""What a rate may be that a schedule gives: one that is set cannot be 0."""


class Numbers:
    """What a rule reads as ``now``; it does not change.

    A number that is not set (0 or None) is that; while a rule is traced every other one is a symbol of its name. So
    ``if now.wdecay:`` asks whether there is a decay, and nothing else can be asked.

    >>> now = Numbers({"lr": 0.5, "wdecay": 0.0})
    >>> now.lr, now.with_numbers(lr=0.25).lr
    (0.5, 0.25)
    >>> now.symbols({"lr"}).lr, now.symbols({"lr"}).wdecay
    (lr, 0.0)
    """

    def __init__(self, values: Mapping[str, Any]):
        object.__setattr__(self, "__dict__", values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"the numbers of a step do not change, received {name} = {value!r}: return {{{name!r}: …}} from prepare()"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"the step has no number {name!r}; it has {', '.join(sorted(vars(self)))}")

    def __repr__(self) -> str:
        return f"Numbers({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def with_numbers(self, **changed: Any) -> Numbers:
        """A copy with some numbers changed or added."""
        return Numbers({**vars(self), **changed})

    def symbols(self, names: Any, prefix: str = "") -> Numbers:
        """A copy in which these numbers stand as symbols."""
        return Numbers(
            {
                name: NamedScalar(prefix + name) if name in names else value
                for name, value in vars(self).items()
            }
        )


class Hyperparameters:
    """The hyper-parameters of an object as they are set now: numbers, and schedules of numbers.

    Attributes:
        constants: name → number; None where nothing is set.
        unset: names of those that are 0 or None, and stay so until they are set anew.
        changes: how often settings had been set by then.
        form: what of the settings decides the form of a rule: which numbers are set, and all that is no number.
    """

    def __init__(self, owner: Any):
        self._owner = owner
        self.changes = vars(owner).get("_changes")
        self.constants: dict[str, Any] = {}
        self.unset: set[str] = set()
        self._scheduled: list[tuple[str, Any, Check | None]] = []
        others = []
        cls: type = type(owner)
        for name, argument in {**field_arguments(cls), **constructor_arguments(cls)}.items():
            value = getattr(owner, name, None)
            if not _is_number(argument.check, value):
                others.append(value if isinstance(value, (bool, int, str, type(None))) else repr(value))
                continue
            if callable(getattr(value, "get_learning_rate", None)):
                self._scheduled.append((name, value, RATE if name == "learning_rate" else argument.check))
            else:
                self.constants[name] = value
                if not value:
                    self.unset.add(name)
        self.form = (frozenset(self.unset), *others)

    def at(self, epoch: float, step: float) -> dict[str, Any]:
        """The numbers when so many epochs and steps are done."""
        values = self.constants.copy()
        for name, schedule, check in self._scheduled:
            values[name] = checked_value(self._owner, name, schedule, 1.0, epoch, step, check)
        return values


def checked_value(
    owner: Any, name: str, schedule: Any, base: float, epoch: float, step: float, check: Check | None
) -> float:
    """What a schedule gives now, where that passes a check."""
    value = value_at(schedule, base, epoch, step)
    if check is not None and any(check.faults(value)):
        where = f" (from {type(schedule).__name__}, epoch {epoch}, step {step})"
        refuse(owner.classnm, name, value, f"must be {check.allowed}", where)
    return value


def _is_number(check: Check | None, value: Any) -> bool:
    """Whether an argument is a number that a step may have another of: no integer, no flag."""
    if check is None:  # not annotated
        return isinstance(value, float) or hasattr(value, "get_learning_rate")
    if isinstance(check, Either):
        return any(_is_number(one, value) for one in check.checks)
    return isinstance(check, Number) and not check.integer
