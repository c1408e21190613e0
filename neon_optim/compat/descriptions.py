"""Descriptions as neon writes them, with its names of classes, and the objects that they stand for."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from neon_optim.described import registry
from neon_optim.described.arguments import REQUIRED, constructor_arguments
from neon_optim.described.build import is_description
from neon_optim.described.object import NervanaObject

__all__ = ["NeonObject", "built", "class_of", "described"]

_HERE = f"{__package__}.neon"


def described(thing: Any, skip: Iterable[str] = ()) -> dict[str, Any]:
    """``{'type': class path, 'config': {arguments unlike their default}}``.

    Values are what they are, tuples and arrays too; objects are described in the same way, and classes by their names.

    Arguments:
        skip: names of arguments that are left out.
    """
    config = {
        argument.name: _value(getattr(thing, argument.name))
        for argument in constructor_arguments(type(thing)).values()
        if argument.name not in skip and not _is_default(thing, argument)
    }
    return {"type": registry.full_name(type(thing)), "config": config}


def _is_default(thing: Any, argument: Any) -> bool:
    if argument.default is REQUIRED:
        return False
    value = getattr(thing, argument.name)
    return value is argument.default or (
        type(value) in (bool, int, float, str, tuple, list, dict) and value == argument.default
    )


def _value(value: Any) -> Any:
    if isinstance(value, type):
        return registry.full_name(value)
    if callable(getattr(value, "get_description", None)):
        return value.get_description()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_value, value))
    return value


def built(value: Any) -> Any:
    """A value with every description in it turned into an object of neon's; what it is read from stays as it is."""
    if is_description(value):
        return class_of(value["type"]).gen_class(value.get("config") or {})
    if isinstance(value, (list, tuple)):
        return type(value)(map(built, value))
    return value


def class_of(name: str) -> Any:
    """The class of a name: by neon's path, a bare name of neon's, or that of a class of yours that is imported.

    Nothing else is imported.

    Raises:
        RegistryError: there is no such class.

    >>> from neon_optim.compat.descriptions import class_of
    >>> class_of("neon.optimizers.Adam").__name__, class_of("Linear").__module__
    ('Adam', 'neon_optim.compat.neon.layers.layer')
    """
    package, _, short = name.rpartition(".")
    if package.partition(".")[0] == "neon" or package.startswith(_HERE):
        found = _in_module(_HERE + package.removeprefix(_HERE).removeprefix("neon"), short)
        return registry.resolve(name) if found is None else found
    if not package:
        packages = pkgutil.iter_modules(importlib.import_module(_HERE).__path__, f"{_HERE}.")
        for module in packages:
            found = _in_module(module.name, short)
            if found is not None:
                return found
    return registry.resolve(name)


def _in_module(module: str, name: str) -> Any:
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except ModuleNotFoundError:
        return None
    found = getattr(importlib.import_module(module), name, None)
    return found if isinstance(found, type) else None


class NeonObject(NervanaObject, abstract=True):
    """An object by neon's path: its description, and what that builds, are of neon's classes."""

    def get_description(self, skip: Iterable[str] = (), **options: Any) -> dict[str, Any]:
        """``{'type', 'config'}`` as neon has it: values of arguments as they are, objects as descriptions."""
        return described(self, skip)

    @classmethod
    def gen_class(cls, pdict: Mapping[str, Any]) -> Any:
        """The object of the ``config`` of a description, which stays as it is."""
        make: Any = cls
        return make(**{key: built(value) for key, value in pdict.items()})
