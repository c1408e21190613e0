"""What an optimizer counts: the training state beside the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.counters import check_counters, set_all_counters
from neon_optim.errors import StateError, shown
from neon_optim.schedules import BaseSchedule

__all__ = ["Counting"]


class Counting:
    """What of an optimizer and of its schedules changes from step to step, beside the arrays."""

    t: int
    classnm: Any
    counters: ClassVar[tuple[str, ...]] = ()
    """Attributes that, beside ``t``, change from step to step: ``prepare`` gives what they are after the step."""

    def commit(self, now: Any) -> None:
        """A step with these numbers is done: its counters become those of the optimizer."""
        mine = vars(self)
        mine["t"] = now.t
        for name in self.counters:
            mine[name] = getattr(now, name)

    def get_counters(self) -> dict[str, Any]:
        """Everything that belongs to the training state beside the arrays: JSON-able."""
        counters = {name: getattr(self, name) for name in ("t", *self.counters)}
        schedules = {name: schedule.get_counters() for name, schedule in self._schedules()}
        stateful = {name: state for name, state in schedules.items() if state}
        return {**counters, "schedules": stateful} if stateful else counters

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave.

        Raises:
            StateError: a counter is missing or can have no such value, or they are those of another optimizer.
        """
        own, given = Counting.get_counters(self), counters
        remembering, remembered = own.pop("schedules", {}), {}
        if remembering and isinstance(counters, Mapping):
            given = {name: value for name, value in counters.items() if name != "schedules"}
            remembered = counters.get("schedules", {})
            if not isinstance(remembered, Mapping) or set(remembered) != set(remembering):
                raise StateError(
                    f"{self.classnm} has schedules that remember at {sorted(remembering)}, received {shown(remembered)}"
                )
        checked = check_counters(self.classnm, own, given)
        schedules = dict(self._schedules())
        set_all_counters([(schedules[name], remembered[name]) for name in remembering])
        vars(self).update(checked)

    def observe(self, metric: float) -> None:
        """Tell the schedules that wait for it (Plateau) the validation metric; once an epoch, as a rule."""
        for schedule in {id(schedule): schedule for schedule in self.all_schedules()}.values():
            schedule.observe(metric)

    def all_schedules(self) -> list[BaseSchedule]:
        """The schedules of this optimizer and of those inside it."""
        return [schedule for _, schedule in self._schedules()]

    def _schedules(self) -> list[tuple[str, BaseSchedule]]:
        given = {name: getattr(self, name, None) for name in constructor_arguments(type(self))}
        return [(name, value) for name, value in given.items() if isinstance(value, BaseSchedule)]
