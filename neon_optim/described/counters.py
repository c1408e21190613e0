"""Counters: what optimizers, schedules and models remember from step to step, beside their arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neon_optim.errors import StateError, shown

__all__ = ["check_counters", "set_all_counters"]

_MOST = 2**63 - 1


def check_counters(who: str, own: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Counters that something shall take over, as it has them itself: the same names, values of the same types.

    An integer stays one, from 0 to 2⁶³ - 1. A float may be written as an integer, and is NaN only where it is already.

    Arguments:
        who: has the counters; for messages.
        own: those that it has now.
        given: those that it shall have.

    Raises:
        StateError: they do not fit; it says which and why.

    >>> check_counters("Adam", {"t": 3, "sum": 0.0}, {"t": 7, "sum": 1})
    {'t': 7, 'sum': 1.0}
    >>> check_counters("Adam", {"t": 3}, {"t": -1})
    Traceback (most recent call last):
    neon_optim.errors.StateError: Adam: counter 't' must be an integer from 0 to 2**63 - 1, received -1
    """
    if not isinstance(given, Mapping):
        raise StateError(f"{who} has the counters {_names(own)}, received {shown(given)}")
    if set(own) != set(given):
        raise StateError(f"{who} has the counters {_names(own)}, received {_names(given)}")
    return {name: _checked(who, name, now, given[name]) for name, now in own.items()}


def _checked(who: str, name: str, now: Any, new: Any) -> Any:
    if isinstance(now, Mapping):
        return check_counters(f"{who}: {name}", now, new)
    whole = type(new) is int and 0 <= new <= _MOST
    if type(now) is int:
        allowed, fits = "an integer from 0 to 2**63 - 1", whole
    elif isinstance(now, float):
        allowed, fits = "a number", isinstance(new, float) and (new == new or now != now)
        new = float(new) if fits or whole else new
        fits = fits or whole
    else:
        allowed, fits = f"of type {type(now).__name__}", type(new) is type(now)
    if not fits:
        raise StateError(f"{who}: counter {name!r} must be {allowed}, received {shown(new)}")
    return new


def _names(counters: Mapping[str, Any]) -> list[str]:
    return sorted(map(str, counters))


def set_all_counters(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Set the counters of several objects: all of them, or with an error none.

    Arguments:
        pairs: objects with ``get_counters()`` and ``set_counters(counters)``, each with its new counters.

    Raises:
        StateError: some do not fit.
    """
    before = [(counting, counting.get_counters()) for counting, _ in pairs]
    try:
        for counting, counters in pairs:
            counting.set_counters(counters)
    except BaseException:
        for counting, counters in before:
            counting.set_counters(counters)
        raise
