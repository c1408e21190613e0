"""Plain values → YAML text that reads back equal."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from neon_optim.described.object import NervanaObject
from neon_optim.described.values import plain
from neon_optim.errors import ConfigError, NeonOptimError, shown


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, floats exact; quotes whatever YAML 1.1 or 1.2 would not read as a string."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    if math.isfinite(value):
        text = repr(value)
    else:
        text = ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # PyYAML writes some line breaks (U+0085) into quotes that read them back as spaces; escapes are exact.
    style = '"' if _NEEDS_ESCAPES.search(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_NEEDS_ESCAPES = re.compile("[\\x00-\\x1f\\x7f-\\xa0\u2028\u2029\ufeff]")
_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_string)
# What YAML 1.2 reads as a number and PyYAML's own (1.1) rules take for a string.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"),
    list("+-.0123456789"),
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"0o[0-7]+\Z"), ["0"])


def dump_config(config: Mapping[str, Any] | NervanaObject, path: str | os.PathLike | None = None) -> str:
    """The YAML text of a config, a description or an object; with a path, written there too.

    Anchors are expanded; floats are exact, and `1e-05` reads back as a float.
    Errors: `ConfigError` for what is not plain data; OSError where the file cannot be written.

    >>> print(dump_config({"optimizer": {"type": "Adam", "config": {"epsilon": 1e-05}}}), end="")
    optimizer:
      type: Adam
      config:
        epsilon: 1e-05
    """
    try:
        value = plain(dict(config)) if isinstance(config, Mapping) else plain(config)
    except NeonOptimError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"a config or a description is dumped, received {shown(config)}")
    _check_plain(value, "")
    text = yaml.dump(
        _without_references(value),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=10**6,
    )
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _without_references(value: Any) -> Any:
    """A value whose texts are read as they are, also where `${` is in them."""
    if isinstance(value, dict):
        return {key: _without_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_references(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _check_plain(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{path or 'the config'} has the key {shown(key)}; keys must be strings")
            _check_plain(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, f"{path}[{index}]")
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigError(f"{path} holds a character that is no text: {shown(value)}") from None
