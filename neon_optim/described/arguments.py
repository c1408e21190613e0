"""Checks of constructor arguments, written as annotations.

A class derived from `NervanaObject` states what it takes in the signature of its `__init__`; every annotated
argument is checked before `__init__` runs, and one error lists everything that is wrong:

    class Decay(NervanaObject):
        def __init__(self, rate: Positive, floor: Fraction = 0.0, name: Name = None) -> None: ...

Understood are the names below, `Literal`, `|`, `None`, `bool`, `int`, `float`, `str`, classes, protocols with
one method, `list[...]`, `tuple[..., ...]`, `Sequence[...]`, `dict[str, ...]` and `Mapping[str, ...]`.
Anything else is not checked. `Scheduled[Positive]` is a number > 0 or an object with a method
`get_learning_rate`.
"""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union

from neon_optim.described.checks import (
    Bits,
    Check,
    Choice,
    Either,
    Having,
    Instance,
    Items,
    Nothing,
    Number,
    Table,
    Text,
    Truth,
)
from neon_optim.errors import MISSING, ArgumentError, ArgumentTypeError, Problem

REQUIRED = MISSING


class ScheduleLike(Protocol):
    """What counts as a schedule: anything that has this method."""

    def get_learning_rate(self, learning_rate: float, epoch: int) -> float: ...


_Value = TypeVar("_Value")

Real = Annotated[float, Number()]
Positive = Annotated[float, Number(gt=0)]
NonNegative = Annotated[float, Number(ge=0)]
Fraction = Annotated[float, Number(ge=0, lt=1)]
PositiveInt = Annotated[int, Number(ge=1, integer=True)]
NonNegativeInt = Annotated[int, Number(ge=0, integer=True)]
Flag = Annotated[bool, Truth()]
RoundBits = Annotated[bool | int, Bits()]
Name = Annotated[str | None, Either(Text(), Nothing())]
AnySchedule = Annotated[ScheduleLike, Having("get_learning_rate", kind="schedule", called="a schedule")]
Scheduled = Union[_Value, AnySchedule]  # noqa: UP007 (a generic alias)
OnNonFinite = Literal["raise", "skip", "ignore"]


def check_of(annotation: object) -> Check | None:
    """The check that an annotation stands for, or None where it says nothing that can be checked.

    >>> check_of(Positive | None).allowed
    'a number > 0 or None'
    >>> check_of(dict[str, Fraction]).allowed
    'a mapping (each value a number in [0, 1))'
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return next((item for item in inner[1:] if isinstance(item, Check)), check_of(inner[0]))
    if origin in (Union, types.UnionType):
        checks = [check_of(item) for item in inner]
        known = [check for check in checks if check is not None]
        return Either(*known) if len(known) == len(checks) else None
    if origin is Literal:
        return Choice(*inner)
    container = origin or annotation
    if container in (list, collections.abc.Sequence):
        return Items(check_of(inner[0]) if inner else None)
    if container is tuple:
        if not inner or inner[-1] is Ellipsis:
            return Items(check_of(inner[0]) if inner else None)
        return Items(check_of(inner[0]) if len(set(inner)) == 1 else None, length=len(inner))
    if container in (dict, collections.abc.Mapping):
        return Table(check_of(inner[1]) if inner else None)
    if container is collections.abc.Callable:
        return Having("__call__", called="a function")
    return _check_of_class(annotation)


def _check_of_class(annotation: object) -> Check | None:
    plain: dict[object, Callable[[], Check]] = {
        bool: Truth,
        int: lambda: Number(integer=True),
        float: Number,
        str: lambda: Text(empty=True),
        None: Nothing,
        type(None): Nothing,
    }
    try:
        if annotation in plain:
            return plain[annotation]()
    except TypeError:
        return None
    if not isinstance(annotation, type) or annotation in (object, Any, inspect.Parameter.empty):
        return None
    if getattr(annotation, "_is_protocol", False):
        methods = [name for name, value in vars(annotation).items() if _is_method(name, value)]
        return Having(*methods) if methods else None
    return Instance(annotation)


def _is_method(name: str, value: object) -> bool:
    return inspect.isfunction(value) and not name.startswith("_")


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

    Those of its own `__init__`, then, where that ends in
    `**options`, as keyword-only ones those of the base class whose `__init__` receives them.

    >>> class Base:
    ...     def __init__(self, *, wdecay: NonNegative = 0.0): ...
    >>> class Rule(Base):
    ...     def __init__(self, rate: Positive, **options): ...
    >>> list(constructor_arguments(Rule))
    ['rate', 'wdecay']
    """
    return {argument.name: argument for argument in _arguments(cls).arguments}


@cache
def _arguments(cls: type) -> Arguments:
    merged: dict[str, Argument] = {}
    take_positional = take_keyword = True
    for base in cls.__mro__:
        if base is object or not (take_positional or take_keyword):
            break
        function = vars(base).get("__init__")
        if function is None:
            continue
        parameters = list(inspect.signature(function).parameters.values())[1:]
        hints = _hints(function)
        kinds = {parameter.kind for parameter in parameters}
        for parameter in parameters:
            if (
                parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
                or parameter.name in merged
            ):
                continue
            kind = parameter.kind if take_positional else parameter.KEYWORD_ONLY
            annotation = hints.get(parameter.name, parameter.empty)
            merged[parameter.name] = Argument(
                parameter.name, kind, parameter.default, annotation, check_of(annotation), base
            )
        take_positional = take_positional and inspect.Parameter.VAR_POSITIONAL in kinds
        take_keyword = take_keyword and inspect.Parameter.VAR_KEYWORD in kinds
        if not take_keyword:
            break
    ordered = sorted(merged.values(), key=lambda argument: not argument.positional)
    return Arguments(tuple(ordered), take_positional, take_keyword)


def _hints(function: Any) -> dict[str, Any]:
    """The evaluated annotations of a function; those that cannot be evaluated are left out."""
    hints = {}
    names = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        # Not of the function itself: Python 3.10 adds "or None" where the default is None.
        single = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints.update(typing.get_type_hints(single, names, include_extras=True))
        except (NameError, TypeError, AttributeError):
            continue
    return hints


def closest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something similar is known, else nothing.

    >>> closest("learning_rat", ["learning_rate", "beta_1"])
    "; did you mean 'learning_rate'?"
    """
    by_lower = {item.lower(): item for item in known}
    found = difflib.get_close_matches(name.lower()[:200], by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[found[0]]}'?" if found else ""


def argument_problems(cls: type, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> list[Problem]:
    """Everything wrong with the arguments of `cls(*args, **kwargs)`, without calling it."""
    kwargs = kwargs or {}
    known = _arguments(cls)
    by_name = {argument.name: argument for argument in known.arguments}
    positional = [argument for argument in known.arguments if argument.positional]
    problems: list[Problem] = []
    given = dict(zip((argument.name for argument in positional), args, strict=False))
    if len(args) > len(positional) and not known.any_positional:
        extra = args[len(positional)]
        text = f"is one too many: {cls.__name__} takes at most {len(positional)} positional arguments"
        problems.append(Problem(f"argument {len(positional) + 1}", extra, text, (), True))
    by_position = set(given)
    for name, value in kwargs.items():
        if name in by_position:
            problems.append(Problem(name, value, "is given twice, by position and by name", (), True))
        elif name in by_name or known.any_keyword:
            given[name] = value
        else:
            hint = closest(str(name), by_name) or f"; it takes {', '.join(by_name) or 'none'}"
            problems.append(Problem(str(name), value, f"is no argument of {cls.__name__}", (), True, hint))
    for index, argument in enumerate(known.arguments):
        if argument.name not in given:
            if argument.default is REQUIRED:
                wanted = f"; it must be {argument.check.allowed}" if argument.check else ""
                problems.append(Problem(argument.name, MISSING, f"is missing{wanted}", (), True))
            continue
        if argument.check is None:
            continue
        value = given[argument.name]
        for fault in argument.check.faults(value):
            hint = ""
            if index == 0 and argument.name in by_position:
                hint = argument.check.hint(cls.__name__, list(known.arguments[1:]), value)
            problems.append(
                Problem(argument.name, fault.received, fault.allowed, fault.path, fault.wrong_type, hint)
            )
    return problems


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


def check_arguments(cls: type, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> None:
    """Raise one error that lists everything wrong with the arguments of `cls(*args, **kwargs)`."""
    raise_problems(cls.__name__, argument_problems(cls, args, kwargs))
