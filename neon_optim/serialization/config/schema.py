"""A JSON Schema of configs, made from what classes say of their arguments: for editors, and for checks elsewhere."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from neon_optim.described import registry
from neon_optim.described.arguments import Argument, argument_problems, constructor_arguments, takes_any_name
from neon_optim.described.checks import Schema
from neon_optim.described.docstrings import argument_docs, plain_text
from neon_optim.described.values import plain
from neon_optim.errors import MISSING, NeonOptimError
from neon_optim.serialization.config.reading import EXTENDS
from neon_optim.serialization.config.settings import NEEDED, OTHER_NAMES, Settings, table_class

__all__ = ["config_schema"]

_Spelled = tuple[list[str], str]

_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}
_ABOUT = ("description", "default")

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a config that can be trained, plug-ins included.

    It knows names, types and ranges, and refuses no config that :func:`load_config` takes. What it cannot know: whether
    an unknown key at the top holds an anchor in use, whether values fit each other, whether a number is finite, and
    that ``3.0`` is no integer here. Where a config extends another, the objects that it may tell in part are left
    to :func:`load_config`.

    >>> schema = config_schema()
    >>> schema["else"]["required"]
    ['layers', 'cost', 'optimizer', 'dataset']
    >>> schema["properties"]["epochs"]["anyOf"][0]
    {'type': 'integer', 'minimum': 1}
    """
    return _Writer().config()


class _Writer:
    """Writes one schema; what stands for an object of a kind is defined once, when it is first needed."""

    def __init__(self) -> None:
        self._defined: dict[str, Schema] = {}

    def config(self) -> Schema:
        properties = self._properties(Settings)
        for name in NEEDED:
            del properties[name]["default"]
        for name in ("checkpoint", "distributed"):
            properties[name] |= self._table(table_class(name))
        properties["stop"]["anyOf"] = [self._table(table_class("stop")), {"type": "null"}]
        for other, name in OTHER_NAMES.items():
            properties[other] = {**properties[name], "description": f"The same as {name}."}
        path = {"type": "string", "minLength": 1}
        properties[EXTENDS] = {
            "description": "The config, or configs, that this one extends: paths from its own folder.",
            "anyOf": [path, {"type": "array", "items": path}],
        }
        # In a config that extends another, an object may be told in part.
        whole = {name: properties.pop(name) for name in ("cost", "optimizer", "dataset")}
        whole["dataset"] |= self._dataset()
        about = {name: {"description": value["description"]} for name, value in whole.items()}
        schema = {
            "$schema": _DIALECT,
            "title": "A config of neon_optim",
            "description": "What `neon-optim train` takes: layers, a cost, an optimizer and data.",
            "type": "object",
            "properties": {**properties, **about},
            "if": {"required": [EXTENDS]},
            "then": True,
            "else": {"properties": whole, "required": list(NEEDED)},
            "$defs": dict(sorted(self._defined.items())),
        }
        return _with_references(schema)

    # --- objects ---

    def _object_of(self, kind: str) -> Schema:
        """A reference to what stands for an object of a kind: a description, or the name of a class alone."""
        if kind not in self._defined:
            self._defined[kind] = {}  # kinds hold one another
            self._defined[kind] = self._define(kind)
        return {"$ref": f"#/$defs/{kind}"}

    def _define(self, kind: str) -> Schema:
        classes = registry.spellings(kind)
        described = {
            "properties": {"type": _names(classes), "config": {"type": ["object", "null"]}},
            "required": ["type"],
            "additionalProperties": False,
            "allOf": [self._under_config("type", cls, spelled) for cls, spelled in classes.items()],
        }
        about = f"{'An' if kind[0] in 'aeiou' else 'A'} {kind}: its name, or its name and arguments."
        return {"description": about, **_name_or(classes, described)}

    def _dataset(self) -> Schema:
        """A dataset: its name alone, with arguments beside the name, or with arguments under config."""
        classes = registry.spellings("dataset")
        named = {"name": _names(classes), "type": _names(classes)}
        of_each = [(key, cls, spelled) for key in named for cls, spelled in classes.items()]
        described = {
            "properties": named,
            "oneOf": [{"required": [key]} for key in named],
            "if": {"required": ["config"]},
            "then": {
                "properties": {**dict.fromkeys(named, True), "config": {"type": ["object", "null"]}},
                "additionalProperties": False,
                "allOf": [self._under_config(*one) for one in of_each],
            },
            "else": {"allOf": [self._beside(*one) for one in of_each]},
        }
        return _name_or(classes, described)

    def _under_config(self, key: str, cls: Any, spelled: _Spelled) -> Schema:
        """Where a class is named, what stands under config are its arguments."""
        arguments = self._table(cls)
        then: Schema = {"properties": {"config": {"if": {"type": "object"}, "then": arguments}}}
        if arguments.get("required"):
            then = {"properties": {"config": arguments}, "required": ["config"]}
        return {"if": _where(key, spelled), "then": then}

    def _beside(self, key: str, cls: Any, spelled: _Spelled) -> Schema:
        """Where a dataset is named, what stands beside the name are its arguments."""
        table = self._table(cls)
        return {
            "if": _where(key, spelled),
            "then": {**table, "properties": {**table["properties"], key: True}},
        }

    # --- arguments ---

    def _table(self, cls: Any) -> Schema:
        """The arguments of a class as a mapping."""
        required = _required(cls)
        return {
            "type": "object",
            "properties": self._properties(cls),
            **({"required": required} if required else {}),
            **({} if takes_any_name(cls) else {"additionalProperties": False}),
        }

    def _properties(self, cls: Any) -> dict[str, Schema]:
        texts = argument_docs(cls)
        return {
            name: self._value(argument, texts.get(name, ""))
            for name, argument in constructor_arguments(cls).items()
        }

    def _value(self, argument: Argument, text: str) -> Schema:
        found = argument.check.schema(self._object_of) if argument.check else {}
        about: Schema = {}
        if argument.check:
            text = (
                f"{text.rstrip('.')}. It must be {argument.check.allowed}."
                if text
                else argument.check.allowed
            )
        if text:
            about["description"] = plain_text(text)
        if argument.default is not MISSING and (default := _json(argument.default)) is not MISSING:
            about["default"] = default
        return {**found, **about}


def _with_references(schema: Any) -> Any:
    """A schema in which every value may be a text that holds a reference."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: item if key in ("if", "default") else _with_references(item) for key, item in schema.items()
    }
    if isinstance(found.get("properties"), dict):
        found["properties"] = {name: _or_reference(value) for name, value in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _or_reference(found[key])
    return found


def _or_reference(value: Any) -> Any:
    """A schema that lets a reference through as well.

    Of scalars it is one more alternative, so that editors still offer the others; of objects it is told apart first, so
    that mistakes inside are still told where they are.
    """
    if not isinstance(value, dict) or not set(value) - set(_ABOUT):
        return value
    about = {key: value[key] for key in _ABOUT if key in value}
    rest = {key: item for key, item in value.items() if key not in _ABOUT}
    if "$ref" in rest or _REFERENCE in rest.get("anyOf", ()):
        return value
    if set(rest) == {"anyOf"}:
        return {**about, "anyOf": [*rest["anyOf"], _REFERENCE]}
    if rest.get("type") in ("number", "integer", "boolean", "string") or "enum" in rest:
        return {**about, "anyOf": [rest, _REFERENCE]}
    return {**about, "if": _REFERENCE, "then": True, "else": rest}


def _required(cls: Any) -> list[str]:
    """The arguments without which a class cannot be built."""
    return [problem.argument for problem in argument_problems(cls) if problem.received is MISSING]


def _name_or(classes: Mapping[Any, _Spelled], described: Schema) -> Schema:
    """The name of a class that needs no arguments, a reference, or a mapping."""
    alone = {cls: spelled for cls, spelled in classes.items() if not _required(cls)}
    return {
        "anyOf": [*_names(alone)["anyOf"], _REFERENCE, {"type": "object"}],
        "if": {"type": "object"},
        "then": described,
    }


def _names(classes: Mapping[Any, _Spelled]) -> Schema:
    """The name of a class: a short one, which editors offer, or a dotted one."""
    short = {name: cls for cls, (names, _) in classes.items() for name in names}
    names = sorted(short)
    dotted = "|".join(pattern for _, pattern in classes.values())
    return {
        "anyOf": [
            {"enum": names, "enumDescriptions": [_first_line(short[name]) for name in names]},
            {"type": "string", "pattern": f"^({dotted})$"},
        ]
    }


def _where(key: str, spelled: _Spelled) -> Schema:
    """What holds where a key names a class."""
    names, dotted = spelled
    pattern = "|".join([*map(re.escape, names), dotted])
    return {"properties": {key: {"type": "string", "pattern": f"^({pattern})$"}}, "required": [key]}


def _first_line(cls: Any) -> str:
    return plain_text((cls.__doc__ or "").strip().partition("\n")[0])


def _json(value: Any) -> Any:
    """A default as JSON; MISSING where it has no place there."""
    try:
        found = plain(value)
        json.dumps(found, allow_nan=False)
    except (NeonOptimError, TypeError, ValueError):
        return MISSING
    return MISSING if isinstance(found, float) and not math.isfinite(found) else found
