"""Fields: the constructor arguments that a class states as annotated attributes.

    class Momentum(Rule):
        rate: Positive = 0.1
        _: KW_ONLY
        coef: Fraction = 0.9

Every annotation in the body is a field, unless it is a `ClassVar`, its name starts with `_`, or the body has an
`__init__`. The attribute is the default; without one the argument is required. The fields of base classes come
first; those after `_: KW_ONLY` are given by name. `positional` replaces all of that: these names, in this
order, may be given by position, all others by name only. An attribute without annotation gives an inherited
field another default; a property of its name takes its place, so that it is no argument any more.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from typing import Any, ClassVar

from neon_optim.described.annotations import evaluate
from neon_optim.errors import MISSING

_CLASS_VARIABLE = re.compile(r"(\w+\.)*ClassVar(\[|$)")
_KEYWORD_ONLY = re.compile(r"(\w+\.)*KW_ONLY")


@dataclass
class Field:
    """One annotated attribute: its default (or MISSING), and the class that states it."""

    name: str
    annotation: Any
    default: Any
    keyword_only: bool
    owner: type
    names: dict[str, Any]

    def evaluated(self) -> Any:
        """The annotation; if it is still a string, what that stands for in the module of the class."""
        if isinstance(self.annotation, (str, typing.ForwardRef)):
            self.annotation = evaluate(self.annotation, self.names)
        return self.annotation


def state_fields(cls: Any, inherit: bool) -> None:
    """Read the fields in the body of a new class, and refuse what makes no constructor.

    With `inherit` False the fields of base classes are no arguments of this class.
    """
    cls._own_fields = {} if "__init__" in vars(cls) else _in_body(cls)
    cls._inherits_fields = inherit
    if cls._own_fields:
        _refuse_beside_init(cls)
    if cls._own_fields or "positional" in vars(cls):
        _refuse_disorder(cls)


def _in_body(cls: type) -> dict[str, Field]:
    found: dict[str, Field] = {}
    names, local = _scope(cls)
    keyword_only = False
    for name, annotation in _annotations(cls).items():
        if annotation is KW_ONLY or (isinstance(annotation, str) and _KEYWORD_ONLY.fullmatch(annotation)):
            keyword_only = True
        elif not name.startswith("_") and not _is_class_variable(annotation):
            default = vars(cls).get(name, MISSING)
            if type(default).__hash__ is None:
                kind = type(default).__name__
                raise TypeError(
                    f"{cls.__name__}: the default of '{name}' is a {kind}, which all objects would share;"
                    " use a tuple or None"
                )
            evaluated = evaluate(annotation, names, local)
            found[name] = Field(name, evaluated, default, keyword_only, cls, names)
    return found


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return dict(vars(cls).get("__annotations__", {}))


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _CLASS_VARIABLE.match(annotation) is not None
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _scope(cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Global and local names where the class statement stands."""
    frame = sys._getframe(1)
    while frame is not None:
        inside = frame.f_code.co_name in ("__init_subclass__", "__new__")
        if frame.f_globals.get("__name__") == cls.__module__ and not inside:
            return frame.f_globals, {**frame.f_locals, **vars(cls)}
        frame = frame.f_back  # type: ignore[assignment]
    return vars(sys.modules.get(cls.__module__, sys.modules[__name__])), dict(vars(cls))


def is_root(cls: type) -> bool:
    """Is this the class whose `__init__` sets fields?"""
    return "_fields_root" in vars(cls)


def has_root(cls: type) -> bool:
    """Can this class state fields?"""
    return hasattr(cls, "_fields_root")


def init_owner(cls: type) -> type:
    """The class whose `__init__` runs first."""
    return next(base for base in cls.__mro__ if "__init__" in vars(base))


def is_written_out(cls: type) -> bool:
    """Does a class have, or inherit, an `__init__` other than the common one?"""
    return not is_root(init_owner(cls))


def takes_name(cls: Any) -> bool:
    """Does a class without fields take a name?"""
    return is_written_out(cls) or not cls._named_by_class


def declaring(cls: type) -> list[type]:
    """The bases, in order, whose fields the common `__init__` sets: those behind the last other `__init__`."""
    found: list[type] = []
    for base in cls.__mro__:
        if is_root(base):
            return found
        found = [] if "__init__" in vars(base) else [*found, base]
    return []


@cache
def fields_of(cls: type) -> dict[str, Field]:
    """The fields that the common `__init__` sets in objects of a class, by name."""
    found: dict[str, Field] = {}
    for base in reversed(declaring(cls)):
        body, own = vars(base), vars(base).get("_own_fields", {})
        if body.get("_inherits_fields") is False:
            found.clear()
        for name in [name for name in found if name in body and name not in own]:
            if hasattr(type(body[name]), "__get__"):
                del found[name]
            else:
                found[name] = replace(found[name], default=body[name])
        found |= own
    return found


def dropped_fields(cls: type) -> set[str]:
    """Fields of bases that are no arguments of a class with `inherit_fields=False`, nor properties of it."""
    stated = {name for base in declaring(cls) for name in vars(base).get("_own_fields", {})}
    dropped = stated - set(fields_of(cls))
    return {name for name in dropped if not hasattr(type(inspect.getattr_static(cls, name, None)), "__get__")}


def in_order(cls: type) -> tuple[list[Field], list[Field]]:
    """The fields that may be given by position, and those that are given by name only."""
    fields = fields_of(cls)
    by_position = _positional(cls)
    if by_position is None:
        first = [field for field in fields.values() if not field.keyword_only]
        return first, [field for field in fields.values() if field.keyword_only]
    first = [fields[name] for name in by_position if name in fields]
    return first, [field for field in fields.values() if field.name not in by_position]


def _positional(cls: type) -> tuple[str, ...] | None:
    for base in declaring(cls):
        if "positional" in vars(base):
            return tuple(vars(base)["positional"])
    return None


def _refuse_beside_init(cls: type) -> None:
    if is_written_out(cls):
        written = init_owner(cls)
        names = ", ".join(map(repr, vars(cls)["_own_fields"]))
        raise TypeError(
            f"{cls.__name__} states the fields {names}, but inherits the __init__ that {written.__name__} writes out,"
            f" which cannot set them: give {cls.__name__} an __init__ too, or state the arguments of"
            f" {written.__name__} as fields; an attribute that is no argument is a ClassVar"
        )


def _refuse_disorder(cls: type) -> None:
    unknown = [name for name in vars(cls).get("positional", ()) if name not in fields_of(cls)]
    if unknown:
        raise TypeError(f"{cls.__name__}: positional names {unknown[0]!r}, which is no field")
    optional = ""
    for field in in_order(cls)[0]:
        if field.default is not MISSING:
            optional = optional or field.name
        elif optional:
            raise TypeError(
                f"{cls.__name__}: the required field '{field.name}' follows '{optional}', which has a default;"
                " put it behind `_: KW_ONLY`, or set the order with `positional`"
            )
