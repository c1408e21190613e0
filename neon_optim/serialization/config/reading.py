"""The text of a config, and of those that it extends, as one tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neon_optim.described.words import closest
from neon_optim.errors import ArgumentTypeError, ConfigError, Position, Problem, shown
from neon_optim.serialization.config.yaml_edit import merge
from neon_optim.serialization.config.yaml_nodes import (
    INVALID,
    MAX_CHARACTERS,
    Collector,
    List,
    Map,
    Scalar,
    YamlNode,
    to_plain,
)
from neon_optim.serialization.config.yaml_tree import compose

__all__ = ["EXTENDS", "Source", "read_tree"]

EXTENDS = "extends"
"""The key that names the files that a file extends."""

Source = str | os.PathLike | Sequence[str | os.PathLike]

_MOST_FILES = 50
_TEXT = "<text>"


def read_tree(source: Source, may_be_empty: bool = False) -> tuple[Map, str, Collector]:
    """The tree of a config, what to call it in messages, and what was found to be wrong with it.

    Arguments:
        source: a path; or the YAML text itself, a string that holds a line break; or a list of such, of which each is
            laid over those before it, as over a file that it extends.
        may_be_empty: whether nothing is enough.

    Raises:
        ConfigError: there is nothing to go on with.
    """
    if isinstance(source, (list, tuple)):
        return _merged(source, may_be_empty)
    text, name = _read(source)
    problems = Collector(text)
    return _Reader(problems).tree(text, name, (), may_be_empty), name, problems


def _merged(sources: Sequence[str | os.PathLike], may_be_empty: bool) -> tuple[Map, str, Collector]:
    """The tree of several configs; the first gives it its name."""
    if len(sources) == 1:
        return read_tree(sources[0], may_be_empty)
    texts = [_read(source) for source in sources]
    if not texts:
        raise ArgumentTypeError("load_config takes a path or a YAML text, received none")
    problems = Collector()
    reader, whole = _Reader(problems), Map(Position(texts[0][1], 1, 1), [])
    for text, name in texts:
        layer = reader.tree(text, name, (), may_be_empty)
        if whole.pairs:
            reader.refuse_twice(layer)
        merge(whole, layer)
    return whole, texts[0][1], problems


class _Reader:
    """Reads a config and those that it extends; faults that leave the rest readable go to `problems`."""

    def __init__(self, problems: Collector) -> None:
        self.problems = problems
        self.files = 0

    def tree(self, text: str, name: str, extending: tuple[str, ...], may_be_empty: bool) -> Map:
        """The tree of a text; `extending` are the files on whose behalf it is read."""
        own = Collector(text)
        raw = compose(text, name, own)
        if raw is None or (isinstance(raw, Scalar) and raw.value is None):
            raw = Map(Position(name, 1, 1), [])
            if not may_be_empty:
                own.fail(Position(name), "the config is empty")
        if not isinstance(raw, Map):
            what = "a list" if isinstance(raw, List) else shown(to_plain(raw))
            own.fail(raw.position, f"a config is a mapping of settings (key: value), received {what}")
        self.problems.take(own, name)
        extends = raw.get(EXTENDS)
        if extends is None:
            return raw
        raw.pairs = [pair for pair in raw.pairs if pair[0].value != EXTENDS]
        whole = Map(raw.position, [])
        for node in extends.items if isinstance(extends, List) else [extends]:
            base = self.base(node, name, extending)
            if base is not None:
                merge(whole, base)
        self.refuse_twice(raw)
        merge(whole, raw)
        return whole

    def base(self, node: YamlNode, name: str, extending: Sequence[str]) -> Map | None:
        """The tree of a file that is extended; None after a complaint."""
        given = node.value if isinstance(node, Scalar) else to_plain(node)
        if given is INVALID:
            return None
        if not isinstance(given, str) or not given:
            message = f"{EXTENDS} must be the path of a YAML file or a list of such, received {shown(given)}"
            self.problems.add(node.position, message, EXTENDS)
            return None
        path = os.path.join("" if name == _TEXT else os.path.dirname(name), os.path.expanduser(given))
        chain = (*extending, os.path.realpath(name))
        self.files += 1
        if self.files > _MOST_FILES:
            self.problems.fail(node.position, f"{EXTENDS}: more than {_MOST_FILES} files are extended")
        if os.path.realpath(path) in chain:
            self.problems.add(node.position, f"{EXTENDS}: by {given!r} this file extends itself", EXTENDS)
            return None
        try:
            text, path = _read(Path(path))
        except ConfigError as error:
            for problem in error.problems:
                message = f"{EXTENDS}: {problem}"
                self.problems.add(node.position, message, EXTENDS)
            return None
        return self.tree(text, path, chain, True)

    def refuse_twice(self, raw: Map) -> None:
        """Complain of keys that stand twice: in a file that extends others only one could count."""
        first: dict[str, Scalar] = {}
        for key, _ in raw.pairs:
            known = first.setdefault(key.value, key)
            if known is not key and key.value is not INVALID and key.value != "<<":
                message = f"the key '{key.value}' stands twice, first at line {known.position.line}"
                self.problems.add(key.position, message)


def _read(source: Any) -> tuple[str, str]:
    """The text of a config and what to call it in messages."""
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentTypeError(f"load_config takes a path or a YAML text, received {shown(source)}")
    if isinstance(source, str) and "\n" in source:
        return source, _TEXT
    name = os.fspath(source)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    try:
        with open(name, "rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
    except FileNotFoundError:
        hint = " (a YAML text of one line must end in a line break)" if ": " in name else _similar_file(name)
        raise _unreadable(name, f"there is no such file{hint}") from None
    except IsADirectoryError:
        raise _unreadable(name, "this is a folder, not a YAML file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unreadable(name, f"cannot be read: {reason}") from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n"), name
    except UnicodeDecodeError as error:
        if len(data) > 4 * MAX_CHARACTERS:
            raise _unreadable(name, f"too large: at most {MAX_CHARACTERS:,} characters are read") from None
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"this is no text file in UTF-8 (byte 0x{data[error.start]:02x})"
        raise ConfigError.listing([Problem.at(Position(name, line, column), message)]) from None


def _unreadable(name: str, message: str) -> ConfigError:
    return ConfigError.listing([Problem.at(Position(shown(name) if "\0" in name else name), message)])


def _similar_file(name: str) -> str:
    folder = Path(name).parent
    try:
        files = [entry.name for entry in folder.iterdir()]
    except OSError:
        return f" (nor a folder {folder})"
    return closest(Path(name).name, files)
