"""Whether two runs have the same settings, and what differs where they have not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from neon_optim.errors import shown

__all__ = ["ChangedSetting", "around", "differences"]

_ABSENT = object()
_BEFORE, _WIDTH = 20, 80


class ChangedSetting(NamedTuple):
    """A setting of which two runs have two values: where it stands, and both as text."""

    path: str
    stored: str
    given: str

    def __str__(self) -> str:
        return f"{self.path}: {self.stored} in the run, {self.given} now"


def differences(stored: Any, given: Any, path: str = "") -> Iterator[ChangedSetting]:
    """The innermost values that differ. `Kaiming`, `{type: Kaiming}` and `{type: Kaiming, config: {}}` are the same.

    >>> for difference in differences({"a": [{"b": 1}, "X"]}, {"a": [{"b": 2}, {"type": "X"}], "c": 3}):
    ...     print(difference)
    a[0].b: 1 in the run, 2 now
    c: not given in the run, 3 now
    """
    stored, given = _alike(stored, given, path)
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for key in [*stored, *(key for key in given if key not in stored)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(stored.get(key, _ABSENT), given.get(key, _ABSENT), inner)
    elif isinstance(stored, list) and isinstance(given, list):
        for index in range(max(len(stored), len(given))):
            one = stored[index] if index < len(stored) else _ABSENT
            other = given[index] if index < len(given) else _ABSENT
            yield from differences(one, other, f"{path}[{index}]")
    elif not _equal(stored, given):
        yield ChangedSetting(path, *_texts(stored, given))


def _equal(stored: Any, given: Any) -> bool:
    if isinstance(stored, bool) != isinstance(given, bool):  # round to as many bits as there are, or to one
        return False
    both_nan = stored != stored and given != given
    return bool(stored == given) or both_nan


def _alike(stored: Any, given: Any, path: str) -> tuple[Any, Any]:
    """Two values in the same spelling, where one of them is the name of an object and the other describes it."""
    if path == "dataset":
        return _dataset(stored), _dataset(given)
    if isinstance(stored, Mapping) and "type" in stored and isinstance(given, (str, Mapping)):
        return _object(stored), _object(given)
    if isinstance(given, Mapping) and "type" in given and isinstance(stored, str):
        return _object(stored), _object(given)
    return stored, given


def _object(value: Any) -> Any:
    if isinstance(value, str):
        return {"type": value}
    return {key: item for key, item in value.items() if key != "config" or item}


def _dataset(value: Any) -> Any:
    """`digits`, `{name: digits}` and `{type: digits, config: {}}` in the second spelling."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "type" in value:
        return {"name": value["type"], **(value.get("config") or {})}
    return value


def _texts(stored: Any, given: Any) -> tuple[str, str]:
    """Both values on one line each."""
    return around(
        *("not given" if value is _ABSENT else shown(value, limit=10**6) for value in (stored, given))
    )


def around(one: str, other: str) -> tuple[str, str]:
    """Two texts; long ones from shortly before the place where they differ."""
    shortest = min(len(one), len(other))
    place = next((k for k in range(shortest) if one[k] != other[k]), shortest)
    return _window(one, place), _window(other, place)


def _window(text: str, place: int) -> str:
    if len(text) <= _WIDTH:
        return text
    begin = max(0, min(place - _BEFORE, len(text) - _WIDTH))
    head, tail = "…" if begin else "", "…" if begin + _WIDTH < len(text) else ""
    return f"{head}{text[begin : begin + _WIDTH]}{tail}"
