"""The values of fields: set by the common constructor, and later one by one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from neon_optim.described.arguments import (
    Argument,
    Arguments,
    bind,
    constructor_arguments,
    field_arguments,
    missing_problems,
    raise_problems,
    value_problems,
)
from neon_optim.described.fields import dropped_fields, fields_of, is_written_out
from neon_optim.errors import MISSING


def set_fields(thing: Any, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Give every field its value or its default."""
    cls: type = type(thing)
    arguments = field_arguments(cls)
    given, problems = bind(cls, Arguments(tuple(arguments.values()), False, False), args, kwargs)
    problems += [
        problem
        for argument in arguments.values()
        if argument.name not in given
        for problem in missing_problems(argument)
    ]
    raise_problems(cls.__name__, problems)
    for name, argument in arguments.items():
        setattr(thing, name, _kept(thing, argument, given.get(name, argument.default)))


def _kept(thing: Any, argument: Argument, value: Any) -> Any:
    if argument.name == "name" and value is None:
        return thing.new_name()
    return value if argument.check is None else argument.check.kept(value)


@cache
def settings_of(cls: type) -> dict[str, Argument | None]:
    """What is counted when it is set: the fields with their checks; None for what a written-out `__init__` takes."""
    fields = field_arguments(cls)
    arguments = constructor_arguments(cls)
    written = {name: argument if name in fields else None for name, argument in arguments.items()}
    return {**fields, **written}


def assign(thing: Any, name: str, value: Any) -> None:
    """Set a setting of a finished object: nothing is changed where the value, or what it goes with, does not fit."""
    cls: type = type(thing)
    values = vars(thing)
    argument = settings_of(cls)[name]
    if argument is None:
        object.__setattr__(thing, name, value)
    else:
        raise_problems(cls.__name__, value_problems(cls, argument, value))
        before = values.get(name, MISSING)
        object.__setattr__(thing, name, _kept(thing, argument, value))
        try:
            thing.check_fields()
        except BaseException:
            if before is MISSING:
                values.pop(name, None)
            else:
                values[name] = before
            raise
    values["_changes"] += 1


def is_unknown(thing: Any, name: str) -> bool:
    """Is this, in a finished object of a closed class, an attribute that it does not have?"""
    cls: type = type(thing)
    values = vars(thing)
    if name in values or name.startswith("_") or "_changes" not in values:
        return False
    return not _has_attribute(cls, name)


@cache
def _has_attribute(cls: type, name: str) -> bool:
    if not fields_of(cls) or is_written_out(cls):
        return True
    return name not in dropped_fields(cls) and inspect.getattr_static(cls, name, MISSING) is not MISSING
