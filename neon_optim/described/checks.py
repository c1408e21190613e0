"""Checks: conditions on one value, which say in words what they let through."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.described.values import python_numbers
from neon_optim.errors import Problem


class Check:
    """One condition on a value. A subclass gives `allowed` (it follows "must be") and `verdict`."""

    allowed: str = "anything"

    def verdict(self, value: object) -> str | None:
        """None where the value is fine, else 'type' or 'value'."""
        return None

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        """Everything wrong with `value`, nested values included; the argument is still without a name."""
        verdict = self.verdict(value)
        if verdict is not None:
            yield Problem("", value, f"must be {self.allowed}", path, verdict == "type")

    def kept(self, value: Any) -> Any:
        """What an object keeps of a value that passed: Python's numbers for NumPy's, lists and tables of its own."""
        return python_numbers(value)

    def hint(self, owner: str, following: Following, value: object) -> str:
        """More advice, for a bad value that was given by position."""
        return ""

    def schema(self, object_of: SchemaOfKind) -> Schema:
        """What YAML may hold here, as a JSON Schema; it refuses nothing that this check lets through.

        Arguments:
            object_of: gives the schema of what stands for an object of a kind.
        """
        return {}


Following = Sequence[tuple[str, Check | None]]
"""Names and checks of the arguments that come next."""

Schema = dict[str, Any]
SchemaOfKind = Callable[[str], Schema]


class Number(Check):
    """A number (Python or NumPy; bool is none) between bounds; `integer` for whole numbers only."""

    def __init__(
        self,
        gt: float | None = None,
        ge: float | None = None,
        lt: float | None = None,
        le: float | None = None,
        *,
        integer: bool = False,
        finite: bool = True,
    ) -> None:
        self.gt, self.ge, self.lt, self.le = gt, ge, lt, le
        self.integer, self.finite = integer, finite
        numbers: tuple[type, ...] = (int, np.integer)
        self._types = numbers if integer else (*numbers, float, np.floating)
        self.allowed = ("an integer" if integer else "a number") + self._bounds()

    def _bounds(self) -> str:
        low, high = (self.gt if self.ge is None else self.ge), (self.lt if self.le is None else self.le)
        if low is not None and high is not None:
            opening, closing = ("(" if self.ge is None else "["), (")" if self.le is None else "]")
            return f" in {opening}{low:g}, {high:g}{closing}"
        if low is not None:
            return f" {'>' if self.ge is None else '>='} {low:g}"
        if high is not None:
            return f" {'<' if self.le is None else '<='} {high:g}"
        return ""

    def verdict(self, value: object) -> str | None:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, self._types):
            return "type"
        number = typing.cast(float, value)
        if self.finite and not _is_finite(number):
            return "value"
        low = (self.gt is None or number > self.gt) and (self.ge is None or number >= self.ge)
        high = (self.lt is None or number < self.lt) and (self.le is None or number <= self.le)
        return None if low and high else "value"

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        for fault in super().faults(value, path):
            known_bad = fault.wrong_type or not self.finite or _is_finite(typing.cast(float, value))
            yield fault if known_bad else fault._replace(allowed=f"must be finite: {self.allowed}")

    def schema(self, object_of: SchemaOfKind) -> Schema:
        bounds = {
            "exclusiveMinimum": self.gt,
            "minimum": self.ge,
            "exclusiveMaximum": self.lt,
            "maximum": self.le,
        }
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        return {"type": "integer" if self.integer else "number", **given}


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of floats
        return False


class Bits(Check):
    """neon's `stochastic_round`: False, True, or the number of mantissa bits to keep, 1 to 23."""

    allowed = "False, True or a number of bits from 1 to 23"

    def verdict(self, value: object) -> str | None:
        if isinstance(value, (bool, np.bool_)):
            return None
        return None if isinstance(value, (int, np.integer)) and 1 <= value <= 23 else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 23}]}

    def hint(self, owner: str, following: Following, value: object) -> str:
        for name, check in following:
            if name != "name" and check and not any(check.faults(value)):
                return (
                    f": the first argument of {owner} is stochastic_round, as in neon;"
                    f" pass {name} by name: {owner}({name}={value!r})"
                )
        return ""


class Truth(Check):
    """True or False, of Python or NumPy."""

    allowed = "True or False"

    def verdict(self, value: object) -> str | None:
        return None if isinstance(value, (bool, np.bool_)) else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"type": "boolean"}


class Text(Check):
    """A string that is not empty (`empty=True`: any string)."""

    def __init__(self, *, empty: bool = False) -> None:
        self.empty = empty
        self.allowed = "a string" if empty else "a string that is not empty"

    def verdict(self, value: object) -> str | None:
        if not isinstance(value, str):
            return "type"
        return None if value or self.empty else "value"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"type": "string"} if self.empty else {"type": "string", "minLength": 1}


class Nothing(Check):
    """None."""

    allowed = "None"

    def verdict(self, value: object) -> str | None:
        return None if value is None else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"type": "null"}


class Choice(Check):
    """One of a few plain values."""

    def __init__(self, *choices: object) -> None:
        self.choices = choices
        self.allowed = ("one of " if len(choices) > 1 else "") + ", ".join(map(repr, choices))

    def verdict(self, value: object) -> str | None:
        if any(type(value) is type(choice) and value == choice for choice in self.choices):
            return None
        return "value" if any(type(value) is type(choice) for choice in self.choices) else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"enum": list(self.choices)}


class Instance(Check):
    """An object of a class. `kind` is what the registry looks for where a bare name stands for the object."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.kind: str | None = getattr(cls, "kind", None)
        article = "an" if cls.__name__[:1] in "AEIOU" else "a"
        self.allowed = f"{article} {cls.__name__}"

    def verdict(self, value: object) -> str | None:
        return None if isinstance(value, self.cls) else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return object_of(self.kind) if self.kind else {}


class OfKind(Check):
    """An object of a kind ('layer', 'cost', …), whatever its class."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.allowed = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"

    def verdict(self, value: object) -> str | None:
        fits = not isinstance(value, type) and getattr(value, "kind", None) == self.kind
        return None if fits else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return object_of(self.kind)


class Having(Check):
    """Any object with the methods named; `kind` as in `Instance`."""

    def __init__(self, *methods: str, kind: str | None = None, called: str = "") -> None:
        self.methods, self.kind = methods, kind
        self.allowed = called or "an object with " + " and ".join(f"{name}()" for name in methods)

    def verdict(self, value: object) -> str | None:
        if isinstance(value, type):
            return "type"
        return None if all(callable(getattr(value, name, None)) for name in self.methods) else "type"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return object_of(self.kind) if self.kind else {}


class Items(Check):
    """A list or tuple (of `length` items, where given) whose items all satisfy one check."""

    def __init__(
        self, item: Check | None, length: int | None = None, arrays: bool = False, kept_as: type = list
    ) -> None:
        self.item, self.length, self.kept_as = item, length, kept_as
        self._types: tuple[type, ...] = (list, tuple, np.ndarray) if arrays else (list, tuple)
        count = "" if length is None else f" of {length} items"
        self.allowed = f"a list{count}" + (f" (each item {item.allowed})" if item else "")

    def verdict(self, value: object) -> str | None:
        if not isinstance(value, self._types):
            return "type"
        return None if self.length in (None, len(typing.cast(list, value))) else "value"

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        yield from super().faults(value, path)
        if self.item and self.verdict(value) is None:
            for index, item in enumerate(typing.cast(Iterable, value)):
                yield from self.item.faults(item, (*path, index))

    def kept(self, value: Any) -> Any:
        return self.kept_as(self.item.kept(item) if self.item else python_numbers(item) for item in value)

    def schema(self, object_of: SchemaOfKind) -> Schema:
        items = {"items": self.item.schema(object_of)} if self.item else {}
        count = {} if self.length is None else {"minItems": self.length, "maxItems": self.length}
        return {"type": "array", **items, **count}


class Table(Check):
    """A mapping from strings to values that all satisfy one check."""

    def __init__(self, item: Check | None) -> None:
        self.item = item
        self.allowed = "a mapping" + (f" (each value {item.allowed})" if item else "")

    def verdict(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else "type"

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        yield from super().faults(value, path)
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    yield Problem("", key, "must have strings as keys", path, True)
                elif self.item:
                    yield from self.item.faults(item, (*path, key))

    def kept(self, value: Any) -> Any:
        return {key: self.item.kept(item) if self.item else item for key, item in value.items()}

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {
            "type": "object",
            **({"additionalProperties": self.item.schema(object_of)} if self.item else {}),
        }


class Either(Check):
    """At least one of several checks holds."""

    def __init__(self, *checks: Check) -> None:
        self.checks = tuple(sorted(checks, key=lambda check: isinstance(check, Nothing)))
        names = [check.allowed for check in self.checks]
        self.allowed = ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) > 1 else names[0]

    def verdict(self, value: object) -> str | None:
        verdicts = [check.verdict(value) for check in self.checks]
        return None if None in verdicts else "value" if "value" in verdicts else "type"

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        found = [list(check.faults(value, path)) for check in self.checks]
        if all(found):
            if any(fault.allowed.startswith("must be finite") for faults in found for fault in faults):
                yield Problem("", value, f"must be finite: {self.allowed}", path)
                return
            inside = [faults for faults in found if all(len(fault.path) > len(path) for fault in faults)]
            yield from inside[0] if len(inside) == 1 else super().faults(value, path)
            if len(inside) > 1:
                yield Problem("", value, f"must be {self.allowed}", path)

    def kept(self, value: Any) -> Any:
        return next((check.kept(value) for check in self.checks if not any(check.faults(value))), value)

    def hint(self, owner: str, following: Following, value: object) -> str:
        return next((text for check in self.checks if (text := check.hint(owner, following, value))), "")

    def schema(self, object_of: SchemaOfKind) -> Schema:
        built = any(
            getattr(check, "kind", None) for check in self.checks
        )  # a description stands for one of these
        checks = [check for check in self.checks if not (built and _is_of_no_kind(check))]
        return {"anyOf": [check.schema(object_of) for check in checks]}


def _is_of_no_kind(check: Check) -> bool:
    """Whether a check is of objects that no file can describe."""
    return isinstance(check, (Instance, Having)) and check.kind is None
