"""Descriptions, `{'type': name, 'config': {…}}`, and the objects that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neon_optim.described import registry
from neon_optim.described.checks import Check, Either, Items, Table
from neon_optim.errors import ArgumentError, shown


def from_description(description: Mapping[str, Any] | str, kind: str | None = None) -> Any:
    """The object that a description stands for: `{'type': name, 'config': {…}}`, or a bare class name.

    >>> from_description({"type": "no.such.Thing"})
    Traceback (most recent call last):
    neon_optim.errors.RegistryError: unknown class 'no.such.Thing'; ...
    """
    if isinstance(description, str):
        description = {"type": description}
    if not is_description(description):
        raise ArgumentError(f"a description is {{'type': …, 'config': {{…}}}}, received {shown(description)}")
    cls = registry.resolve(description["type"], kind)
    if not hasattr(cls, "gen_class"):
        raise ArgumentError(
            f"{registry.full_name(cls)} cannot be built from a description: it has no gen_class"
        )
    config = description.get("config")
    return cls.gen_class({} if config is None else config)


def is_description(value: object) -> bool:
    """Is this `{'type': name}` with nothing but, perhaps, `config` beside it?"""
    return (
        isinstance(value, Mapping) and isinstance(value.get("type"), str) and set(value) <= {"type", "config"}
    )


def build(value: Any, check: Check | None = None) -> Any:
    """`value` with every description in it turned into an object; lists and mappings are copied, nothing is
    changed.

    `check`, the check of the argument that `value` is for, says where a bare class name stands for an object, and
    of which kind a class must be whose name several have (`Linear`: a layer and a schedule).
    """
    kinds = object_kinds(check)
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if is_description(value):
        return from_description(value, kind)
    if isinstance(value, Mapping):
        return {key: build(item, inner_check(check)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([build(item, inner_check(check)) for item in value])
    if isinstance(value, str) and check is not None and kinds and any(check.faults(value)):
        return from_description(value, kind)
    return value


def object_kinds(check: Check | None) -> frozenset[str]:
    """The kinds of objects that a check lets through; empty where no object of ours is due."""
    if isinstance(check, Either):
        return frozenset().union(*(object_kinds(item) for item in check.checks))
    kind = getattr(check, "kind", None)
    return frozenset() if kind is None else frozenset({kind})


def inner_check(check: Check | None) -> Check | None:
    """The check of the items of a list or mapping that `check` is for."""
    if isinstance(check, Either):
        return next((inner for item in check.checks if (inner := inner_check(item))), None)
    return check.item if isinstance(check, (Items, Table)) else None
