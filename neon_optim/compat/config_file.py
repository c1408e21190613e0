"""Options of a command line from files, in the syntax that neon's scripts read theirs in.

One setting a line, by the long name of its option: ``epochs = 5``, ``epochs: 5`` or ``epochs 5``; ``verbose`` or
``verbose = true`` for an option without a value; ``manifest = [a, b]`` for one that takes several. Lines that begin
with ``#``, ``;`` or ``[`` are comments.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from neon_optim.errors import ConfigError, Position, Problem

__all__ = ["as_arguments", "read_settings"]

Settings = dict[str, "str | list[str]"]

_SETTING = re.compile(r"(--)?(?P<key>[^:=;#\s]+)\s*((?P<mark>[:=])\s*)?(?P<value>.*)")
_COMMENT = re.compile(r"(^|\s+)[#;]\s.*$")
_YES = {"true", "yes", "on", "1"}
_NO = {"false", "no", "off", "0"}


def read_settings(path: Path) -> Settings:
    """The settings in a file.

    Raises:
        ConfigError: the file cannot be read, or a line says nothing that is understood.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    settings: Settings = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#;[" or text.startswith("---"):
            continue
        match = _SETTING.fullmatch(text)
        if match is None:
            place = Position(str(path), number)
            raise ConfigError.listing([Problem.at(place, "a line like 'epochs = 5' is due", line=line)])
        value = _COMMENT.sub("", match["value"]).strip()
        if value.startswith("[") and value.endswith("]"):
            items = [_unquoted(item.strip()) for item in value[1:-1].split(",")]
            settings[match["key"]] = [item for item in items if item]
        else:
            settings[match["key"]] = _unquoted(value) if value or match["mark"] else "true"
    return settings


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def as_arguments(
    settings: Settings, parser: argparse.ArgumentParser, given: Sequence[str], where: str
) -> list[str]:
    """The settings as arguments of a command line, without those that are given on it.

    Arguments:
        settings: from a file.
        parser: knows the options.
        given: the command line.
        where: the file, for messages.

    Raises:
        ConfigError: a setting is no option, or has a value that its option does not take.
    """
    options = {option: action for action in parser._actions for option in action.option_strings}
    arguments: list[str] = []
    for key, value in settings.items():
        action = options.get(f"--{key}") or options.get(f"-{key}")
        if action is None:
            raise ConfigError(f"{where}: there is no option --{key}")
        if not any(_is_given(option, given) for option in action.option_strings):
            arguments += _arguments(action, key, value, where)
    return arguments


def _is_given(option: str, given: Sequence[str]) -> bool:
    short = len(option) == 2
    return any(
        text == option
        or text.startswith(f"{option}=")
        or (short and text.startswith(option) and text[1] != "-")
        for text in given
    )


def _arguments(action: argparse.Action, key: str, value: str | list[str], where: str) -> list[str]:
    option = action.option_strings[-1]
    if action.nargs == 0:
        word = value.lower() if isinstance(value, str) else ""
        if word in _YES:
            return [option]
        if word in _NO:
            return []
        if isinstance(action, argparse._CountAction) and word.isdigit():
            return [option] * int(word)
        raise ConfigError(f"{where}: {key} is true or false, received {value!r}")
    if isinstance(value, str):
        return [f"{option}={value}"]
    if isinstance(action, argparse._AppendAction):
        return [f"{option}={item}" for item in value]
    if action.nargs in ("+", "*") or isinstance(action.nargs, int):
        return [option, *value]
    raise ConfigError(f"{where}: {key} takes one value, received {value}")
