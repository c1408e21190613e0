"""Plain values for people: what fits on a line stands on one, the rest in the manner of YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from neon_optim.errors import printable

__all__ = ["as_call", "pretty"]

_BARE = re.compile(r"[A-Za-z_][\w./-]*")
_NOT_BARE = ("null", "true", "false")


def pretty(value: Any, width: int, indent: str = "") -> Iterator[str]:
    """The lines of a JSON value.

    >>> print(*pretty({"a": [1, None], "b": {"c": "text", "d": ["some text", 0.5]}}, width=20), sep="\\n")
    a: [1, null]
    b:
      c: text
      d:
      - "some text"
      - 0.5
    """
    if isinstance(value, dict) and value:
        for key, item in sorted(value.items(), key=_type_first):
            yield from _entry(f"{indent}{_text(key)}:", item, width, indent + ("" if _listed(item) else "  "))
    elif isinstance(value, list) and value:
        for item in value:
            yield from _item(item, width, indent)
    else:
        yield indent + _flow(value)


def as_call(description: Any) -> str:
    """A description as what builds the object: ``Adam(learning_rate=0.01, schedule=Schedule(step_config=[2]))``."""
    if isinstance(description, dict) and isinstance(description.get("type"), str):
        name = printable(description["type"].rsplit(".", 1)[-1])
        config = description.get("config") or {}
        if isinstance(config, dict) and set(description) <= {"type", "config"}:
            return f"{name}({', '.join(f'{_text(key)}={as_call(item)}' for key, item in config.items())})"
    if isinstance(description, dict):
        return "{" + ", ".join(f"{_text(key)}: {as_call(item)}" for key, item in description.items()) + "}"
    if isinstance(description, list):
        return "[" + ", ".join(map(as_call, description)) + "]"
    return _flow(description)


def _listed(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _entry(head: str, value: Any, width: int, indent: str) -> Iterator[str]:
    line = f"{head} {_flow(value)}"
    if len(line) <= width or not isinstance(value, (dict, list)):
        yield line
    else:
        yield head
        yield from pretty(value, width, indent)


def _item(value: Any, width: int, indent: str) -> Iterator[str]:
    line = f"{indent}- {_flow(value)}"
    if len(line) <= width or not isinstance(value, (dict, list)):
        yield line
    else:
        inner = list(pretty(value, width, indent + "  "))
        yield f"{indent}- {inner[0][len(indent) + 2 :]}"
        yield from inner[1:]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=_type_first)
        return "{" + ", ".join(f"{_text(key)}: {_flow(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _type_first(pair: tuple[str, Any]) -> bool:
    return pair[0] != "type"


def _text(text: str) -> str:
    if _BARE.fullmatch(text) and text not in _NOT_BARE:
        return printable(text)
    return printable(json.dumps(text, ensure_ascii=False))
