"""What the annotations of constructor arguments may say, and the checks that they stand for.

Understood are the names below, `Literal`, `|`, `None`, `bool`, `int`, `float`, `str`, classes, protocols with
one method, `list[...]`, `tuple[..., ...]`, `Sequence[...]`, `dict[str, ...]` and `Mapping[str, ...]`.
Anything else is not checked. `Scheduled[Positive]` is a number > 0 or an object with a method
`get_learning_rate`.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
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
            return Items(check_of(inner[0]) if inner else None, kept_as=tuple)
        item = check_of(inner[0]) if len(set(inner)) == 1 else None
        return Items(item, length=len(inner), kept_as=tuple)
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


def evaluate(annotation: Any, names: dict[str, Any], local: Mapping[str, Any] | None = None) -> Any:
    """What an annotation written as a string stands for; one that cannot be evaluated stays a string."""
    # Not of the function or class itself: Python 3.10 adds "or None" where the default is None.
    single = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(single, names, local, include_extras=True)["it"]
    except Exception:  # whatever the text does: an annotation that says nothing leaves its value unchecked
        return annotation
