"""Constructor arguments: what a class takes, and what is wrong with what it is given.

A class derived from `NervanaObject` states what it takes as annotated attributes (see
:mod:`neon_optim.described.fields`), or in the signature of an `__init__` that it writes out:

    class Decay(NervanaObject):
        rate: Positive
        floor: Fraction = 0.0
        name: Name = None

Every annotated argument is checked before the object is built, and one error lists everything that is wrong.
What annotations may say: :mod:`neon_optim.described.annotations`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from neon_optim.described import fields
from neon_optim.described.annotations import (
    AnySchedule,
    Flag,
    Fraction,
    Name,
    NonNegative,
    NonNegativeInt,
    OnNonFinite,
    Positive,
    PositiveInt,
    Real,
    RoundBits,
    Scheduled,
    ScheduleLike,
    check_of,
    evaluate,
)
from neon_optim.described.checks import Check, Following
from neon_optim.described.words import closest, suggestion
from neon_optim.errors import MISSING, ArgumentError, ArgumentTypeError, Problem

__all__ = [
    "REQUIRED",
    "AnySchedule",
    "Argument",
    "Flag",
    "Fraction",
    "Name",
    "NonNegative",
    "NonNegativeInt",
    "OnNonFinite",
    "Positive",
    "PositiveInt",
    "Real",
    "RoundBits",
    "ScheduleLike",
    "Scheduled",
    "argument_problems",
    "check_arguments",
    "check_of",
    "closest",
    "constructor_arguments",
    "field_arguments",
    "raise_problems",
    "suggestion",
    "takes_any_name",
]

REQUIRED = MISSING


@dataclass(frozen=True)
class Argument:
    """One constructor argument; `default` may be REQUIRED, `owner` is the class that states it."""

    name: str
    kind: Any
    default: Any
    annotation: Any
    check: Check | None
    owner: type

    @property
    def positional(self) -> bool:
        return self.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Arguments:
    """All arguments of a class, in order; `any_positional` / `any_keyword` where it takes whatever comes."""

    arguments: tuple[Argument, ...]
    any_positional: bool
    any_keyword: bool


def constructor_arguments(cls: type) -> dict[str, Argument]:
    """The arguments that `cls(...)` takes, by name, in order.

    Those of its fields; or those of its own `__init__`, then, where that ends in `**options`, as keyword-only ones
    those of the base class whose `__init__` receives them.

    >>> class Base:
    ...     def __init__(self, *, wdecay: NonNegative = 0.0): ...
    >>> class Rule(Base):
    ...     def __init__(self, rate: Positive, **options): ...
    >>> list(constructor_arguments(Rule))
    ['rate', 'wdecay']
    """
    return {argument.name: argument for argument in _arguments(cls).arguments}


def takes_any_name(cls: type) -> bool:
    """Whether `cls(...)` takes arguments of any name."""
    return _arguments(cls).any_keyword


@cache
def field_arguments(cls: type) -> dict[str, Argument]:
    """The arguments that the common `__init__` takes in objects of a class; a class without fields has a name."""
    kinds = inspect.Parameter
    first, rest = fields.in_order(cls)
    stated: list[tuple[fields.Field, Any]] = [(field, kinds.POSITIONAL_OR_KEYWORD) for field in first]
    stated += [(field, kinds.KEYWORD_ONLY) for field in rest]
    found = {
        field.name: Argument(
            field.name,
            kind,
            field.default,
            annotation := field.evaluated(),
            check_of(annotation),
            field.owner,
        )
        for field, kind in stated
    }
    if not found and fields.has_root(cls):
        root = next(base for base in cls.__mro__ if fields.is_root(base))
        found["name"] = Argument("name", kinds.POSITIONAL_OR_KEYWORD, None, Name, check_of(Name), root)
    return found


@cache
def _arguments(cls: type) -> Arguments:
    merged: dict[str, Argument] = {}
    take_positional = take_keyword = True
    for base in cls.__mro__:
        if base is object or not take_keyword:
            break
        function = vars(base).get("__init__")
        if function is None:
            continue
        if fields.is_root(base):
            stated = field_arguments(cls)
            kinds = {argument.kind for argument in stated.values()}
            if not fields.fields_of(cls) and not fields.takes_name(cls):
                stated = {}
        else:
            stated, kinds = _in_signature(function, base)
        for name, argument in stated.items():
            if not take_positional:
                argument = replace(argument, kind=inspect.Parameter.KEYWORD_ONLY)
            merged.setdefault(name, argument)
        take_positional = take_positional and inspect.Parameter.VAR_POSITIONAL in kinds
        take_keyword = inspect.Parameter.VAR_KEYWORD in kinds
    ordered = sorted(merged.values(), key=lambda argument: not argument.positional)
    return Arguments(tuple(ordered), take_positional, take_keyword)


def _in_signature(function: Any, owner: type) -> tuple[dict[str, Argument], set[Any]]:
    """The arguments of an `__init__` that is written out, and every kind of parameter it has."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    annotations = getattr(function, "__annotations__", {})
    names = getattr(function, "__globals__", {})
    found = {}
    for parameter in parameters:
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            name = parameter.name
            annotation = evaluate(annotations[name], names) if name in annotations else parameter.empty
            found[name] = Argument(
                name, parameter.kind, parameter.default, annotation, check_of(annotation), owner
            )
    return found, {parameter.kind for parameter in parameters}


def argument_problems(cls: type, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> list[Problem]:
    """Everything wrong with the arguments of `cls(*args, **kwargs)`, without calling it."""
    known = _arguments(cls)
    given, problems = bind(cls, known, args, kwargs or {})
    written = _written_init(cls)
    for index, argument in enumerate(known.arguments):
        if argument.name not in given:
            # one that a base takes by way of `**options` may be given by the `__init__` between them
            problems += missing_problems(argument) if written in (None, argument.owner) else []
            continue
        following: Following = ()
        if index == 0 and args and argument.positional:
            following = [(other.name, other.check) for other in known.arguments[1:]]
        problems += value_problems(cls, argument, given[argument.name], following)
    return problems


def _written_init(cls: type) -> type | None:
    """The class whose `__init__` an object of `cls` runs first, where that is written out."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return None if fields.is_root(owner) else owner


def bind(
    cls: type, known: Arguments, args: tuple, kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The values that are given, by name; and what is given twice, unknown or too much."""
    names = [argument.name for argument in known.arguments]
    positional = [argument.name for argument in known.arguments if argument.positional]
    problems: list[Problem] = []
    given = dict(zip(positional, args, strict=False))
    if len(args) > len(positional) and not known.any_positional:
        extra = args[len(positional)]
        text = f"is one too many: {cls.__name__} takes at most {len(positional)} positional arguments"
        problems.append(Problem(f"argument {len(positional) + 1}", extra, text, (), True))
    by_position = set(given)
    for name, value in kwargs.items():
        if name in by_position:
            problems.append(Problem(name, value, "is given twice, by position and by name", (), True))
        elif name in names or known.any_keyword:
            given[name] = value
        else:
            hint = suggestion(str(name), names) or f"; it takes {', '.join(names) or 'none'}"
            problems.append(Problem(str(name), value, f"is no argument of {cls.__name__}", (), True, hint))
    return given, problems


def missing_problems(argument: Argument) -> list[Problem]:
    """One problem where a value is required: it is missing."""
    if argument.default is not REQUIRED:
        return []
    wanted = f"; it must be {argument.check.allowed}" if argument.check else ""
    return [Problem(argument.name, MISSING, f"is missing{wanted}", (), True)]


def value_problems(cls: type, argument: Argument, value: Any, following: Following = ()) -> list[Problem]:
    """What is wrong with a value for an argument; `following` as for :meth:`Check.hint`."""
    check = argument.check
    if check is None:
        return []
    hint = check.hint(cls.__name__, following, value) if following else ""
    return [problem._replace(argument=argument.name, hint=hint) for problem in check.faults(value)]


def raise_problems(owner: str, problems: list[Problem]) -> None:
    """Raise one `ArgumentError` that lists `problems`, if any (TypeError too if a type is wrong)."""
    if not problems:
        return
    if len(problems) == 1:
        message = f"{owner}: {problems[0]}"
    else:
        message = "\n".join(
            [f"{owner}: {len(problems)} bad arguments", *(f"  {problem}" for problem in problems)]
        )
    raise (ArgumentTypeError if any(p.wrong_type for p in problems) else ArgumentError)(message, problems)


def refuse(owner: str, argument: str, value: object, allowed: str, hint: str = "") -> None:
    """Raise the error for an argument that is not what must be."""
    raise_problems(owner, [Problem(argument, value, allowed, hint=hint)])


def require(owner: str, argument: str, value: object, check: Check) -> None:
    """Check the argument of a method, as a constructor's is checked."""
    if any(check.faults(value)):
        refuse(owner, argument, value, f"must be {check.allowed}")


def check_arguments(cls: type, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> None:
    """Raise one error that lists everything wrong with the arguments of `cls(*args, **kwargs)`."""
    raise_problems(cls.__name__, argument_problems(cls, args, kwargs))
