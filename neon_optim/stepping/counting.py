"""What an optimizer counts: the training state beside the arrays."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.counters import set_all_counters
from neon_optim.errors import StateError
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
            StateError: a counter is missing or is no number, or they are those of another optimizer.
        """
        expected = Counting.get_counters(self)
        if set(counters) != set(expected):
            raise StateError(
                f"{self.classnm} has the counters {sorted(expected)}, received {sorted(counters)}"
            )
        for name in ("t", *self.counters):
            if isinstance(counters[name], bool) or not isinstance(counters[name], (int, float)):
                raise StateError(
                    f"{self.classnm}: counter {name!r} must be a number, received {counters[name]!r}"
                )
        schedules = dict(self._schedules())
        given = counters.get("schedules", {})
        for name in given:
            if name not in schedules:
                raise StateError(f"{self.classnm} has no schedule at {name!r}; it has {sorted(schedules)}")
        set_all_counters([(schedules[name], state) for name, state in given.items()])
        for name in ("t", *self.counters):
            setattr(self, name, type(getattr(self, name))(counters[name]))

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
